package main

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
)

// recorded is one case of testdata/v1/http.json; the README beside it describes the format.
type recorded struct {
	Case    string `json:"case"`
	Request string `json:"request"`
	Sent    struct {
		Headers map[string]string `json:"headers"`
		JSON    any               `json:"json"`
		Raw     *string           `json:"raw"`
	} `json:"sent"`
	V1 struct {
		Status  int               `json:"status"`
		Headers map[string]string `json:"headers"`
		Type    string            `json:"type"`
		Body    any               `json:"body"`
		Faulty  []string          `json:"faulty"`
	} `json:"v1"`
	V2 *struct {
		Status []int `json:"status"`
	} `json:"v2"`
}

// TestV1Answers plays what v1 was recorded answering, in order, under v2's paths and under v1's own.
func TestV1Answers(t *testing.T) {
	t.Parallel()
	file, err := os.ReadFile("testdata/v1/http.json")
	require.NoError(t, err)
	var cases []recorded
	require.NoError(t, json.Unmarshal(file, &cases))
	require.Len(t, cases, 217)
	for _, prefix := range []string{"", "/v2"} {
		t.Run("prefix "+prefix, func(t *testing.T) {
			t.Parallel()
			server := httptest.NewServer(testHandler(t))
			t.Cleanup(server.Close)
			r := replay{server: server, values: map[string]string{"web-key": testWebKey}, prefix: prefix}
			for _, c := range cases {
				r.play(t, c)
			}
		})
	}
}

// replay plays cases against a server and keeps what their answers named.
type replay struct {
	server *httptest.Server
	values map[string]string
	prefix string
}

func (p *replay) play(tb testing.TB, c recorded) {
	tb.Helper()
	method, path, _ := strings.Cut(p.fillText(tb, c.Request), " ")
	if path != "/health" && !strings.HasPrefix(path, "/ai-chat") {
		path = p.prefix + path
	}
	body := ""
	switch {
	case c.Sent.Raw != nil:
		body = p.fillText(tb, *c.Sent.Raw)
	case c.Sent.JSON != nil:
		encoded, err := json.Marshal(p.fill(tb, c.Sent.JSON))
		require.NoError(tb, err)
		body = string(encoded)
	}
	r, err := http.NewRequestWithContext(tb.Context(), method, p.server.URL+path, strings.NewReader(body))
	require.NoError(tb, err)
	if c.Sent.Raw != nil || c.Sent.JSON != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	for name, value := range c.Sent.Headers {
		if value == "" && name == "Content-Type" {
			r.Header.Del(name)
			continue
		}
		r.Header.Set(name, p.fillText(tb, value))
	}
	w := p.send(tb, r)

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

func (p *replay) checkSuccess(tb testing.TB, c recorded, w *httptest.ResponseRecorder) {
	tb.Helper()
	require.Equal(tb, c.V1.Type, w.Header().Get("Content-Type"), "%s: type", c.Case)
	text, isText := c.V1.Body.(string)
	if isText {
		require.Equal(tb, text, w.Body.String(), "%s: body", c.Case)
		return
	}
	var got any
	require.NoError(tb, json.Unmarshal(w.Body.Bytes(), &got), c.Case)
	sortEvents(got)
	p.match(tb, c.Case, c.V1.Body, got)
}

// sortEvents puts events in the order of the recording.
func sortEvents(body any) {
	object, _ := body.(map[string]any)
	events, _ := object["events"].([]any)
	id := func(event any) string {
		members, _ := event.(map[string]any)
		return fmt.Sprint(members["eventId"])
	}
	slices.SortFunc(events, func(a, b any) int { return strings.Compare(id(a), id(b)) })
}

// renamed are fields whose fault v1 reported under another name than the one on the wire.
var renamed = map[string]string{"attributes.exercisetoweight": "attributes.exercisetokilograms"}

// checkFaults requires that the answer blames the fields that v1 blamed, in its own spelling.
func checkFaults(tb testing.TB, c recorded, w *httptest.ResponseRecorder) {
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

var placeholder = regexp.MustCompile(`\{\{([^}]+)\}\}`)

// fill replaces the placeholders in a recorded value.
func (p *replay) fill(tb testing.TB, value any) any {
	tb.Helper()
	switch v := value.(type) {
	case string:
		if list, ok := fillList(v); ok {
			return list
		}
		return p.fillText(tb, v)
	case []any:
		filled := make([]any, len(v))
		for i := range v {
			filled[i] = p.fill(tb, v[i])
		}
		return filled
	case map[string]any:
		filled := make(map[string]any, len(v))
		for k := range v {
			filled[p.fillText(tb, k)] = p.fill(tb, v[k])
		}
		return filled
	default:
		return value
	}
}

var listPlaceholder = regexp.MustCompile(`^\{\{(uuids|secrets|strangers) (\d+)\}\}$`)

func fillList(text string) (list []any, ok bool) {
	found := listPlaceholder.FindStringSubmatch(text)
	if found == nil {
		return nil, false
	}
	n, _ := strconv.Atoi(found[2])
	for i := range n {
		id := uuid.UUID{14: byte((i + 1) >> 8), 15: byte(i + 1)}.String()
		secret := fmt.Sprintf("s%d", i)
		switch found[1] {
		case "uuids":
			list = append(list, id)
		case "secrets":
			list = append(list, secret)
		default:
			list = append(list, map[string]any{"userId": id, "followSecret": secret, "since": "2000-01-01T00:00:00Z"})
		}
	}
	return list, true
}

func (p *replay) fillText(tb testing.TB, text string) string {
	tb.Helper()
	return placeholder.ReplaceAllStringFunc(text, func(found string) string {
		name := strings.Trim(found, "{}")
		value, ok := p.value(name)
		require.True(tb, ok, "nothing has named %s", found)
		return value
	})
}

func (p *replay) value(name string) (string, bool) {
	var n, seed, days int
	if _, err := fmt.Sscanf(name, "bytes %d %d", &n, &seed); err == nil {
		data := make([]byte, n)
		for i := range data {
			data[i] = byte(31*i + 7*seed)
		}
		return base64.StdEncoding.EncodeToString(data), true
	}
	if _, err := fmt.Sscanf(name, "now %d days", &days); err == nil {
		return time.Now().UTC().AddDate(0, 0, days).Format("2006-01-02T15:04:05.000Z"), true
	}
	if value, ok := p.values[name]; ok {
		return value, true
	}
	if value, ok := p.values[strings.ToLower(name)]; ok {
		return strings.ToUpper(value), true
	}
	if value, ok := p.values[strings.TrimSuffix(name, ".n")]; ok {
		return strings.ReplaceAll(value, "-", ""), true
	}
	return "", false
}

// match requires that got is what was recorded, and takes from it the values of names that have none yet.
func (p *replay) match(tb testing.TB, where string, want, got any) {
	tb.Helper()
	switch want := want.(type) {
	case map[string]any:
		object, ok := got.(map[string]any)
		require.True(tb, ok, "%s: got %v, want an object", where, got)
		require.Len(tb, object, len(want), "%s: members", where)
		for key := range want {
			name := p.fillText(tb, key)
			require.Contains(tb, object, name, where)
			p.match(tb, where+"."+name, want[key], object[name])
		}
	case []any:
		list, ok := got.([]any)
		require.True(tb, ok, "%s: got %v, want a list", where, got)
		require.Len(tb, list, len(want), where)
		for i := range want {
			p.match(tb, fmt.Sprintf("%s[%d]", where, i), want[i], list[i])
		}
	case string:
		if list, ok := fillList(want); ok {
			require.Equal(tb, any(list), got, where)
			return
		}
		text, ok := got.(string)
		require.True(tb, ok, "%s: got %v, want a text", where, got)
		p.matchText(tb, where, want, text)
	default:
		require.Equal(tb, want, got, where)
	}
}

func (p *replay) matchText(tb testing.TB, where, want, got string) {
	tb.Helper()
	switch name := strings.Trim(want, "{}"); {
	case want == "{{time}}+00:00" || want == "{{event.timestamp}}":
		stamp, err := time.Parse(time.RFC3339Nano, got)
		require.NoError(tb, err, where)
		require.True(tb, strings.HasSuffix(got, "+00:00"), "%s: %s has another offset", where, got)
		require.WithinDuration(tb, time.Now(), stamp, 32*24*time.Hour, where)
	case want != "" && placeholder.FindString(want) == want:
		value, known := p.value(name)
		if !known {
			require.NotEmpty(tb, got, where)
			p.values[name] = got
			return
		}
		require.Equal(tb, value, got, where)
	default:
		require.Equal(tb, want, got, where)
	}
}
