package gcloudtest

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"

	"github.com/go-json-experiment/json"
)

// State is all that the stand-in keeps between two calls, in a file.
type State struct {
	Project  string              // the only one that the caller may work on
	Region   string              // where its services and jobs are
	Services map[string]*Service // by name
	Jobs     map[string]*Job     // by name
	Objects  map[string]*Object  // by gs:// address
	Versions int64               // generations that objects have had
	Images   []string            // repository@digest of what the registry has; a service or job takes no other
	Broken   []string            // images whose revisions do not start
	Tags     map[string]string   // digest by repository:tag
	Calls    [][]string          // every command line so far, in the order in which they came
	Faults   []Fault
}

// Service is one of Cloud Run's.
type Service struct {
	Image     string     // of the template, which the next revision is made of
	Revisions []Revision // in the order in which they were made
	Ready     string     // the latest revision that has started
	Traffic   []Target
}

// Revision is one of a service's.
type Revision struct {
	Name, Image string
	Started     bool
}

// Target is a revision with its share of the traffic in percent. An empty name is the latest ready revision, whichever that is.
type Target struct {
	Revision string
	Percent  int
}

// Serving is the share of each revision that has one, in percent.
func (s *Service) Serving() map[string]int {
	serving := map[string]int{}
	for _, target := range s.Traffic {
		if target.Revision == "" {
			target.Revision = s.Ready
		}
		if target.Percent > 0 {
			serving[target.Revision] += target.Percent
		}
	}
	return serving
}

func (s *Service) revision(name string) *Revision {
	for i := range s.Revisions {
		if s.Revisions[i].Name == name {
			return &s.Revisions[i]
		}
	}
	return nil
}

// Job is one of Cloud Run's.
type Job struct {
	Image      string
	Fails      bool // its executions do
	Executions []Execution
}

// Execution is one run of a job.
type Execution struct {
	Name, Image string
	Args        []string
	Succeeded   bool
}

// Object is one of Cloud Storage's. Deleting and making it again gives it another generation.
type Object struct {
	Content    string
	Generation int64
}

// Kind says how a call fails.
type Kind string

// The ways to fail.
const (
	Refused     Kind = "refused"           // nothing is changed
	Lost        Kind = "lost"              // what was asked for is done, and the answer is that it failed
	Hanging     Kind = "hanging"           // nothing is changed, and the call does not end by itself
	HangingDone Kind = "hanging when done" // what was asked for is done, and the call does not end by itself
)

// Fault makes calls fail.
type Fault struct {
	Matching string // part of the command line; empty: every call
	Skip     int    // how many matching calls pass before
	Times    int    // how many fail from there on
	Kind     Kind
}

// take reports how the call fails, if one of the faults applies to it.
func (s *State) take(line string) Kind {
	for i := range s.Faults {
		fault := &s.Faults[i]
		switch {
		case !strings.Contains(line, fault.Matching):
		case fault.Skip > 0:
			fault.Skip--
		case fault.Times > 0:
			fault.Times--
			return fault.Kind
		}
	}
	return ""
}

// update changes the state in the file under a lock. What change has done is kept even if it returns an error.
func update(path string, change func(*State) error) (err error) {
	file, err := os.OpenFile(path, os.O_RDWR, 0) //nolint:gosec // a test's own file
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }() // which gives up the lock, too
	if err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX); err != nil {
		return err
	}
	var content bytes.Buffer
	if _, err := content.ReadFrom(file); err != nil {
		return err
	}
	var s State
	if err := json.Unmarshal(content.Bytes(), &s); err != nil {
		return fmt.Errorf("read the stand-in's state: %w", err)
	}
	failure := change(&s)
	after, err := json.Marshal(s, json.Deterministic(true))
	if err != nil {
		return err
	}
	if !bytes.Equal(after, content.Bytes()) {
		if err := file.Truncate(0); err != nil {
			return err
		}
		if _, err := file.WriteAt(after, 0); err != nil {
			return err
		}
	}
	return failure
}
