package main

import (
	"context"
	"log/slog"
	"net/http"
	"time"

	"github.com/liftlog/liftlog-api/shared/cleanup"
)

// cleanupPath is where the job is started on demand.
const cleanupPath = "/jobs/cleanup"

// cleaner does what the clean-up job does in the cloud.
type cleaner struct {
	databases cleanup.Databases
	log       *slog.Logger
}

// ServeHTTP runs the job once.
func (c cleaner) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if err := cleanup.Run(r.Context(), c.databases, cleanup.Options{Now: time.Now()}, c.log); err != nil {
		http.Error(w, "The clean-up failed: see the log.", http.StatusInternalServerError)
	}
}

// everyHour runs the job until ctx ends. What fails is in the log.
func (c cleaner) everyHour(ctx context.Context) {
	ticker := time.NewTicker(time.Hour)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			_ = cleanup.Run(ctx, c.databases, cleanup.Options{Now: time.Now()}, c.log)
		case <-ctx.Done():
			return
		}
	}
}
