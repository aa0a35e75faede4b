package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"

	"github.com/liftlog/liftlog-api/shared/config"
)

// secret is a definition of terraform/secrets.tf.
type secret struct {
	name        string
	description string
	optional    bool
}

// environment is what a file of terraform/environments says, as far as secrets are concerned.
type environment struct {
	name     string            // of the file
	kind     string            // what programs are told as ENVIRONMENT
	project  string            // of Google Cloud
	inUse    map[string]string // versions by secret
	settings map[string]string // the programs' other variables
	secrets  []secret
}

func readEnvironment(folder, name string) (e environment, err error) {
	known, _ := filepath.Glob(filepath.Join(folder, "environments", "*.tfvars"))
	for i := range known {
		known[i] = strings.TrimSuffix(filepath.Base(known[i]), ".tfvars")
	}
	if !slices.Contains(known, name) {
		return e, fmt.Errorf("%q is no environment: it has to be one of %s", name, strings.Join(known, ", "))
	}
	values, err := attributes(filepath.Join(folder, "environments", name+".tfvars"), nil)
	if err != nil {
		return e, err
	}
	e = environment{name: name, kind: text(values["environment"]), project: text(values["project"]), inUse: texts(values["secret_versions"]),
		settings: texts(values["settings"])}
	if e.kind == "" || e.project == "" {
		return e, fmt.Errorf("environments/%s.tfvars gives no environment or no project", name)
	}
	definitions, err := attributes(filepath.Join(folder, "secrets.tf"), []string{"locals", "secrets"})
	if err != nil {
		return e, err
	}
	defined := definitions["secrets"].AsValueMap()
	for _, name := range slices.Sorted(maps.Keys(defined)) {
		members := defined[name].AsValueMap()
		e.secrets = append(e.secrets, secret{name, text(members["description"]), members["optional"].True()})
	}
	return e, nil
}

// attributes evaluates the attributes of a file, or one of a block of it. Only what is constant can be evaluated.
func attributes(path string, of []string) (map[string]cty.Value, error) {
	content, err := os.ReadFile(path) //nolint:gosec // of this checkout
	if err != nil {
		return nil, err
	}
	file, diagnostics := hclsyntax.ParseConfig(content, path, hcl.InitialPos)
	if diagnostics.HasErrors() {
		return nil, diagnostics
	}
	body, ok := file.Body.(*hclsyntax.Body)
	if !ok {
		return nil, fmt.Errorf("%s is not understood", path)
	}
	found := body.Attributes
	if of != nil {
		found = hclsyntax.Attributes{}
		for _, block := range body.Blocks {
			if attribute := block.Body.Attributes[of[1]]; block.Type == of[0] && attribute != nil {
				found[of[1]] = attribute
			}
		}
		if len(found) == 0 {
			return nil, fmt.Errorf("%s has no %s", path, strings.Join(of, "."))
		}
	}
	values := map[string]cty.Value{}
	for name, attribute := range found {
		value, diagnostics := attribute.Expr.Value(nil)
		if diagnostics.HasErrors() {
			return nil, diagnostics
		}
		values[name] = value
	}
	return values, nil
}

// text is a value as one, and empty for a missing one.
func text(value cty.Value) string {
	if value == cty.NilVal || value.IsNull() || value.Type() != cty.String {
		return ""
	}
	return value.AsString()
}

func texts(value cty.Value) map[string]string {
	all := map[string]string{}
	if value == cty.NilVal || value.IsNull() {
		return all
	}
	for name, member := range value.AsValueMap() {
		all[name] = text(member)
	}
	return all
}

// check reads the value as a program of the environment would, with the settings that it has there.
func (e environment) check(ctx context.Context, name, value string) error {
	if strings.HasPrefix(value, "sm://") {
		return errors.New("it is a reference to a secret, and not one")
	}
	environ := []string{"ENVIRONMENT=" + e.kind}
	for setting, v := range e.settings {
		environ = append(environ, setting+"="+v)
	}
	environ = append(environ, name+"="+value)
	type program[T any] struct {
		Service config.Service
		Part    T
	}
	switch name {
	case "CREDENTIAL_KEY":
		return config.Load(ctx, environ, &program[config.Credentials]{})
	case "CHAT_TOKEN_KEY":
		return config.Load(ctx, environ, &program[config.Chat]{})
	case "OPENAI_API_KEY":
		return config.Load(ctx, environ, &program[config.Model]{})
	default:
		return config.Load(ctx, environ, &program[config.Purchases]{})
	}
}
