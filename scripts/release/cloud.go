package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/go-json-experiment/json"
)

// service holds the parts of a Cloud Run service that matter here, in the form of its API.
type service struct {
	Metadata metadata `json:"metadata"`
	Spec     struct {
		Template struct {
			Spec containers `json:"spec"`
		} `json:"template"`
	} `json:"spec"`
	Status struct {
		Created string `json:"latestCreatedRevisionName"`
		Ready   string `json:"latestReadyRevisionName"`
		Traffic []struct {
			Revision string `json:"revisionName"` // given for the latest one as well
			Percent  int    `json:"percent"`
		} `json:"traffic"`
	} `json:"status"`
}

type metadata struct {
	Name string `json:"name"`
}

type containers struct {
	Containers []struct {
		Image string `json:"image"`
	} `json:"containers"`
}

func (c containers) image() string {
	if len(c.Containers) == 0 {
		return ""
	}
	return c.Containers[0].Image
}

// current is what a target runs.
type current struct {
	image string // of the service's template, or the job's

	// A service's:
	ready   string // the latest revision, empty unless the latest one has started
	serving string // the revision with most of the traffic
	alone   bool   // it has all of it
}

// runs is what the target runs, as deploying records it.
func (c current) runs(job bool) string {
	if job {
		return c.image
	}
	return c.serving
}

// on reports whether the target runs this and nothing else.
func (c current) on(job bool, what string) bool {
	return c.runs(job) == what && (job || c.alone)
}

// look returns what every service and job of the environment runs, by name.
func (t *tool) look(ctx context.Context) (map[string]current, error) {
	all := map[string]current{}
	var services []service
	if err := t.list(ctx, &services, "run", "services", "list", "--region="+t.Region, "--format=json"); err != nil {
		return nil, err
	}
	for _, s := range services {
		now := current{image: s.Spec.Template.Spec.image()}
		if s.Status.Created == s.Status.Ready {
			now.ready = s.Status.Ready
		}
		shares := map[string]int{}
		for _, share := range s.Status.Traffic {
			shares[share.Revision] += share.Percent
			if shares[share.Revision] > shares[now.serving] {
				now.serving = share.Revision
			}
		}
		now.alone = shares[now.serving] == 100
		all[s.Metadata.Name] = now
	}
	var jobs []struct {
		Metadata metadata `json:"metadata"`
		Spec     struct {
			Template struct {
				Spec struct {
					Template struct {
						Spec containers `json:"spec"`
					} `json:"template"`
				} `json:"spec"`
			} `json:"template"`
		} `json:"spec"`
	}
	if err := t.list(ctx, &jobs, "run", "jobs", "list", "--region="+t.Region, "--format=json"); err != nil {
		return nil, err
	}
	for _, j := range jobs {
		all[j.Metadata.Name] = current{image: j.Spec.Template.Spec.Template.Spec.image()}
	}
	return all, nil
}

func (t *tool) list(ctx context.Context, into any, args ...string) error {
	said, err := t.read(ctx, args...)
	if err != nil {
		return err
	}
	if err := json.Unmarshal([]byte(said), into); err != nil {
		return fmt.Errorf("gcloud %s says what is not understood: %w", strings.Join(args[:3], " "), err)
	}
	return nil
}

// revisionImage is the image of a revision, which a service's template need not have any more.
func (t *tool) revisionImage(ctx context.Context, revision string) (string, error) {
	var found struct {
		Spec containers `json:"spec"`
	}
	err := t.list(ctx, &found, "run", "revisions", "describe", revision, "--region="+t.Region, "--format=json")
	return found.Spec.image(), err
}

// makeRevision makes a revision of the image, without traffic, and waits until it has started.
func (t *tool) makeRevision(ctx context.Context, one target, image string) error {
	t.say("%s: a revision of %s", one.name, image)
	return t.change(ctx, t.revisionLimit, "", "run", "services", "update", one.name, "--image="+image, "--no-traffic", "--region="+t.Region)
}

// share gives a percentage of a service's traffic to one revision and the rest to another. It goes on when the context ends,
// because finishing the move is quicker than undoing it.
func (t *tool) share(ctx context.Context, one target, to string, percent int, rest string) error {
	shares := fmt.Sprintf("%s=%d", to, percent)
	if percent < 100 {
		shares += fmt.Sprintf(",%s=%d", rest, 100-percent)
	}
	ctx = context.WithoutCancel(ctx)
	return t.change(ctx, t.limit, "", "run", "services", "update-traffic", one.name, "--to-revisions="+shares, "--region="+t.Region)
}

// set gives a service's revision all of the traffic, or a job its image.
func (t *tool) set(ctx context.Context, one target, what string) error {
	if !one.job {
		return t.share(ctx, one, what, 100, "")
	}
	return t.change(context.WithoutCancel(ctx), t.limit, "", "run", "jobs", "update", one.name, "--image="+what, "--region="+t.Region)
}
