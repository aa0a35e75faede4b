package main

import (
	"context"
	"fmt"
	"slices"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/liftlog/liftlog-api/scripts/gcloud"
)

// record says what deploying did, for rolling back. It is an object beside the lock, written under it.
type record struct {
	Release string          `json:"release"` // what was deployed last: a commit, or when images were renewed
	Moving  []string        `json:"moving"`  // the targets of a deployment that has begun and neither ended nor been undone
	Steps   map[string]step `json:"steps"`   // by target: its last one
}

// step is one target's way from a release to another: revisions of a service, images of a job.
type step struct {
	Release string `json:"release"`
	Before  string `json:"before"`
	After   string `json:"after"`
}

func (t *tool) recordAddress() string {
	return "gs://" + t.StateBucket + "/" + t.Name + "/deployed.json"
}

// readRecord is empty before the first deployment.
func (t *tool) readRecord(ctx context.Context) (record, error) {
	r := record{Steps: map[string]step{}}
	said, err := t.read(ctx, "storage", "cat", t.recordAddress())
	if gcloud.NotFound(err) {
		return r, nil
	}
	if err != nil {
		return r, err
	}
	if err := json.Unmarshal([]byte(said), &r); err != nil || r.Steps == nil {
		return r, fmt.Errorf("%s, which says what was deployed, is not understood. Put back its version before (`gcloud storage ls --all-versions`), or "+
			"remove it, after which there is nothing to go back to", t.recordAddress())
	}
	return r, nil
}

func (t *tool) writeRecord(ctx context.Context, r record) error {
	content, err := json.Marshal(r, json.Deterministic(true), jsontext.WithIndent("  "))
	if err != nil {
		return err
	}
	err = t.change(context.WithoutCancel(ctx), t.limit, string(content), "storage", "cp", "-", t.recordAddress())
	if err != nil {
		return fmt.Errorf("what was done cannot be recorded: %w", err)
	}
	return nil
}

// settled removes the targets from those that are moving.
func (r *record) settled(targets []target) {
	r.Moving = slices.DeleteFunc(r.Moving, func(name string) bool {
		return slices.ContainsFunc(targets, func(one target) bool { return one.name == name })
	})
}
