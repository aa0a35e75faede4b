package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const terraform = "../../terraform"

// standIn is a gcloud that keeps versions in a folder for each secret, refuses unknown secrets and projects, and notes how it
// was called.
const standIn = `#!/bin/sh
set -eu
echo "$*" >>"$STATE/calls"
case " $* " in *" --project=liftlog-production "*) ;; *) echo "PERMISSION_DENIED: project" >&2; exit 1 ;; esac
[ "$1 $2" = "secrets versions" ] || { echo "unknown command" >&2; exit 2; }
case $3 in
access) name=${5#--secret=} ;;
*) name=$4 ;;
esac
[ -d "$STATE/$name" ] || { echo "ERROR: NOT_FOUND: Secret [$name] not found" >&2; exit 1; }
newest=$(ls "$STATE/$name" | sort -n | tail -1)
case $3 in
list) ls "$STATE/$name" | sort -rn ;;
access) cat "$STATE/$name/$newest" ;;
add) cat >"$STATE/$name/$((${newest:-0} + 1))" ;;
*) exit 2 ;;
esac
`

// cloud puts the stand-in first in the path and makes the secrets, empty ones.
func cloud(t *testing.T, secrets ...string) (state string) {
	t.Helper()
	bin, state := t.TempDir(), t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(bin, "gcloud"), []byte(standIn), 0o700))
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
	t.Setenv("STATE", state)
	for _, name := range secrets {
		require.NoError(t, os.Mkdir(filepath.Join(state, name), 0o700))
	}
	return state
}

// all names the secrets that Terraform defines.
func all(t *testing.T) (names []string) {
	t.Helper()
	production, err := readTarget(terraform, "production")
	require.NoError(t, err)
	for _, s := range production.secrets {
		names = append(names, s.name)
	}
	return names
}

func secrets(t *testing.T, input string, args ...string) (string, error) {
	t.Helper()
	var output bytes.Buffer
	err := run(t.Context(), args, terraform, strings.NewReader(input), &output)
	return output.String(), err
}

func stored(t *testing.T, state, name, version string) string {
	t.Helper()
	value, err := os.ReadFile(filepath.Join(state, name, version))
	require.NoError(t, err)
	return string(value)
}

func TestAnEnvironmentIsFilled(t *testing.T) {
	state := cloud(t, all(t)...)
	said, err := secrets(t, "", "production")
	require.ErrorContains(t, err, "APPLE_SHARED_SECRET, CHAT_TOKEN_KEY, CREDENTIAL_KEY, GOOGLE_PLAY_CREDENTIALS, OPENAI_API_KEY, WEB_AUTH_API_KEY has no such version")
	require.ErrorContains(t, err, "scripts/secrets production generate")
	for _, name := range all(t) {
		assert.Regexp(t, name+` +empty `, said)
	}
	assert.Regexp(t, `REVENUECAT_API_KEY +empty +optional, switched off`, said)

	_, err = secrets(t, "", "production", "generate", "--dry-run")
	require.NoError(t, err)
	_, err = os.Stat(filepath.Join(state, "CREDENTIAL_KEY", "1"))
	require.ErrorIs(t, err, os.ErrNotExist, "a dry run stores nothing")
	said, err = secrets(t, "", "production", "generate")
	require.NoError(t, err)
	for _, name := range ours {
		value := stored(t, state, name, "1")
		assert.Regexp(t, `^1:[A-Za-z0-9+/]{43}=$`, value)
		assert.NotContains(t, said, value[2:])
	}
	assert.NotEqual(t, stored(t, state, "CREDENTIAL_KEY", "1"), stored(t, state, "CHAT_TOKEN_KEY", "1"))
	_, err = secrets(t, "", "production", "generate")
	require.NoError(t, err, "a second time there is nothing to do")

	for name, value := range map[string]string{
		"APPLE_SHARED_SECRET": "0123", "OPENAI_API_KEY": "sk-live", "WEB_AUTH_API_KEY": "a-long-key", "GOOGLE_PLAY_CREDENTIALS": `{"type": "service_account"}`,
	} {
		said, err := secrets(t, value+"\n", "production", "set", name)
		require.NoError(t, err, name)
		assert.Equal(t, value, stored(t, state, name, "1"))
		assert.NotContains(t, said, value)
	}
	_, err = secrets(t, "", "production", "list")
	require.NoError(t, err)
	calls, err := os.ReadFile(filepath.Join(state, "calls"))
	require.NoError(t, err)
	for _, value := range []string{"sk-live", "a-long-key", "0123", "service_account"} {
		assert.NotContains(t, string(calls), value, "a value is no argument")
	}
}

func TestOurKeysAreRotated(t *testing.T) {
	state := cloud(t, all(t)...)
	_, err := secrets(t, "", "production", "generate")
	require.NoError(t, err)
	versions := func(version string) (all []string) {
		for key := range strings.SplitSeq(stored(t, state, "CREDENTIAL_KEY", version), ",") {
			number, _, _ := strings.Cut(key, ":")
			all = append(all, number)
		}
		return all
	}
	for i, want := range [][]string{{"1", "2"}, {"2", "1"}, {"2", "3", "1"}, {"3", "2", "1"}, {"3", "4", "2"}, {"4", "3", "2"}} {
		said, err := secrets(t, "", "production", "rotate", "CREDENTIAL_KEY")
		require.NoError(t, err)
		assert.Equal(t, want, versions(strconv.Itoa(i+2)), "a key is known before it signs, and those before still count")
		assert.Contains(t, said, "After `scripts/deploy production --renew` "+[]string{"rotate again", "the new key signs"}[i%2])
	}
	_, err = secrets(t, "", "production", "rotate", "OPENAI_API_KEY")
	require.ErrorContains(t, err, "is not a key of ours")
}

func TestBadInputIsRefusedAndNothingStored(t *testing.T) {
	state := cloud(t, all(t)...)
	for _, c := range []struct {
		input string
		args  []string
		want  string
	}{
		{"", nil, "which environment?"},
		{"", []string{"prod"}, `"prod" is no environment: it has to be one of dev, production, staging`},
		{"", []string{"production", "delete", "X"}, "delete X is not understood"},
		{"x", []string{"production", "set", "PASSWORD"}, "PASSWORD is not defined in terraform/secrets.tf"},
		{" \n", []string{"production", "set", "OPENAI_API_KEY"}, "standard input holds no value"},
		{strings.Repeat("x", 70_000), []string{"production", "set", "OPENAI_API_KEY"}, "longer than Secret Manager takes"},
		{"sm://p/s", []string{"production", "set", "OPENAI_API_KEY"}, "it is a reference to a secret"},
		{"hunter2", []string{"production", "set", "CREDENTIAL_KEY"}, "CREDENTIAL_KEY: key 1 does not begin with a positive version"},
		{"1:QUJD", []string{"production", "set", "CHAT_TOKEN_KEY"}, "CHAT_TOKEN_KEY: key 1 is shorter than 32 bytes"},
		{"test-web-auth-key-12345", []string{"production", "set", "WEB_AUTH_API_KEY"}, "is not for production"},
		{"{}", []string{"production", "set", "GOOGLE_PLAY_CREDENTIALS"}, "is not a service account's key as JSON"},
		{"sk_x", []string{"production", "set", "REVENUECAT_API_KEY"}, "REVENUECAT_PROJECT_ID: is not a project's id (proj…)"},
	} {
		_, err := secrets(t, c.input, c.args...)
		require.ErrorContains(t, err, c.want)
		assert.NotContains(t, err.Error(), "hunter2")
	}
	for _, name := range all(t) {
		entries, err := os.ReadDir(filepath.Join(state, name))
		require.NoError(t, err)
		assert.Empty(t, entries, name)
	}
}

func TestWhatTheCloudRefusesIsSaid(t *testing.T) {
	cloud(t)
	_, err := secrets(t, "", "production")
	require.ErrorContains(t, err, "terraform apply -target=google_secret_manager_secret.secret")
	_, err = secrets(t, "", "staging")
	require.ErrorContains(t, err, "PERMISSION_DENIED")
	t.Setenv("PATH", t.TempDir())
	_, err = secrets(t, "", "production")
	require.ErrorContains(t, err, "gcloud is not installed")
}
