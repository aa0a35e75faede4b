package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/liftlog/liftlog-api/scripts/releasefile"
)

// passedTag marks the images that staging has run and found good. A tag can mark only one image of a repository at a time, so
// each commit has a tag of its own as well, which begins with this one: staging may have gone on while a release waits for
// approval.
const passedTag = "staging-ok"

// The kinds of environment that matter here.
const (
	staging    = "staging"
	production = "production"
)

type deployment struct {
	file    string
	canary  string
	renew   bool
	passed  bool
	rules   rules
	targets []target
	stages  []int // percentages, the last one is 100
	release string
	images  map[string]string // by target: the image that it shall run
}

// deployVerb is scripts/deploy.
func (t *tool) deployVerb(flags *flag.FlagSet) func(context.Context, []string) error {
	var d deployment
	flags.StringVar(&d.file, "release", releasefile.Path, "")
	flags.StringVar(&d.canary, "canary", "100", "")
	flags.BoolVar(&d.renew, "renew", false, "")
	flags.BoolVar(&d.passed, "passed", false, "")
	d.rules.define(flags)
	return func(ctx context.Context, names []string) (err error) {
		if d.targets, err = t.choose(names); err != nil {
			return err
		}
		if d.stages, err = stages(d.canary); err != nil {
			return err
		}
		if err := d.rules.check(); err != nil {
			return err
		}
		if d.renew && d.passed {
			return errors.New("--renew and --passed exclude each other: scripts/deploy --help says more")
		}
		if !d.renew {
			if err := t.readImages(&d); err != nil {
				return err
			}
		}
		if d.passed {
			return t.pass(ctx, d)
		}
		if t.Kind == production && !d.renew {
			if err := t.hasPassed(ctx, d); err != nil {
				return err
			}
		}
		if err := t.take(ctx, "deploys"); err != nil {
			return err
		}
		defer t.give(ctx)
		return t.deploy(ctx, d)
	}
}

// stages reads percentages that rise to 100.
func stages(list string) ([]int, error) {
	var all []int
	for text := range strings.SplitSeq(list, ",") {
		percent, err := strconv.Atoi(text)
		if err != nil || percent < 1 || percent > 100 || len(all) > 0 && percent <= all[len(all)-1] {
			return nil, fmt.Errorf("--canary=%s: it has to be percentages that grow, such as 10,50,100", list)
		}
		all = append(all, percent)
	}
	if all[len(all)-1] != 100 {
		return nil, fmt.Errorf("--canary=%s: the last percentage has to be 100", list)
	}
	return all, nil
}

// readImages reads which image each target shall run.
func (t *tool) readImages(d *deployment) error {
	file, err := releasefile.Read(d.file)
	if err != nil {
		return err
	}
	d.release, d.images = file.Commit, map[string]string{}
	for _, one := range d.targets {
		image := file.Images[one.program]
		if image.Repository() != one.image {
			return fmt.Errorf("%s: the image of %s is in %s, and those of %s are in %s: build them there", d.file, one.program, image.Repository(), t.Name,
				t.Registry)
		}
		d.images[one.name] = image.Index
	}
	return nil
}

// tags lists, by image with its digest, the tags of the registry.
func (t *tool) tags(ctx context.Context) (map[string][]string, error) {
	var list []struct {
		Image   string `json:"image"`
		Tag     string `json:"tag"`     // projects/…/tags/NAME
		Version string `json:"version"` // projects/…/versions/DIGEST
	}
	if err := t.list(ctx, &list, "artifacts", "docker", "tags", "list", t.Registry, "--format=json"); err != nil {
		return nil, err
	}
	all := map[string][]string{}
	for _, one := range list {
		image := one.Image + "@" + path.Base(one.Version)
		all[image] = append(all[image], path.Base(one.Tag))
	}
	return all, nil
}

// hasPassed refuses images that staging has not passed.
func (t *tool) hasPassed(ctx context.Context, d deployment) error {
	tags, err := t.tags(ctx)
	if err != nil {
		return err
	}
	var not []string
	for _, one := range d.targets {
		passed := slices.ContainsFunc(tags[d.images[one.name]], func(tag string) bool {
			return tag == passedTag || strings.HasPrefix(tag, passedTag+"-")
		})
		if !passed && !slices.Contains(not, one.program) {
			not = append(not, one.program)
		}
	}
	if len(not) > 0 {
		return fmt.Errorf("staging has not passed commit %s (%s without the tag %s): deploy it there, `scripts/smoke` it, and "+
			"`scripts/deploy staging --passed`", d.release, strings.Join(not, ", "), passedTag)
	}
	return nil
}

// pass tags the release's images, provided that they are what staging runs.
func (t *tool) pass(ctx context.Context, d deployment) error {
	if t.Kind != staging {
		return fmt.Errorf("%s is not staging: only what has passed there is tagged", t.Name)
	}
	live, err := t.look(ctx)
	if err != nil {
		return err
	}
	images := map[string]bool{}
	err = each(d.targets, func(one target) error {
		now, image := live[one.name], live[one.name].image
		if !one.job && now.serving != "" {
			of, err := t.revisionImage(ctx, now.serving)
			if err != nil {
				return err
			}
			image = of
		}
		if want := d.images[one.name]; image != want || !one.job && !now.alone {
			return fmt.Errorf("%s does not run %s with all of its traffic, so that it cannot have passed: deploy it first", one.name, want)
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, image := range d.images {
		if images[image] {
			continue
		}
		images[image] = true
		repository, _, _ := strings.Cut(image, "@")
		for _, tag := range []string{passedTag + "-" + d.release[:12], passedTag} {
			if err := t.change(ctx, t.limit, "", "artifacts", "docker", "tags", "add", image, repository+":"+tag); err != nil {
				return err
			}
		}
	}
	return nil
}

func (t *tool) deploy(ctx context.Context, d deployment) error {
	r, err := t.readRecord(ctx)
	if err != nil {
		return err
	}
	if d.renew && len(r.Moving) > 0 {
		return fmt.Errorf("a deployment of %s was broken off: `scripts/rollback %s` or deploy it again, and then renew", r.Release, t.Name)
	}
	for _, name := range r.Moving {
		if !slices.ContainsFunc(d.targets, func(one target) bool { return one.name == name }) {
			return fmt.Errorf("a deployment of %s was broken off, and %s is not among what is to be deployed: `scripts/rollback %s` first, or deploy all",
				r.Release, name, t.Name)
		}
	}
	live, err := t.look(ctx)
	if err != nil {
		return err
	}
	if err := t.complete(d.targets, live); err != nil {
		return err
	}
	if d.renew {
		if err := t.imagesInUse(ctx, &d, live); err != nil {
			return err
		}
	}
	after, err := t.prepare(ctx, d, live)
	if err != nil {
		return err
	}
	var move []target
	for _, one := range d.targets {
		if !live[one.name].on(one.job, after[one.name]) || slices.Contains(r.Moving, one.name) {
			move = append(move, one)
		}
	}
	if len(move) == 0 {
		t.say("%s runs %s already", t.Name, d.release)
		return nil
	}
	// What a broken-off deployment has left behind is no release to go back to: the record keeps what ran before it.
	for _, one := range move {
		if slices.Contains(r.Moving, one.name) {
			s := r.Steps[one.name]
			r.Steps[one.name] = step{d.release, s.Before, after[one.name]}
			continue
		}
		r.Steps[one.name] = step{d.release, live[one.name].runs(one.job), after[one.name]}
		r.Moving = append(r.Moving, one.name)
	}
	r.Release = d.release
	if err := t.writeRecord(ctx, r); err != nil {
		return err // no traffic has moved; if the record was written after all, the next deployment goes on from it
	}
	if err := t.moveAll(ctx, d, move, r); err != nil {
		return t.undo(ctx, move, r, err)
	}
	r.settled(move)
	if err := t.writeRecord(ctx, r); err != nil {
		return fmt.Errorf("%s runs %s, and that is not recorded, so deploy again: %w", t.Name, d.release, err)
	}
	t.say("%s runs %s", t.Name, d.release)
	return nil
}

// complete refuses an environment that lacks a service or job that is to be deployed.
func (t *tool) complete(targets []target, live map[string]current) error {
	var missing []string
	for _, one := range targets {
		now, there := live[one.name]
		if !there || !one.job && now.serving == "" {
			missing = append(missing, one.name)
		}
	}
	if len(missing) > 0 {
		return fmt.Errorf("%s has no %s, or none that serves: `terraform apply` makes it", t.Name, strings.Join(missing, ", "))
	}
	return nil
}

// imagesInUse fills the deployment with the images that are serving.
func (t *tool) imagesInUse(ctx context.Context, d *deployment, live map[string]current) error {
	d.release, d.images = "renewed "+t.now().UTC().Format(time.RFC3339), map[string]string{}
	d.targets = slices.DeleteFunc(slices.Clone(d.targets), func(one target) bool { return one.job }) // each run of a job starts anew
	for _, one := range d.targets {
		image, err := t.revisionImage(ctx, live[one.name].serving)
		if err != nil {
			return err
		}
		d.images[one.name] = image
	}
	return nil
}

// prepare makes the revisions that are missing, without traffic, and returns what each target shall run.
func (t *tool) prepare(ctx context.Context, d deployment, live map[string]current) (after map[string]string, err error) {
	var missing []target
	after = map[string]string{}
	for _, one := range d.targets {
		now, image := live[one.name], d.images[one.name]
		switch {
		case one.job:
			after[one.name] = image
		case now.image == image && now.ready != "" && !d.renew:
			after[one.name] = now.ready
		default:
			missing = append(missing, one)
		}
	}
	if len(missing) == 0 {
		return after, nil
	}
	err = each(missing, func(one target) error { return t.makeRevision(ctx, one, d.images[one.name]) })
	if err != nil {
		return nil, fmt.Errorf("no traffic was moved, and a revision that was made gets none; the log of one that does not start says why: %w", err)
	}
	if t.dry {
		for _, one := range missing {
			after[one.name] = one.name + "-NEW"
		}
		return after, nil
	}
	made, err := t.look(ctx)
	if err != nil {
		return nil, err
	}
	for _, one := range missing {
		if made[one.name].image != d.images[one.name] || made[one.name].ready == "" {
			return nil, fmt.Errorf("the latest revision of %s is not the one that was just made, or has not started: who else is at work? Deploy again",
				one.name)
		}
		after[one.name] = made[one.name].ready
	}
	return after, nil
}

// moveAll moves the services' traffic in stages, all together, and then the jobs.
func (t *tool) moveAll(ctx context.Context, d deployment, move []target, r record) error {
	var services, jobs []target
	for _, one := range move {
		switch {
		case one.job:
			jobs = append(jobs, one)
		default:
			services = append(services, one)
		}
	}
	for i, percent := range d.stages {
		if len(services) == 0 {
			break
		}
		if err := errors.Join(ctx.Err(), t.stillHeld(ctx)); err != nil {
			return err
		}
		t.say("%s gets %d %% of the traffic of %d services", d.release, percent, len(services))
		err := each(services, func(one target) error {
			s := r.Steps[one.name]
			if s.Before == s.After {
				return t.share(ctx, one, s.After, 100, "")
			}
			return t.share(ctx, one, s.After, percent, s.Before)
		})
		if err != nil {
			return err
		}
		if i == len(d.stages)-1 {
			break
		}
		if t.dry {
			t.say("would watch for %s", d.rules.window)
			continue
		}
		if err := t.watch(ctx, d.rules, services, r); err != nil {
			return err
		}
	}
	if err := errors.Join(ctx.Err(), t.stillHeld(ctx)); err != nil {
		return err
	}
	return each(jobs, func(one target) error { return t.set(ctx, one, r.Steps[one.name].After) })
}

// undo puts everything back that a deployment has moved, and returns why.
func (t *tool) undo(ctx context.Context, move []target, r record, why error) error {
	if lost := (*lostError)(nil); errors.As(why, &lost) {
		return why
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoLimit)
	defer cancel()
	if errors.Is(why, context.Canceled) {
		why = errors.New("the deployment was ended")
	}
	t.say("%v: going back", why)
	if err := t.goBack(ctx, move, r); err != nil {
		return fmt.Errorf("%w; going back failed as well, and %s may be between two releases: `scripts/rollback %s`; %w", why, t.Name, t.Name, err)
	}
	return fmt.Errorf("%w; every service and job is back on what it ran before", why)
}

// goBack puts targets back on what they ran before, as many as it can, and records it.
func (t *tool) goBack(ctx context.Context, targets []target, r record) error {
	var done []target
	live, err := t.look(ctx)
	if err != nil {
		live = nil // then everything is set, whatever it runs
	}
	back := make(chan target, len(targets))
	err = each(targets, func(one target) error {
		before := r.Steps[one.name].Before
		if now, seen := live[one.name]; seen && now.on(one.job, before) {
			t.say("%s is on %s", one.name, before)
		} else if err := t.set(ctx, one, before); err != nil {
			return err
		}
		back <- one
		return nil
	})
	close(back)
	for one := range back {
		done = append(done, one)
	}
	r.settled(done)
	return errors.Join(err, t.writeRecord(ctx, r))
}
