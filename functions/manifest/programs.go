package manifest

import (
	_ "embed"
	"fmt"
	"slices"

	"github.com/go-json-experiment/json"
)

// Program is a service or a job that is not a function, and how it is sized.
type Program struct {
	Program      string   `json:"program"`
	Summary      string   `json:"summary"`
	Databases    []string `json:"databases"`
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
