package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/liftlog/liftlog-api/shared/planner/plannertest"
)

const (
	webKey    = "key-of-the-web"
	modelTime = 5 * time.Second
	workout   = `{"attributes":{"gender":"Male","weightRange":"70-80","age":30,"daysPerWeek":3,"goals":["Build muscle"],"experience":"Beginner"}}`
)

// planner measures what requests hold that wait for a model which takes its time: twice as many ought to hold twice as much.
func (b *bench) planner(ctx context.Context) error {
	var waiting atomic.Int64
	standIn := plannertest.New()
	model := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		waiting.Add(1)
		defer waiting.Add(-1)
		time.Sleep(modelTime)
		standIn.ServeHTTP(w, r)
	}))
	defer model.Close()
	for _, n := range []int64{50, 100, 200} {
		p, err := b.serve(ctx, "PlanWorkout", "OPENAI_BASE_URL="+model.URL+"/v1", "WEB_AUTH_API_KEY="+webKey, "RATE_LIMIT_WEB_PER_DAY=10000")
		if err != nil {
			return err
		}
		idle, err := p.memory("VmRSS")
		if err != nil {
			return err
		}
		began := time.Now()
		var callers errgroup.Group
		for range n {
			callers.Go(func() error { return plan(ctx, p.base) })
		}
		for waiting.Load() < n && time.Since(began) < modelTime {
			time.Sleep(time.Millisecond)
		}
		loaded, err := p.memory("VmRSS")
		if err != nil {
			return err
		}
		reached := waiting.Load()
		if err := callers.Wait(); err != nil {
			return err
		}
		fmt.Printf("PlanWorkout: %d requests wait for the model at once (of %d): %d KiB each; all answered after %.2f x the model's time\n",
			reached, n, (loaded-idle)>>10/n, time.Since(began).Seconds()/modelTime.Seconds())
		p.stop()
	}
	return nil
}

func plan(ctx context.Context, base string) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, base+"/v2/ai/workout", strings.NewReader(workout))
	if err != nil {
		return err
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Authorization", "Web "+webKey)
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		return err
	}
	defer func() { _ = answer.Body.Close() }()
	if _, err := io.Copy(io.Discard, answer.Body); err != nil {
		return err
	}
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("a plan was answered by %s", answer.Status)
	}
	return nil
}
