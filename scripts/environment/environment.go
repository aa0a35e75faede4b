// Package environment reads what terraform/environments says of an environment, for the scripts that work on it.
package environment

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
)

// Environment is what a file of terraform/environments says, as far as scripts are concerned.
type Environment struct {
	Name           string            // of the file
	Kind           string            // what programs are told as ENVIRONMENT
	Project        string            // of Google Cloud
	Region         string            // of services and jobs
	Host           string            // under which callers find it
	StateBucket    string            // of Terraform's state, where the lock is as well
	Registry       string            // of images, without the program's name
	SecretVersions map[string]string // in use, by secret
	Settings       map[string]string // the programs' other variables
}

// defaultRepository is the default of registry.repository in terraform/variables.tf.
const defaultRepository = "liftlog"

// Read reads the file with the name in the folder of Terraform's configuration.
func Read(folder, name string) (Environment, error) {
	known, _ := filepath.Glob(filepath.Join(folder, "environments", "*.tfvars"))
	for i := range known {
		known[i] = strings.TrimSuffix(filepath.Base(known[i]), ".tfvars")
	}
	if !slices.Contains(known, name) {
		return Environment{}, fmt.Errorf("%q is no environment: it has to be one of %s", name, strings.Join(known, ", "))
	}
	values, err := Attributes(filepath.Join(folder, "environments", name+".tfvars"), nil)
	if err != nil {
		return Environment{}, err
	}
	e := Environment{
		Name: name, Kind: Text(values["environment"]), Project: Text(values["project"]), Region: Text(values["region"]), Host: Text(values["host"]),
		StateBucket: Text(values["state_bucket"]), SecretVersions: texts(values["secret_versions"]), Settings: texts(values["settings"]),
	}
	registry := texts(values["registry"])
	if registry["repository"] == "" {
		registry["repository"] = defaultRepository
	}
	e.Registry = registry["location"] + "-docker.pkg.dev/" + registry["project"] + "/" + registry["repository"]
	for variable, value := range map[string]string{
		"environment": e.Kind, "project": e.Project, "region": e.Region, "host": e.Host, "state_bucket": e.StateBucket,
		"registry.location": registry["location"], "registry.project": registry["project"],
	} {
		if value == "" {
			return Environment{}, fmt.Errorf("environments/%s.tfvars gives no %s", name, variable)
		}
	}
	return e, nil
}

// Attributes evaluates the attributes of a file, or, given a block's type and an attribute's name, those of that block. Only what
// is constant can be evaluated.
func Attributes(path string, of []string) (map[string]cty.Value, error) {
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

// Text is the text of a value, and empty if the value is missing.
func Text(value cty.Value) string {
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
		all[name] = Text(member)
	}
	return all
}
