package main

import (
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/liftlog/liftlog-api/functions/functionstest"
	"github.com/liftlog/liftlog-api/functions/recorded"
)

// TestV1Answers plays what v1 was recorded answering, in order, under v2's paths and under v1's own.
func TestV1Answers(t *testing.T) {
	t.Parallel()
	cases := recordedCases(t)
	require.Len(t, cases, 217)
	for _, prefix := range []string{"", "/v2"} {
		t.Run("prefix "+prefix, func(t *testing.T) {
			t.Parallel()
			server := httptest.NewServer(testHandler(t))
			t.Cleanup(server.Close)
			r := replay{server: server, values: recorded.Values{"web-key": testWebKey}, prefix: prefix}
			for _, c := range cases {
				r.play(t, c)
			}
		})
	}
}

// recordedCases are what v1 was recorded answering, in order.
func recordedCases(t *testing.T) []recorded.Case {
	t.Helper()
	file, err := os.ReadFile("testdata/v1/http.json")
	require.NoError(t, err)
	cases, err := recorded.Parse(file)
	require.NoError(t, err)
	return cases
}

// replay plays cases against a server and keeps what their answers named.
type replay struct {
	server *httptest.Server
	values recorded.Values
	prefix string
}

func (p *replay) play(tb testing.TB, c recorded.Case) {
	tb.Helper()
	r, err := p.values.NewRequest(tb.Context(), p.server.URL, p.prefix, c)
	require.NoError(tb, err, c.Case)
	w := p.send(tb, r)
	if !strings.Contains(r.URL.Path, "/ai-chat") {
		functionstest.CheckAnswer(tb, r.Method, r.URL.Path, w)
	}

	want := []int{c.V1.Status}
	if c.V2 != nil {
		want = c.V2.Status
	}
	require.Contains(tb, want, w.Code, "%s: %s", c.Case, w.Body)
	for name, value := range c.V1.Headers {
		require.Equal(tb, strings.ToLower(value), strings.ToLower(w.Header().Get(name)), "%s: header %s", c.Case, name)
	}
	if w.Code != c.V1.Status {
		return
	}
	if w.Code == http.StatusOK {
		p.checkSuccess(tb, c, w)
	}
	if w.Code == http.StatusBadRequest {
		checkFaults(tb, c, w)
	}
	switch {
	case w.Code == http.StatusUnauthorized && strings.HasPrefix(c.Case, "ai.negotiate."):
		require.Empty(tb, w.Body.String(), "the chat's client would show it")
	case w.Code >= http.StatusBadRequest:
		require.Equal(tb, "application/problem+json; charset=utf-8", w.Header().Get("Content-Type"), c.Case)
	}
}

// send returns the whole answer to the request.
func (p *replay) send(tb testing.TB, r *http.Request) *httptest.ResponseRecorder {
	tb.Helper()
	response, err := p.server.Client().Do(r)
	require.NoError(tb, err)
	defer func() { require.NoError(tb, response.Body.Close()) }()
	w := httptest.NewRecorder()
	maps.Copy(w.Header(), response.Header)
	w.WriteHeader(response.StatusCode)
	_, err = io.Copy(w, response.Body)
	require.NoError(tb, err)
	return w
}

func (p *replay) checkSuccess(tb testing.TB, c recorded.Case, w *httptest.ResponseRecorder) {
	tb.Helper()
	require.Equal(tb, c.V1.Type, w.Header().Get("Content-Type"), "%s: type", c.Case)
	text, isText := c.V1.Body.(string)
	if isText {
		require.Equal(tb, text, w.Body.String(), "%s: body", c.Case)
		return
	}
	var got any
	require.NoError(tb, json.Unmarshal(w.Body.Bytes(), &got), c.Case)
	recorded.SortEvents(got)
	require.Empty(tb, p.values.Match(c.Case, c.V1.Body, got))
}

// renamed are fields whose fault v1 reported under another name than the one on the wire.
var renamed = map[string]string{"attributes.exercisetoweight": "attributes.exercisetokilograms"}

// checkFaults requires that the answer blames the fields that v1 blamed, in its own spelling.
func checkFaults(tb testing.TB, c recorded.Case, w *httptest.ResponseRecorder) {
	tb.Helper()
	var got struct {
		Errors map[string][]string `json:"errors"`
	}
	require.NoError(tb, json.Unmarshal(w.Body.Bytes(), &got), c.Case)
	require.NotEmpty(tb, got.Errors, "%s: %s", c.Case, w.Body)
	for _, field := range c.V1.Faulty {
		if field == "request" || field == "" || field == "$" {
			continue // v1's words for the body as a whole
		}
		field = strings.ToLower(strings.TrimPrefix(field, "$."))
		for from, to := range renamed {
			field = strings.Replace(field, from, to, 1)
		}
		blamed := false
		for key := range got.Errors {
			key = strings.ToLower(key)
			blamed = blamed || key == field || key != "" && strings.HasPrefix(field, key+".")
		}
		require.True(tb, blamed, "%s: v1 blames %s, v2 %v", c.Case, field, got.Errors)
	}
}
