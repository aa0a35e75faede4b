package manifest

import (
	_ "embed"
	"fmt"
	"slices"

	"github.com/go-json-experiment/json"
)

// Program is a service or a job that is not a function: what it is made of, how it runs and how it is sized.
type Program struct {
	Program      string   `json:"program"`
	Summary      string   `json:"summary"`
	Package      string   `json:"package"`  // what its image is built of, from the repository's root
	Image        string   `json:"image"`    // the name of its image, and of the repository that keeps it
	Job          bool     `json:"job"`      // it does its work and ends; otherwise it is a service
	Schedule     string   `json:"schedule"` // when a job is started, in cron's form and UTC; empty: by the pipeline or by hand only
	Databases    []string `json:"databases"`
	Groups       []string `json:"groups"` // what its login may do in them: groups of package grants
	Memory       string   `json:"memory"` // in Mi, as Cloud Run writes it
	CPU          string   `json:"cpu"`
	Concurrency  int      `json:"concurrency"` // requests at a time in one instance
	TimeoutS     int      `json:"timeout_s"`
	MinInstances int      `json:"min_instances"`
	MaxInstances int      `json:"max_instances"`
	Pool         int      `json:"pool"`     // connections of one instance to each of its databases
	Secrets      []string `json:"secrets"`  // environment variables that hold secrets
	Settings     []string `json:"settings"` // the others that the program reads beside those of every program and of its databases
}

// MemoryBytes is the memory of one instance, past which the platform ends it.
func (p Program) MemoryBytes() int64 { return memoryBytes(p.Memory) }

// MemoryLimit is what Go's runtime of the program is told to stay below, in bytes.
func (p Program) MemoryLimit() int64 { return memoryLimit(p.Memory) }

//go:embed programs.json
var programs []byte

// Programs lists what runs beside the functions.
func Programs() []Program {
	var list []Program
	if err := json.Unmarshal(programs, &list, json.RejectUnknownMembers(true)); err != nil {
		panic(fmt.Errorf("read programs: %w", err)) // the list is built in, and a test reads it
	}
	return list
}

// ProgramOf returns the program with the name, which has to be in the list.
func ProgramOf(name string) Program {
	list := Programs()
	i := slices.IndexFunc(list, func(p Program) bool { return p.Program == name })
	if i < 0 {
		panic("no program is called " + name)
	}
	return list[i]
}
