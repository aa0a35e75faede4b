package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/liftlog/liftlog-api/functions/manifest"
	"github.com/liftlog/liftlog-api/scripts/releasefile"
)

// target is a service or a job that a release reaches.
type target struct {
	name     string // in Cloud Run
	function string // its name in the manifest, if it is one
	program  string // of the release, whose image it runs
	image    string // the program's repository
	job      bool
}

// readTargets lists what Terraform makes of the manifest beside its folder and of the list of programs.
func readTargets(folder, registry string) ([]target, error) {
	content, err := os.ReadFile(filepath.Join(folder, "..", "functions", "routes.json")) //nolint:gosec // of this checkout
	if err != nil {
		return nil, err
	}
	routes, err := manifest.Parse(content)
	if err != nil {
		return nil, err
	}
	var list []target
	for _, route := range routes {
		list = append(list, target{name: route.Service(), function: route.Function, program: releasefile.Server})
	}
	for _, program := range manifest.Programs() {
		list = append(list, target{name: program.Program, program: program.Image, job: program.Job})
	}
	for i := range list {
		list[i].image = registry + "/" + list[i].program
	}
	return list, nil
}

// choose returns the targets with the names, which may be a function's or those in Cloud Run; without names all of them.
func (t *tool) choose(names []string) ([]target, error) {
	if len(names) == 0 {
		return t.targets, nil
	}
	var chosen []target
	for _, name := range names {
		i := slices.IndexFunc(t.targets, func(one target) bool { return one.name == name || one.function == name })
		if i < 0 {
			return nil, fmt.Errorf("%q is no function, service or job: functions/routes.json has the functions, the others are %s",
				name, strings.Join(otherNames(), ", "))
		}
		if !slices.Contains(chosen, t.targets[i]) {
			chosen = append(chosen, t.targets[i])
		}
	}
	return chosen, nil
}

func otherNames() []string {
	names := []string{}
	for _, program := range manifest.Programs() {
		names = append(names, program.Program)
	}
	return names
}
