package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/liftlog/liftlog-api/functions"
	"github.com/liftlog/liftlog-api/shared/config"
	"github.com/liftlog/liftlog-api/shared/postgres"
	"github.com/liftlog/liftlog-api/shared/postgres/pgtest"
	"github.com/liftlog/liftlog-api/shared/programtest"
)

func freePort(t *testing.T) (port string) {
	t.Helper()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	_, port, err = net.SplitHostPort(listener.Addr().String())
	require.NoError(t, err)
	require.NoError(t, listener.Close())
	return port
}

func healthy(t *testing.T, port string) bool {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://127.0.0.1:"+port+"/v2/users",
		strings.NewReader(`{"ids":["0e000000-0000-4000-8000-000000000001"]}`))
	require.NoError(t, err)
	r.Header.Set("Content-Type", "application/json")
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		return false
	}
	defer func() { _ = response.Body.Close() }()
	return response.StatusCode == http.StatusOK
}

func TestTheEmulatorRunsUntilItIsStopped(t *testing.T) {
	t.Parallel()
	empty := pgtest.EmptyURL(t)
	for name, environ := range map[string][]string{"with its own database": nil, "with another on this machine": {"DATABASE_URL=" + empty}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			port := freePort(t)
			ctx, stop := context.WithCancel(t.Context())
			defer stop()
			var output programtest.Log
			ended := make(chan error, 1)
			go func() { ended <- run(ctx, []string{"--ephemeral"}, append(environ, "PORT="+port), &output) }()
			require.Eventually(t, func() bool { return healthy(t, port) }, 2*time.Minute, 10*time.Millisecond)
			assert.Regexp(t, `GET +/v2/user/\{idOrLookup\} +GetUser `, output.String())
			assert.Contains(t, output.String(), "curl -X POST -H 'Content-Type: application/json' -d '{}' http://localhost:"+port+"/v2/user/create")

			r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://127.0.0.1:"+port+cleanupPath, nil)
			require.NoError(t, err)
			response, err := http.DefaultClient.Do(r)
			require.NoError(t, err)
			require.NoError(t, response.Body.Close())
			assert.Equal(t, http.StatusOK, response.StatusCode)
			assert.Contains(t, output.String(), "clean-up ended")

			err = run(t.Context(), []string{"--ephemeral"}, []string{"PORT=" + port}, &programtest.Log{})
			assert.EqualError(t, err, fmt.Sprintf("port %s is in use: end the program that has it, or set PORT to another one", port))
			stop()
			require.NoError(t, <-ended)
			assert.False(t, healthy(t, port))
		})
	}
}

func TestAnotherDatabaseIsNotMigratedUnasked(t *testing.T) {
	t.Parallel()
	for url, want := range map[string]bool{
		"postgres://u@localhost/d": true, "postgres://u@127.0.0.1:5432/d": true, "postgres://u@[::1]/d": true, "postgres:///d?host=/run/postgresql": true,
		"postgres://u@10.0.0.1/d": false, "postgres://u@db.example/d": false, "postgres://u@localhost.example/d": false, "mysql:": false,
		"postgres://u@localhost/d?host=db.example": false, "postgres://u@localhost,db.example/d": false,
	} {
		there := functions.Config{
			Database:  &config.Database{URL: config.NewSecret(url)},
			RateLimit: &config.RateLimitDatabase{URL: config.NewSecret("postgres://localhost/d")},
		}
		assert.Equal(t, want, isLocal(&there), url)
		there.Database.CloudSQLInstance = "p:r:i"
		assert.False(t, isLocal(&there), "the host does not count then")
	}
	elsewhere := strings.Replace(pgtest.EmptyURL(t), "127.0.0.1", "0.0.0.0", 1) // reaches this machine, and does not say so
	err := run(t.Context(), nil, []string{"PORT=" + freePort(t), "DATABASE_URL=" + elsewhere}, &programtest.Log{})
	require.ErrorContains(t, err, "the database lacks the tables")
	require.ErrorContains(t, err, "--migrate makes them")
}

func TestHelp(t *testing.T) {
	t.Parallel()
	var output programtest.Log
	require.ErrorIs(t, run(t.Context(), []string{"--help"}, nil, &output), flag.ErrHelp)
	for _, want := range []string{"-ephemeral", "-migrate", "CREDENTIAL_KEY", "PORT"} {
		assert.Contains(t, output.String(), want)
	}
	require.ErrorContains(t, run(t.Context(), nil, []string{"PORT=x"}, &output), "PORT: is malformed")
}

func TestV1sDatabaseIsRead(t *testing.T) {
	t.Parallel()
	sample := loadSample(t)
	handler := handlerOn(t, sample.url)
	for request, want := range sample.ReadsByV1 {
		method, path, _ := strings.Cut(request, " ")
		if method != http.MethodGet {
			continue
		}
		w := get(t, handler, path)
		require.Equal(t, http.StatusOK, w.Code, request)
		assert.JSONEq(t, string(want), w.Body.String(), request)
	}
	var events struct{ Sent, Got json.RawMessage }
	require.NoError(t, json.Unmarshal(sample.ReadsByV1["POST /events"], &events))
	assert.JSONEq(t, string(events.Got), send(t, handler, http.MethodPost, "/events", string(events.Sent)).Body.String())
	assert.Equal(t, http.StatusNotFound, get(t, handler, "/shareditem/"+sample.SharedItems["expired"]).Code, "v1 served it still")

	bo := sample.Users["bo"]
	var inbox struct {
		InboxMessages []struct {
			EncryptedMessage []string `json:"encryptedMessage"`
		} `json:"inboxMessages"`
	}
	w := send(t, handler, http.MethodPost, "/inbox", fmt.Sprintf(`{"userId":%q,"password":%q}`, bo.ID, bo.Password))
	require.NoError(t, json.Unmarshal(w.Body.Bytes(), &inbox))
	var messages [][]string
	for _, m := range inbox.InboxMessages {
		messages = append(messages, m.EncryptedMessage)
	}
	assert.ElementsMatch(t, sample.WaitingInBosInbox, messages)
	db := pgtest.Pool(t, postgres.Options{URL: sample.url, MaxConns: 1})
	_, err := db.Exec(t.Context(), `UPDATE users SET last_accessed = 'infinity', created = '-infinity'`)
	require.NoError(t, err)
	for name, user := range sample.Users {
		assert.Equal(t, http.StatusOK, get(t, handler, "/v2/user/"+user.Lookup).Code, name)
		for password, want := range map[string]int{user.Password: http.StatusOK, "00000000-0000-4000-8000-000000000000": http.StatusUnauthorized} {
			body := fmt.Sprintf(`{"id":%q,"password":%q,"encryptionIV":"","rsaPublicKey":""}`, user.ID, password)
			assert.Equal(t, want, send(t, handler, http.MethodPut, "/v2/user", body).Code, name)
		}
	}
}

func TestTheEmulatorServesAllAndNothingElse(t *testing.T) {
	t.Parallel()
	nowhere := "postgres://nobody@127.0.0.1:1/nothing" // so that no answer can come from a row
	server := httptest.NewServer(handlerOn(t, nowhere))
	t.Cleanup(server.Close)
	hubs := []string{
		"/ai-chat", "/ai-chat/", "/AI-Chat", "/v2/ai-chat", "/ai-chat/negotiate", "/v2/ai-chat/negotiate",
		"/ai-chat-v2", "/ai-chat-v2/", "/AI-Chat-V2", "/v2/ai-chat-v2", "/ai-chat-v2/negotiate", "/V2/ai-chat-v2/negotiate/",
	}
	all := slices.Concat(hubs, []string{"GET " + openAPIPath, "GET " + docsPath, "GET " + docsPath + "/swagger-ui.css"})
	for _, mount := range functions.Mount(functions.Manifest(), functions.Deps{}) {
		all = append(all, mount.Method+" "+mount.Path)
	}
	programtest.WalkPaths(t, server.URL, all, all)
}
