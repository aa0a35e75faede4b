package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
)

// rollback is scripts/rollback: back to what ran before, as deploying has recorded it.
func (t *tool) rollback(ctx context.Context, names []string) error {
	chosen, err := t.choose(names)
	if err != nil {
		return err
	}
	if err := t.take(ctx, "rolls back"); err != nil {
		return err
	}
	defer t.give(ctx)
	r, err := t.readRecord(ctx)
	if err != nil {
		return err
	}
	if len(names) == 0 {
		chosen = slices.DeleteFunc(slices.Clone(chosen), func(one target) bool {
			if len(r.Moving) > 0 {
				return !slices.Contains(r.Moving, one.name)
			}
			s, ok := r.Steps[one.name]
			return !ok || s.Release != r.Release
		})
	}
	var nothing []string
	for _, one := range chosen {
		if _, ok := r.Steps[one.name]; !ok {
			nothing = append(nothing, one.name)
		}
	}
	switch {
	case len(chosen) == 0:
		return fmt.Errorf("there is nothing to go back to: scripts/deploy has not deployed anything to %s. "+
			"`gcloud run services update-traffic SERVICE --to-revisions=REVISION=100` goes to a revision by hand", t.Name)
	case len(nothing) > 0:
		return fmt.Errorf("there is nothing to go back to for %s: scripts/deploy has not deployed it to %s. "+
			"`gcloud run services update-traffic SERVICE --to-revisions=REVISION=100` goes to a revision by hand", strings.Join(nothing, ", "), t.Name)
	}
	if err := t.goBack(ctx, chosen, r); err != nil {
		return fmt.Errorf("%w; what could be put back is back: run it again", err)
	}
	t.say("%s is back on what it ran before %s", t.Name, r.Release)
	return nil
}
