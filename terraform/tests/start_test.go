package tests

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/liftlog/liftlog-api/functions"
	"github.com/liftlog/liftlog-api/functions/manifest"
	"github.com/liftlog/liftlog-api/shared/postgres/pgtest"
	"github.com/liftlog/liftlog-api/shared/programtest"
	"github.com/liftlog/liftlog-api/shared/web"
)

// programsFolder is where scripts/check-images has put the programs that it has taken out of their images.
const programsFolder = "IMAGES_PROGRAMS"

// secrets stand in for those of Secret Manager.
var secrets = map[string]string{
	"APPLE_SHARED_SECRET":     "0123456789abcdef0123456789abcdef",
	"CHAT_TOKEN_KEY":          "1:dGhpcnR5LXR3byBieXRlcyBvZiBhIGtleSBmb3IgdGVzdHM=",
	"CREDENTIAL_KEY":          "1:dGhpcnR5LXR3byBieXRlcyBvZiBhIGtleSBmb3IgdGVzdHM=",
	"GOOGLE_PLAY_CREDENTIALS": `{"type":"service_account","client_email":"a@b.example","private_key":"x"}`,
	"OPENAI_API_KEY":          "a-key-of-no-service",
	"REVENUECAT_API_KEY":      "a-key-of-no-store",
	"WEB_AUTH_API_KEY":        "a-key-of-nobody-at-all",
}

// environ is what the plan gives a container, with secrets and databases of this machine.
func (c container) environ(databaseURL string) (all []string) {
	for name, value := range c.variables() {
		switch {
		case strings.HasPrefix(value, "sm:"):
			value = secrets[name]
		case name == "DATABASE_URL", name == "RATE_LIMIT_DATABASE_URL":
			value = databaseURL
		case name == "CLOUD_SQL_INSTANCE":
			value = "" // counts as unset
		}
		all = append(all, name+"="+value)
	}
	return all
}

// start runs a program and waits until it is ready, or until it has ended if it serves nothing.
func start(ctx context.Context, program string, serves bool, environ []string) error {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	address := listener.Addr().String()
	_ = listener.Close()
	_, port, _ := net.SplitHostPort(address)
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	var log programtest.Log
	command := exec.CommandContext(ctx, program) //nolint:gosec // from an image that was made here
	command.Env = slices.Concat(environ, []string{"PORT=" + port})
	command.Stdout, command.Stderr = &log, &log
	if !serves {
		if err := command.Run(); err != nil {
			return fmt.Errorf("%w: %s", err, log.String())
		}
		return nil
	}
	if err := command.Start(); err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- command.Wait() }()
	defer func() { _ = command.Process.Kill() }()
	for ctx.Err() == nil {
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+web.ReadyPath, http.NoBody)
		if err != nil {
			return err
		}
		if response, err := http.DefaultClient.Do(r); err == nil {
			_ = response.Body.Close()
			if response.StatusCode == http.StatusOK {
				return nil
			}
		}
		select {
		case err := <-ended:
			return fmt.Errorf("it has ended (%v): %s", err, log.String()) //nolint:errorlint // there may be none
		case <-time.After(20 * time.Millisecond):
		}
	}
	return fmt.Errorf("it does not become ready: %s", log.String())
}

// TestEveryProgramStartsWithItsEnvironment starts what the images hold with the names that the plans give it.
func TestEveryProgramStartsWithItsEnvironment(t *testing.T) {
	t.Parallel()
	folder := os.Getenv(programsFolder)
	if folder == "" {
		t.Skip("scripts/check-images runs this")
	}
	url := pgtest.URL(t)
	w := newWorkspace(t)
	for _, environment := range []string{"staging", "production"} {
		s, err := w.plan(t.Context(), environment)
		require.NoError(t, err)
		services, err := each[service](s, "google_cloud_run_v2_service")
		require.NoError(t, err)
		assert.Len(t, services, len(functions.Manifest())+1)
		for address, svc := range services {
			program := "server"
			if svc.serves() == "chat-service" {
				program = manifest.ProgramOf("chat-service").Image
			}
			err := start(t.Context(), filepath.Join(folder, program), true, svc.Template[0].Containers[0].environ(url))
			assert.NoError(t, err, "%s: %s", environment, address)
		}
		jobs, err := each[struct {
			Name     string `json:"name"`
			Template []struct {
				Template []struct {
					Containers []container `json:"containers"`
				} `json:"template"`
			} `json:"template"`
		}](s, "google_cloud_run_v2_job")
		require.NoError(t, err)
		assert.Len(t, jobs, len(manifest.Programs())-1) // the chat is a service
		for address, job := range jobs {
			err := start(t.Context(), filepath.Join(folder, manifest.ProgramOf(job.Name).Image), false, job.Template[0].Template[0].Containers[0].environ(url))
			assert.NoError(t, err, "%s: %s", environment, address)
		}
	}
}
