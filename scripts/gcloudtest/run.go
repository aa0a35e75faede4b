package gcloudtest

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
)

// StateVariable names the file of the state to the stand-in's program.
const StateVariable = "GCLOUDTEST_STATE"

// Token is what print-access-token prints.
const Token = "ya29.stand-in"

// call is one command line, parsed.
type call struct {
	words []string          // what has no dash: the command's, then its arguments
	flags map[string]string // without dashes; one without a value is "true"
	input io.Reader
}

// refusal is what the real tool says on its standard error.
type refusal struct{ text string }

func (r *refusal) Error() string { return r.text }

func refuse(format string, args ...any) error { return &refusal{fmt.Sprintf(format, args...)} }

// command is one that the stand-in knows.
type command struct {
	arguments int      // how many it takes beside its own words
	flags     []string // beside those that every command takes
	run       func(*State, call) (any, error)
}

// everywhere are the flags that every command takes.
var everywhere = []string{"project", "quiet", "format"}

var commands = map[string]command{
	"run services list":           {0, []string{"region"}, listServices},
	"run services describe":       {1, []string{"region"}, describeService},
	"run services update":         {1, []string{"region", "image", "no-traffic"}, updateService},
	"run services update-traffic": {1, []string{"region", "to-revisions"}, updateTraffic},
	"run revisions describe":      {1, []string{"region"}, describeRevision},
	"run jobs list":               {0, []string{"region"}, listJobs},
	"run jobs update":             {1, []string{"region", "image"}, updateJob},
	"run jobs execute":            {1, []string{"region", "wait", "args"}, executeJob},
	"storage cp":                  {2, []string{"if-generation-match"}, copyObject},
	"storage cat":                 {1, nil, readObject},
	"storage objects describe":    {1, nil, describeObject},
	"storage rm":                  {1, []string{"if-generation-match"}, removeObject},
	"artifacts docker tags list":  {1, nil, listTags},
	"artifacts docker tags add":   {2, nil, addTag},
	"auth print-access-token":     {0, nil, func(*State, call) (any, error) { return Token, nil }},
}

// Run is the stand-in's program: it does what the arguments ask for with the state in the file, and returns the exit status.
func Run(state string, args []string, input io.Reader, output, complaints io.Writer) int {
	var (
		kind   Kind
		answer any
	)
	err := update(state, func(s *State) (err error) {
		s.Calls = append(s.Calls, args)
		kind = s.take(strings.Join(args, " "))
		if kind == Refused || kind == Hanging {
			return nil
		}
		answer, err = s.do(args, input)
		return err
	})
	switch kind {
	case Hanging, HangingDone:
		time.Sleep(time.Hour) // until it is ended from outside
		return 1
	case Refused, Lost:
		err = refuse("UNAVAILABLE: The service is currently unavailable.")
	}
	if err == nil {
		err = write(output, answer)
	}
	if err != nil {
		_, _ = fmt.Fprintf(complaints, "ERROR: (gcloud) %v\n", err)
		if refused := (*refusal)(nil); errors.As(err, &refused) && strings.HasPrefix(refused.text, "unrecognized") {
			return 2
		}
		return 1
	}
	return 0
}

func write(output io.Writer, answer any) error {
	if text, ok := answer.(string); ok {
		_, err := io.WriteString(output, text)
		return err
	}
	if answer == nil {
		return nil
	}
	return json.MarshalWrite(output, answer, json.Deterministic(true))
}

func (s *State) do(args []string, input io.Reader) (any, error) {
	c := call{flags: map[string]string{}, input: input}
	for _, arg := range args {
		if name, ok := strings.CutPrefix(arg, "--"); ok {
			name, value, valued := strings.Cut(name, "=")
			if !valued {
				value = "true"
			}
			c.flags[name] = value
			continue
		}
		c.words = append(c.words, arg)
	}
	line := strings.Join(c.words, " ")
	for name, known := range commands {
		if line != name && !strings.HasPrefix(line, name+" ") {
			continue
		}
		c.words = c.words[len(strings.Fields(name)):]
		if len(c.words) != known.arguments {
			return nil, refuse("unrecognized arguments: %s", strings.Join(c.words, " "))
		}
		for flag := range c.flags {
			if !slices.Contains(everywhere, flag) && !slices.Contains(known.flags, flag) {
				return nil, refuse("unrecognized arguments: --%s", flag)
			}
		}
		if format, ok := c.flags["format"]; ok && format != "json" {
			return nil, refuse("unrecognized format %s", format)
		}
		if project, ok := c.flags["project"]; ok && project != s.Project {
			return nil, refuse("PERMISSION_DENIED: Permission denied on resource project %s.", project)
		}
		if region, ok := c.flags["region"]; slices.Contains(known.flags, "region") && (!ok || region != s.Region) {
			return nil, refuse("NOT_FOUND: %q has nothing of the kind", region)
		}
		answer, err := known.run(s, c)
		if _, asked := c.flags["format"]; !asked && err == nil {
			if _, text := answer.(string); !text {
				answer = nil // a table, which nothing may read
			}
		}
		return answer, err
	}
	return nil, refuse("unrecognized command: %s", line)
}

type object = map[string]any

func (s *State) service(name string) (*Service, error) {
	if service := s.Services[name]; service != nil {
		return service, nil
	}
	return nil, refuse("Service [%s] could not be found.", name)
}

// known refuses an image that the registry does not have.
func (s *State) known(image string) error {
	if !slices.Contains(s.Images, image) {
		return refuse("Image '%s' not found.", image)
	}
	return nil
}

func container(image string) object { return object{"containers": []object{{"image": image}}} }

func (s *Service) resource(name string) object {
	targets := func(resolved bool) []object {
		list := []object{}
		for _, target := range s.Traffic {
			one := object{"percent": target.Percent}
			switch {
			case target.Revision != "":
				one["revisionName"] = target.Revision
			case resolved:
				one["latestRevision"], one["revisionName"] = true, s.Ready
			default:
				one["latestRevision"] = true
			}
			list = append(list, one)
		}
		return list
	}
	status := object{"traffic": targets(true), "latestReadyRevisionName": s.Ready}
	if len(s.Revisions) > 0 {
		status["latestCreatedRevisionName"] = s.Revisions[len(s.Revisions)-1].Name
	}
	return object{
		"kind": "Service", "metadata": object{"name": name},
		"spec":   object{"template": object{"spec": container(s.Image)}, "traffic": targets(false)},
		"status": status,
	}
}

func listServices(s *State, _ call) (any, error) {
	list := []object{}
	for _, name := range slices.Sorted(maps.Keys(s.Services)) {
		list = append(list, s.Services[name].resource(name))
	}
	return list, nil
}

func describeService(s *State, c call) (any, error) {
	service, err := s.service(c.words[0])
	if err != nil {
		return nil, err
	}
	return service.resource(c.words[0]), nil
}

func updateService(s *State, c call) (any, error) {
	name := c.words[0]
	service, err := s.service(name)
	if err != nil {
		return nil, err
	}
	if image, ok := c.flags["image"]; ok {
		if err := s.known(image); err != nil {
			return nil, err
		}
		service.Image = image
	}
	if _, pinned := c.flags["no-traffic"]; pinned {
		for i := range service.Traffic {
			if service.Traffic[i].Revision == "" {
				service.Traffic[i].Revision = service.Ready
			}
		}
	}
	revision := Revision{
		Name: fmt.Sprintf("%s-%05d", name, len(service.Revisions)+1), Image: service.Image, Started: !slices.Contains(s.Broken, service.Image),
	}
	service.Revisions = append(service.Revisions, revision)
	if !revision.Started {
		return nil, refuse("Revision '%s' is not ready and cannot serve traffic. The user-provided container failed to start.", revision.Name)
	}
	service.Ready = revision.Name
	return service.resource(name), nil
}

func updateTraffic(s *State, c call) (any, error) {
	name := c.words[0]
	service, err := s.service(name)
	if err != nil {
		return nil, err
	}
	var (
		targets []Target
		sum     int
	)
	for pair := range strings.SplitSeq(c.flags["to-revisions"], ",") {
		revision, share, _ := strings.Cut(pair, "=")
		percent, err := strconv.Atoi(share)
		if err != nil || percent < 0 || percent > 100 {
			return nil, refuse("argument --to-revisions: Bad value %q", pair)
		}
		made := service.revision(revision)
		switch {
		case made == nil:
			return nil, refuse("NOT_FOUND: Revision '%s' not found.", revision)
		case !made.Started:
			return nil, refuse("Revision '%s' is not ready and cannot serve traffic.", revision)
		}
		sum += percent
		if percent > 0 {
			targets = append(targets, Target{revision, percent})
		}
	}
	switch {
	case sum > 100:
		return nil, refuse("Over 100%% of traffic is specified.")
	case sum < 100:
		// The real one gives the rest to the revisions that have traffic and are not named, which nothing here may rely on.
		return nil, refuse("Every target with traffic is updated but 100%% of traffic has not been specified.")
	}
	service.Traffic = targets
	return service.resource(name), nil
}

func describeRevision(s *State, c call) (any, error) {
	for _, service := range s.Services {
		if revision := service.revision(c.words[0]); revision != nil {
			return object{"kind": "Revision", "metadata": object{"name": revision.Name}, "spec": container(revision.Image)}, nil
		}
	}
	return nil, refuse("Revision [%s] could not be found.", c.words[0])
}

func (s *State) job(name string) (*Job, error) {
	if job := s.Jobs[name]; job != nil {
		return job, nil
	}
	return nil, refuse("Job [%s] could not be found.", name)
}

func listJobs(s *State, _ call) (any, error) {
	list := []object{}
	for _, name := range slices.Sorted(maps.Keys(s.Jobs)) {
		task := object{"template": object{"spec": container(s.Jobs[name].Image)}}
		list = append(list, object{
			"kind": "Job", "metadata": object{"name": name}, "spec": object{"template": object{"spec": task}},
		})
	}
	return list, nil
}

func updateJob(s *State, c call) (any, error) {
	job, err := s.job(c.words[0])
	if err != nil {
		return nil, err
	}
	if image, ok := c.flags["image"]; ok {
		if err := s.known(image); err != nil {
			return nil, err
		}
		job.Image = image
	}
	return nil, nil
}

func executeJob(s *State, c call) (any, error) {
	job, err := s.job(c.words[0])
	if err != nil {
		return nil, err
	}
	execution := Execution{Name: fmt.Sprintf("%s-%05d", c.words[0], len(job.Executions)+1), Image: job.Image, Succeeded: !job.Fails}
	if args, ok := c.flags["args"]; ok {
		execution.Args = strings.Split(args, ",")
	}
	job.Executions = append(job.Executions, execution)
	if _, wait := c.flags["wait"]; wait && job.Fails {
		return nil, refuse("The execution failed. %s", execution.Name)
	}
	return object{"kind": "Execution", "metadata": object{"name": execution.Name}}, nil
}

// matches refuses unless the object has the generation that was asked for; 0 means that it does not exist.
func (s *State) matches(c call, address string) error {
	want, ok := c.flags["if-generation-match"]
	if !ok {
		return nil
	}
	generation := int64(0)
	if found := s.Objects[address]; found != nil {
		generation = found.Generation
	}
	if want != strconv.FormatInt(generation, 10) {
		return refuse("HTTPError 412: At least one of the pre-conditions you specified did not hold.")
	}
	return nil
}

func (s *State) object(address string) (*Object, error) {
	if found := s.Objects[address]; found != nil {
		return found, nil
	}
	return nil, refuse("The following URLs matched no objects or files:\n%s", address)
}

// copyObject copies a file or standard input to an object, or the other way round.
func copyObject(s *State, c call) (any, error) {
	from, to := c.words[0], c.words[1]
	if !strings.HasPrefix(to, "gs://") {
		found, err := s.object(from)
		if err != nil {
			return nil, err
		}
		return nil, os.WriteFile(to, []byte(found.Content), 0o600)
	}
	var (
		content []byte
		err     error
	)
	if from == "-" {
		content, err = io.ReadAll(c.input)
	} else {
		content, err = os.ReadFile(from) //nolint:gosec // what the test names
	}
	if err != nil {
		return nil, err
	}
	if err := s.matches(c, to); err != nil {
		return nil, err
	}
	if s.Objects == nil {
		s.Objects = map[string]*Object{}
	}
	s.Versions++
	s.Objects[to] = &Object{string(content), s.Versions}
	return nil, nil
}

func readObject(s *State, c call) (any, error) {
	found, err := s.object(c.words[0])
	if err != nil {
		return nil, err
	}
	return found.Content, nil
}

func describeObject(s *State, c call) (any, error) {
	found, err := s.object(c.words[0])
	if err != nil {
		return nil, err
	}
	return object{"name": path.Base(c.words[0]), "generation": strconv.FormatInt(found.Generation, 10)}, nil
}

func removeObject(s *State, c call) (any, error) {
	if _, err := s.object(c.words[0]); err != nil {
		return nil, err
	}
	if err := s.matches(c, c.words[0]); err != nil {
		return nil, err
	}
	delete(s.Objects, c.words[0])
	return nil, nil
}

// listTags lists those of one image or of all images of a repository, named as the registry's API does.
func listTags(s *State, c call) (any, error) {
	list := []object{}
	for _, tagged := range slices.Sorted(maps.Keys(s.Tags)) {
		image, tag, _ := strings.Cut(tagged, ":")
		if image != c.words[0] && path.Dir(image) != c.words[0] {
			continue
		}
		of := "projects/p/locations/l/repositories/r/packages/" + path.Base(image)
		list = append(list, object{"image": image, "tag": of + "/tags/" + tag, "version": of + "/versions/" + s.Tags[tagged]})
	}
	return list, nil
}

func addTag(s *State, c call) (any, error) {
	if err := s.known(c.words[0]); err != nil {
		return nil, err
	}
	image, digest, _ := strings.Cut(c.words[0], "@")
	if of, _, _ := strings.Cut(c.words[1], ":"); of != image {
		return nil, refuse("Image %s\ndoes not match image %s", image, of)
	}
	if s.Tags == nil {
		s.Tags = map[string]string{}
	}
	s.Tags[c.words[1]] = digest
	return nil, nil
}
