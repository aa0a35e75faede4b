package main

import (
	"context"
	"errors"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"github.com/liftlog/liftlog-api/scripts/environment"
	"github.com/liftlog/liftlog-api/shared/config"
)

// secret is a definition of terraform/secrets.tf.
type secret struct {
	name        string
	description string
	optional    bool
}

// target is an environment with the secrets that its programs may read.
type target struct {
	environment.Environment
	secrets []secret
}

func readTarget(folder, name string) (t target, err error) {
	if t.Environment, err = environment.Read(folder, name); err != nil {
		return t, err
	}
	definitions, err := environment.Attributes(filepath.Join(folder, "secrets.tf"), []string{"locals", "secrets"})
	if err != nil {
		return t, err
	}
	defined := definitions["secrets"].AsValueMap()
	for _, name := range slices.Sorted(maps.Keys(defined)) {
		members := defined[name].AsValueMap()
		t.secrets = append(t.secrets, secret{name, environment.Text(members["description"]), members["optional"].True()})
	}
	return t, nil
}

// check reads the value as a program of the environment would, with the settings that it has there.
func (t target) check(ctx context.Context, name, value string) error {
	if strings.HasPrefix(value, "sm://") {
		return errors.New("it is a reference to a secret, and not one")
	}
	environ := []string{"ENVIRONMENT=" + t.Kind}
	for setting, v := range t.Settings {
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
