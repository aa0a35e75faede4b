package main

import (
	"context"
	"log/slog"
	"net/http"
	"time"

	"github.com/liftlog/liftlog-api/shared/cleanup"
	"github.com/liftlog/liftlog-api/shared/postgres"
	"github.com/liftlog/liftlog-api/shared/web"
)

// cleanupPath is where the job is started on demand, and cleanupTime how long it may take then.
const (
	cleanupPath = "/jobs/cleanup"
	cleanupTime = 10 * time.Minute
)

// cleaner does what the clean-up job does in the cloud.
type cleaner struct {
	databases postgres.Databases
	log       *slog.Logger
}

// mount serves the job: a request runs it once. What fails is in the log.
func (c cleaner) mount() web.Mount {
	return web.Mount{
		Route: web.Route{Method: http.MethodPost, Path: cleanupPath, Timeout: cleanupTime},
		Endpoint: web.Act(func(ctx context.Context, _ struct{}) error {
			return cleanup.Run(ctx, c.databases, cleanup.Options{Now: time.Now()}, c.log)
		}),
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
