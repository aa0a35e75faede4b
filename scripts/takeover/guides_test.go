// Package takeover_test runs the commands of the guides beside it, against the emulator and stand-ins.
package takeover_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/liftlog/liftlog-api/functions/manifest"
	"github.com/liftlog/liftlog-api/scripts/emulatortest"
	"github.com/liftlog/liftlog-api/scripts/gcloudtest"
	"github.com/liftlog/liftlog-api/shared/postgres/pgtest"
)

func TestMain(m *testing.M) { os.Exit(pgtest.Run(m)) }

const root = "../.."

// guides are read by name.
func guides(t *testing.T) map[string]string {
	t.Helper()
	paths, err := filepath.Glob("*.md")
	require.NoError(t, err)
	require.Len(t, paths, 5)
	texts := map[string]string{}
	for _, path := range paths {
		text, err := os.ReadFile(path)
		require.NoError(t, err)
		texts[path] = string(text)
	}
	return texts
}

// v1 stands before the emulator and notes readings of profiles, as v1 does.
func v1(t *testing.T, base, databaseURL string) string {
	t.Helper()
	return emulatortest.Behind(t, base, func(_ http.ResponseWriter, r *http.Request) bool {
		if id, ok := strings.CutPrefix(r.URL.Path, "/user/"); ok && r.Method == http.MethodGet {
			conn, err := pgx.Connect(r.Context(), databaseURL)
			if assert.NoError(t, err) {
				_, err = conn.Exec(r.Context(), `UPDATE users SET last_accessed = now() WHERE id::text = lower($1)`, id)
				assert.NoError(t, err)
				_ = conn.Close(r.Context())
			}
		}
		return false
	})
}

// monitoring answers every query with nothing, as that of a project without traffic does.
func monitoring(t *testing.T) string {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write([]byte(`{"status": "success", "data": {"resultType": "vector", "result": []}}`))
	}))
	t.Cleanup(server.Close)
	return server.URL
}

var block = regexp.MustCompile("(?ms)^ *```(sh|sql)\n(.*?)^ *```")

func TestCommandsOfTheGuides(t *testing.T) {
	for _, program := range []string{"node", "npm"} {
		if _, err := exec.LookPath(program); err != nil && os.Getenv("CI") == "" {
			t.Skipf("%s is not installed", program)
		}
	}
	databaseURL := pgtest.EmptyURL(t)
	base := emulatortest.Start(t, databaseURL).Base
	gcloudtest.New(t, gcloudtest.State{Project: "liftlog-production", Region: "europe-west1"})
	folder := t.TempDir()
	terraform := "#!/bin/sh\n[ \"$1\" = init ] || echo '{\"traffic\": {\"value\": {\"reads\": 0, \"writes\": 0, \"chat\": false}}}'\n"
	require.NoError(t, os.WriteFile(filepath.Join(folder, "terraform"), []byte(terraform), 0o700))
	app := filepath.Join(folder, "app")
	require.NoError(t, os.CopyFS(app, os.DirFS("app")))
	environ := append(os.Environ(), "PATH="+folder+string(os.PathListSeparator)+os.Getenv("PATH"), "LOCK_HOLDER=", "ENV=production",
		"BASE="+base, "V1="+v1(t, base, databaseURL), "V2="+base, "DATABASE_URL="+databaseURL, "WEB_AUTH_API_KEY=test-web-auth-key-12345")
	watched := monitoring(t)
	done := map[string]bool{}
	for name, text := range guides(t) {
		for _, found := range block.FindAllStringSubmatch(text, -1) {
			if found[1] == "sql" {
				conn, err := pgx.Connect(t.Context(), databaseURL)
				require.NoError(t, err)
				_, err = conn.Exec(t.Context(), found[2])
				require.NoError(t, err, name)
				require.NoError(t, conn.Close(t.Context()))
				continue
			}
			newUser(t, base) // whom the check asks v1 for
			for line := range strings.Lines(found[2]) {
				line = strings.ReplaceAll(strings.TrimSpace(line), "scripts/takeover/app", app)
				if strings.HasPrefix(line, "scripts/rollout $ENV") {
					line += " --monitoring " + watched
				}
				if !done[line] {
					run(t, name, line, environ)
				}
				done[line] = true
			}
		}
	}
}

func newUser(t *testing.T, base string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, base+"/v2/user/create", strings.NewReader("{}"))
	require.NoError(t, err)
	r.Header.Set("Content-Type", "application/json")
	response, err := http.DefaultClient.Do(r)
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, response.StatusCode)
	require.NoError(t, response.Body.Close())
}

func run(t *testing.T, guide, line string, environ []string) {
	t.Helper()
	command := exec.CommandContext(context.WithoutCancel(t.Context()), "sh", "-c", line)
	command.Dir, command.Env = root, environ
	said, err := command.CombinedOutput()
	require.NoError(t, err, "%s: %s\n%s", guide, line, said)
}

func TestTheTableOfPathsIsTheManifests(t *testing.T) {
	text, err := os.ReadFile(root + "/functions/routes.json")
	require.NoError(t, err)
	routes, err := manifest.Parse(text)
	require.NoError(t, err)
	guide := guides(t)["app.md"]
	source, err := os.ReadFile("app/api.ts")
	require.NoError(t, err)
	snippet := string(source)
	for _, r := range routes {
		if r.Function == "Health" {
			continue
		}
		row := regexp.MustCompile(regexp.QuoteMeta(fmt.Sprintf("| `%s %s` | `%s %s` | ", r.Method, r.V1Path(), r.Method, r.Path)) + `(may be repeated|never)`).
			FindStringSubmatch(guide)
		if !assert.NotNil(t, row, "%s is not in the table of paths", r.Function) {
			continue
		}
		path, _, _ := strings.Cut(r.V1Path(), "{")
		form := "/^" + r.Method + " " + strings.ReplaceAll(path, "/", `\/`)
		repeats := strings.Contains(snippet, form+"/,") || strings.Contains(snippet, form+"$/,")
		assert.Equal(t, row[1] == "may be repeated", repeats, "%s: the table and the snippet do not agree", r.Function)
	}
}

var (
	goTest   = regexp.MustCompile("`go (?:-C (scripts) )?test (\\./[a-z0-9/-]+) -run '([^']+)'`")
	testName = regexp.MustCompile(`(?m)^func ((?:Test|Fuzz)\w+)\(`)
	scripts  = regexp.MustCompile(`scripts/([a-z-]+)`)
)

func TestWhatTheGuidesNameIsThere(t *testing.T) {
	for name, text := range guides(t) {
		for _, script := range scripts.FindAllStringSubmatch(text, -1) {
			_, err := os.Stat(filepath.Join(root, "scripts", script[1]))
			assert.NoError(t, err, name)
		}
		for _, command := range goTest.FindAllStringSubmatch(text, -1) {
			files, err := filepath.Glob(filepath.Join(root, command[1], command[2], "*_test.go"))
			require.NoError(t, err)
			var all strings.Builder
			for _, file := range files {
				source, err := os.ReadFile(file)
				require.NoError(t, err)
				all.Write(source)
			}
			for pattern := range strings.SplitSeq(command[3], `\|`) {
				there := false
				for _, test := range testName.FindAllStringSubmatch(all.String(), -1) {
					there = there || regexp.MustCompile(pattern).MatchString(test[1])
				}
				assert.True(t, there, "%s: no test is there for %s", name, command[0])
			}
		}
	}
}
