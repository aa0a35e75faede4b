package web_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/google/uuid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/liftlog/liftlog-api/shared/apierr"
	"github.com/liftlog/liftlog-api/shared/programtest"
	"github.com/liftlog/liftlog-api/shared/web"
)

// everyForm has a member of every form that requests have.
type everyForm struct {
	ID    uuid.UUID         `json:"id"`
	Name  string            `json:"encryptedName" name:"name" maxLength:"9"`
	Data  []byte            `json:"data"`
	Since time.Time         `json:"since"`
	List  []part            `json:"list" maxItems:"3"`
	Table map[string]string `json:"table" maxProperties:"2"`
	Count int               `json:"count"`
	Part  *part             `json:"part"`
	Ks    string            `json:"ks"`
}

type part struct {
	Value []byte `json:"value"`
}

type named struct {
	Name string `json:"-" path:"name"`
}

// answers gives the endpoint "fail" an error to answer with.
type answers struct{ err error }

const maxBody = 1000

// setup serves endpoints of every kind side by side, and returns the lines that are logged.
func setup(t *testing.T, service web.Service, fail error) (*httptest.Server, *logLines) {
	t.Helper()
	lines := &logLines{}
	service.Log = slog.New(slog.NewJSONHandler(lines, nil))
	mount := func(method, path string, body int64, e web.Endpoint) web.Mount {
		return web.Mount{Route: web.Route{Method: method, Path: path, MaxBody: body, Timeout: 10 * time.Second}, Endpoint: e}
	}
	a := answers{fail}
	server := httptest.NewServer(service.Handler([]web.Mount{
		mount("GET", "/hello/{name}", 0, web.Call(func(_ context.Context, r named) (string, error) { return "hello " + r.Name, nil })),
		mount("POST", "/echo", maxBody, web.Call(func(_ context.Context, r everyForm) (everyForm, error) { return r, nil })),
		mount("PUT", "/echo", maxBody, web.Act(func(context.Context, everyForm) error { return nil })),
		mount("GET", "/fail", 0, web.Act(func(context.Context, struct{}) error { return a.err })),
		mount("GET", "/panic", 0, web.Act(func(context.Context, struct{}) error { panic("secret of a panic") })),
		mount("GET", "/up", 0, web.Health("staging")),
		mount("GET", "/raw/{name}", 0, web.Raw(func(w http.ResponseWriter, r *http.Request) error {
			switch r.PathValue("name") {
			case "refused":
				return web.Refusal(http.StatusConflict, "Somebody else is there.")
			case "bare":
				return web.Refusal(http.StatusUnauthorized, "")
			}
			conn, _, err := http.NewResponseController(w).Hijack()
			if err == nil {
				_, _ = conn.Write([]byte("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n"))
				err = conn.Close()
			}
			return err
		})),
		mount("", "/any", 0, web.Raw(func(http.ResponseWriter, *http.Request) error { return web.Refusal(http.StatusTeapot, "Tea?") })),
		mount("POST", "/as", maxBody, web.CallAs(
			func(_ context.Context, authorization string) (string, error) {
				if authorization == "" {
					return "", &apierr.Error{Kind: apierr.Unauthenticated, Detail: "Who are you?"}
				}
				return authorization, nil
			},
			func(_ context.Context, caller string, r everyForm) (string, error) {
				return caller + " says " + r.Name, nil
			},
		)),
		mount("GET", "/stream/{name}", 0, web.Stream[named, string](stream)),
		mount("GET", "/wait", 0, web.Act(func(ctx context.Context, _ struct{}) error {
			<-ctx.Done()
			return ctx.Err()
		})),
	}))
	t.Cleanup(server.Close)
	return server, lines
}

// stream writes a few bytes or many, and ends well or not.
func stream(_ context.Context, r named, out *jsontext.Encoder) error {
	size := 10
	if strings.HasPrefix(r.Name, "long") {
		size = 1 << 20
	}
	if err := out.WriteToken(jsontext.String(strings.Repeat("x", size))); err != nil {
		return err
	}
	if strings.HasSuffix(r.Name, "broken") {
		return errors.New("in the middle")
	}
	if strings.HasSuffix(r.Name, "panic") {
		panic("in the middle")
	}
	return nil
}

type logLines struct{ programtest.Log }

// last waits for a line, which is written after the answer, and returns the newest.
func (l *logLines) last(t *testing.T) (line map[string]any) {
	t.Helper()
	require.Eventually(t, func() bool { return strings.HasSuffix(l.String(), "\n") }, 5*time.Second, time.Millisecond)
	lines := strings.Split(strings.TrimSpace(l.String()), "\n")
	require.NoError(t, json.Unmarshal([]byte(lines[len(lines)-1]), &line))
	return line
}

type answer struct {
	status int
	header http.Header
	body   string
	err    error // of reading the body
}

func send(t *testing.T, server *httptest.Server, method, path, body string, headers ...string) answer {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, server.URL+path, strings.NewReader(body))
	require.NoError(t, err)
	if method == http.MethodPost || method == http.MethodPut {
		r.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	response, err := server.Client().Do(r)
	if err != nil {
		return answer{err: err}
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(response.Body)
	return answer{response.StatusCode, response.Header, string(text), err}
}

func TestRouting(t *testing.T) {
	t.Parallel()
	server, _ := setup(t, web.Service{}, nil)
	cases := []struct {
		method, path, body string
		status             int
		want               string
		allow              string
	}{
		{"GET", "/hello/ada", "", 200, `"hello ada"`, ""},
		{"HEAD", "/hello/ada", "", 200, "", ""},
		{"PUT", "/echo", "{}", 200, "", ""},
		{"GET", "/up", "", 200, "healthy", ""},
		{"GET", "/nowhere", "", 421, `{"title":"Misdirected Request","status":421,"detail":"This path is not served here."}`, ""},
		{"GET", "/echo", "", 405, `{"title":"Method Not Allowed","status":405,"detail":"This path has other methods."}`, "POST, PUT"},
		{"POST", "/hello/x", "{}", 405, `{"title":"Method Not Allowed","status":405,"detail":"This path has other methods."}`, "GET, HEAD"},
		{"GET", "/fail", "", 200, "", ""},
	}
	for _, c := range cases {
		got := send(t, server, c.method, c.path, c.body)
		assert.Equal(t, c.status, got.status, c)
		assert.Equal(t, c.want, got.body, c)
		assert.Equal(t, c.allow, got.header.Get("Allow"), c)
		assert.NotEmpty(t, got.header.Get("X-Request-Id"))
	}
}

func TestHealthNamesTheEnvironment(t *testing.T) {
	t.Parallel()
	server, _ := setup(t, web.Service{}, nil)
	assert.Equal(t, "staging", send(t, server, "GET", "/up", "").header.Get(web.EnvironmentHeader))
}

func TestASingleFunctionServesItsOwnOnly(t *testing.T) {
	t.Parallel()
	ready := errors.New("not yet")
	service := web.Service{Log: slog.New(slog.DiscardHandler), Ready: func(context.Context) error {
		if ready != nil {
			return apierr.Busy("The service is starting.", ready)
		}
		return nil
	}}
	server := httptest.NewServer(service.Handler([]web.Mount{{
		Route:    web.Route{Method: "PUT", Path: "/v2/user", MaxBody: maxBody, Timeout: time.Second},
		Endpoint: web.Act(func(context.Context, struct{}) error { return nil }),
	}}))
	t.Cleanup(server.Close)

	unready := send(t, server, "PUT", "/v2/user", "{}")
	assert.Equal(t, http.StatusServiceUnavailable, unready.status)
	assert.NotEmpty(t, unready.header.Get("Retry-After"))
	assert.Equal(t, http.StatusServiceUnavailable, send(t, server, "GET", web.ReadyPath, "").status)
	assert.Equal(t, http.StatusOK, send(t, server, "GET", web.LivePath, "").status)
	ready = nil
	assert.Equal(t, http.StatusOK, send(t, server, "GET", web.ReadyPath, "").status)
	assert.Equal(t, http.StatusOK, send(t, server, "PUT", "/v2/user", "{}").status)
	assert.Equal(t, http.StatusMethodNotAllowed, send(t, server, "POST", "/v2/user", "{}").status)
	for _, path := range []string{"/", "/user", "/v2/user/", "/v2/user/x", "//v2/user", "/v2//user", "/v2/../v2/user", "/V2/user"} {
		assert.Equal(t, http.StatusMisdirectedRequest, send(t, server, "PUT", path, "{}").status, path)
	}
}

func TestErrorsBecomeResponses(t *testing.T) {
	t.Parallel()
	at := time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)
	hidden := errors.New("SQL of a secret")
	cases := map[string]struct {
		err    error
		status int
		want   string
		retry  string
		level  string
	}{
		"internal":        {hidden, 500, `{"title":"Internal Server Error","status":500}`, "", "ERROR"},
		"invalid":         {&apierr.Error{Kind: apierr.Invalid, Detail: "No.", Fields: map[string][]string{"b": {"x"}, "a": {"y"}}, Err: hidden}, 400, `{"title":"Bad Request","status":400,"detail":"No.","errors":{"a":["y"],"b":["x"]}}`, "", "INFO"},
		"unauthenticated": {&apierr.Error{Kind: apierr.Unauthenticated, Err: hidden}, 401, `{"title":"Unauthorized","status":401}`, "", "INFO"},
		"not found":       {&apierr.Error{Kind: apierr.NotFound, Err: hidden}, 404, `{"title":"Not Found","status":404}`, "", "INFO"},
		"limited":         {&apierr.Error{Kind: apierr.Limited, RetryAt: at}, 429, `{"title":"Too Many Requests","status":429}`, "Wed, 02 Jan 2030 03:04:05 GMT", "INFO"},
		"unavailable":     {&apierr.Error{Kind: apierr.Unavailable, RetryAt: at, Err: hidden}, 503, `{"title":"Service Unavailable","status":503}`, "Wed, 02 Jan 2030 03:04:05 GMT", "WARN"},
		"upstream":        {&apierr.Error{Kind: apierr.Upstream, Err: hidden}, 502, `{"title":"Bad Gateway","status":502}`, "", "WARN"},
		"caller gone":     {context.Canceled, 499, `{"title":"Client Closed Request","status":499}`, "", "INFO"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server, lines := setup(t, web.Service{Origins: []string{"https://app.example"}}, c.err)
			got := send(t, server, "GET", "/fail", "", "Origin", "https://app.example")
			assert.Equal(t, c.status, got.status)
			assert.Equal(t, c.want, got.body)
			assert.Equal(t, c.retry, got.header.Get("Retry-After"))
			assert.Equal(t, "application/problem+json; charset=utf-8", got.header.Get("Content-Type"))
			assert.Equal(t, "https://app.example", got.header.Get("Access-Control-Allow-Origin"), "browsers may read errors too")
			assert.Equal(t, c.level, lines.last(t)["level"])
		})
	}
	t.Run("out of time", func(t *testing.T) {
		t.Parallel()
		server, _ := setup(t, web.Service{}, context.DeadlineExceeded)
		got := send(t, server, "GET", "/fail", "")
		assert.Equal(t, http.StatusServiceUnavailable, got.status)
		assert.NotEmpty(t, got.header.Get("Retry-After"))
	})
}

func TestAPanicIsALogged500(t *testing.T) {
	t.Parallel()
	server, lines := setup(t, web.Service{}, nil)
	got := send(t, server, "GET", "/panic", "")
	assert.Equal(t, 500, got.status)
	assert.Equal(t, `{"title":"Internal Server Error","status":500}`, got.body)
	line := lines.last(t)
	assert.Equal(t, "ERROR", line["level"])
	assert.Contains(t, line["msg"], "panic: string\n\ngoroutine ", "as Error Reporting finds it")
	assert.NotContains(t, lines.String(), "secret of a panic")
}

func TestBodies(t *testing.T) {
	t.Parallel()
	server, _ := setup(t, web.Service{}, nil)
	cases := map[string]struct {
		body    string
		headers []string
		status  int
		field   string // blamed by a 400
	}{
		"an object":              {`{}`, nil, 200, ""},
		"blanks around":          {" \n{} ", nil, 200, ""},
		"another charset":        {`{}`, []string{"Content-Type", "application/json; charset=iso-8859-1"}, 415, ""},
		"utf-8":                  {`{}`, []string{"Content-Type", "application/json; charset=UTF-8"}, 200, ""},
		"a JSON dialect":         {`{}`, []string{"Content-Type", "application/vnd.x+json"}, 200, ""},
		"no media type":          {`{}`, []string{"Content-Type", ""}, 415, ""},
		"another media type":     {`{}`, []string{"Content-Type", "text/plain"}, 415, ""},
		"nothing":                {``, nil, 400, ""},
		"null":                   {`null`, nil, 400, ""},
		"a list":                 {`[]`, nil, 400, ""},
		"two values":             {`{} {}`, nil, 400, ""},
		"half a value":           {`{"id"`, nil, 400, ""},
		"no UTF-8":               {"{\"encryptedName\":\"\xff\"}", nil, 400, ""},
		"too large":              {`{"encryptedName":"` + strings.Repeat("x", maxBody) + `"}`, nil, 413, ""},
		"too deep":               {strings.Repeat(`{"x":`, 150), nil, 400, ""},
		"names in any case":      {`{"ENCRYPTEDNAME":"way too long a name"}`, nil, 400, "encryptedName"},
		"other names":            {`{"encrypted_name":"way too long a name","more":{"a":[1]}}`, nil, 200, ""},
		"the last one counts":    {`{"encryptedName":"way too long a name","encryptedName":"x"}`, nil, 200, ""},
		"all are looked at":      {`{"count":"x","count":1}`, nil, 400, "count"},
		"an escaped name":        {`{"\u0063ount":"x"}`, nil, 400, "count"},
		"ASCII's case only":      {`{"k\u017f":7,"\u212as":7,"kſ":7,"KS":7,"lıſt":7}`, nil, 200, ""},
		"a full list":            {`{"list":[{},null,{}],"table":{"a":"","b":"","a":""}}`, nil, 200, ""},
		"a list beyond":          {`{"list":[{},{},{},{}]}`, nil, 400, "list"},
		"a list that never ends": {`{"list":[{},{},{},{},`, nil, 400, "list"},
		"a map beyond":           {`{"table":{"a":"","my secret":"","c":""}}`, nil, 400, "table"},
		"a text of a list":       {`{"ks":[]}`, nil, 400, "ks"},
		"a list of an object":    {`{"list":{}}`, nil, 400, "list"},
		"an item of a list":      {`{"list":[{},[]]}`, nil, 400, "list[1]"},
		"a number of null":       {`{"count":null}`, nil, 400, "count"},
		"an object of a text":    {`{"part":"x"}`, nil, 400, "part"},
		"a name without a value": {`{"part":{"value"}}`, nil, 400, ""},
		"an id with no dashes":   {`{"id":"0e000000000040008000000000000000"}`, nil, 400, "id"},
		"an id in braces":        {`{"id":"{0e000000-0000-4000-8000-000000000000}"}`, nil, 400, "id"},
		"an id in capitals":      {`{"id":"0E000000-0000-4000-8000-00000000000A"}`, nil, 200, ""},
		"an id of null":          {`{"id":null}`, nil, 400, "id"},
		"bytes of null":          {`{"data":null}`, nil, 200, ""},
		"bytes with line ends":   {`{"data":"QU\nJD"}`, nil, 200, ""},
		"bytes with blanks":      {`{"data":"QU JD"}`, nil, 200, ""},
		"bytes without padding":  {`{"data":"QUI"}`, nil, 400, "data"},
		"spare bits":             {`{"data":"QUJDZB=="}`, nil, 400, "data"},
		"two spare bits":         {`{"data":"QUJDZGF="}`, nil, 400, "data"},
		"spare bits and blanks":  {`{"data":"QUJDZ B=="}`, nil, 400, "data"},
		"no spare bits":          {`{"data":"QUJDZ A=="}`, nil, 200, ""},
		"bytes for URLs":         {`{"data":"__-_"}`, nil, 400, "data"},
		"bytes of a number":      {`{"data":12}`, nil, 400, "data"},
		"a number in a list":     {`{"list":[{"value":""},{"value":7}]}`, nil, 400, "list[1].value"},
		"a key of a map":         {`{"table":{"my secret":7}}`, nil, 400, "table"},
		"a huge number":          {`{"count":1e999}`, nil, 400, "count"},
		"a fraction":             {`{"count":1.5}`, nil, 400, "count"},
		"a time":                 {`{"since":"2024-02-03T04:05:06.789Z"}`, nil, 200, ""},
		"a time with an offset":  {`{"since":"2024-02-03T04:05:06+02:00"}`, nil, 200, ""},
		"a date":                 {`{"since":"2024-02-03"}`, nil, 200, ""},
		"no date":                {`{"since":"2024-02-30"}`, nil, 400, "since"},
		"a number for a time":    {`{"since":1700000000}`, nil, 400, "since"},
		"a time before all":      {`{"since":"0001-01-01T00:00:00+05:00"}`, nil, 400, "since"},
		"an offset of hours":     {`{"since":"2024-02-03T04:05:06.7+02"}`, nil, 200, ""},
		"and no seconds":         {`{"since":"2024-02-03T04:05-00"}`, nil, 200, ""},
		"the last offset":        {`{"since":"2024-02-03T04:05:06-14:00"}`, nil, 200, ""},
		"an offset beyond":       {`{"since":"2024-02-03T04:05:06+14:01"}`, nil, 400, "since"},
		"an offset far beyond":   {`{"since":"2024-02-03T04:05:06-15"}`, nil, 400, "since"},
		"60 minutes":             {`{"since":"2024-02-03T04:05:06+01:60"}`, nil, 400, "since"},
		"16 digits":              {`{"since":"2024-02-03T04:05:06.1234567890123456Z"}`, nil, 200, ""},
		"17 digits":              {`{"since":"2024-02-03T04:05:06.12345678901234567Z"}`, nil, 400, "since"},
		"a time of no end":       {`{"since":"2024-02-03T04:05:06.` + strings.Repeat("1", 200) + `Z"}`, nil, 400, "since"},
	}
	for name, c := range cases {
		got := send(t, server, "POST", "/echo", c.body, c.headers...)
		assert.Equal(t, c.status, got.status, "%s: %s", name, got.body)
		assert.NotContains(t, got.body, "my secret", name)
		if c.status != http.StatusBadRequest {
			continue
		}
		var problem struct {
			Errors map[string][]string `json:"errors"`
		}
		require.NoError(t, json.Unmarshal([]byte(got.body), &problem), name)
		assert.Len(t, problem.Errors, 1, name)
		assert.Contains(t, problem.Errors, c.field, "%s: %s", name, got.body)
	}
}

func TestWhatComesTwiceCountsOnceAndWhole(t *testing.T) {
	t.Parallel()
	server, _ := setup(t, web.Service{}, nil)
	got := send(t, server, "POST", "/echo", `{"part":{"value":"QQ=="},"PART":{},"table":{"a":"b"},"table":{"c":"d","c":"e"},`+
		`"list":[{"value":"QQ=="},{}],"list":[{}],"data":"QQ==","data":null,"ks":"x","ks":null}`)
	assert.JSONEq(t, `{"id":"00000000-0000-0000-0000-000000000000","encryptedName":"","data":null,"since":"0001-01-01T00:00:00+00:00",`+
		`"list":[{"value":null}],"table":{"c":"e"},"count":0,"part":{"value":null},"ks":""}`, got.body)
}

func TestARequestNeedsBounds(t *testing.T) {
	t.Parallel()
	type list struct {
		Texts []string `json:"texts"`
	}
	type table struct {
		Texts map[string]string `json:"texts" maxItems:"3"`
	}
	type nested struct {
		Lists []list `json:"lists" maxItems:"3"`
	}
	assert.PanicsWithValue(t, "web: a []string without maxItems", func() { web.Act(func(context.Context, list) error { return nil }) })
	assert.PanicsWithValue(t, "web: a []string without maxItems", func() { web.Act(func(context.Context, nested) error { return nil }) })
	assert.PanicsWithValue(t, "web: a map[string]string without maxProperties", func() { web.Act(func(context.Context, table) error { return nil }) })
}

func TestAnswersAreWrittenAsV1Did(t *testing.T) {
	t.Parallel()
	server, _ := setup(t, web.Service{}, nil)
	got := send(t, server, "POST", "/echo", `{"id":"0E000000-0000-4000-8000-00000000000A","data":"QU JD","since":"2024-02-03T04:05:06.7890+02:00","list":[{}]}`)
	assert.Equal(t, `{"id":"0e000000-0000-4000-8000-00000000000a","encryptedName":"","data":"QUJD","since":"2024-02-03T02:05:06.789+00:00",`+
		`"list":[{"value":null}],"table":{},"count":0,"part":null,"ks":""}`, strings.ReplaceAll(got.body, `"table":null`, `"table":{}`))
	assert.Equal(t, "application/json; charset=utf-8", got.header.Get("Content-Type"))
	assert.Contains(t, send(t, server, "POST", "/echo", `{"since":"2024-02-03T04:05:06.12345678Z"}`).body, `"2024-02-03T04:05:06.1234567+00:00"`)
}

func TestBodiesOfUnknownLengthAreBoundedToo(t *testing.T) {
	t.Parallel()
	server, _ := setup(t, web.Service{}, nil)
	endless := io.MultiReader(strings.NewReader(`{"encryptedName":"`), strings.NewReader(strings.Repeat("x", 2*maxBody)))
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, server.URL+"/echo", endless)
	require.NoError(t, err)
	r.Header.Set("Content-Type", "application/json")
	response, err := server.Client().Do(r)
	require.NoError(t, err)
	defer func() { _ = response.Body.Close() }()
	require.Zero(t, r.ContentLength, "the length is not known")
	assert.Equal(t, http.StatusRequestEntityTooLarge, response.StatusCode)
}

func TestCallersAreKnownBeforeTheirBodiesAre(t *testing.T) {
	t.Parallel()
	server, _ := setup(t, web.Service{}, nil)
	assert.Equal(t, http.StatusUnauthorized, send(t, server, "POST", "/as", "{").status)
	assert.Equal(t, http.StatusBadRequest, send(t, server, "POST", "/as", "{", "Authorization", "Jo").status)
	assert.Equal(t, `"Jo says hello"`, send(t, server, "POST", "/as", `{"encryptedName":"hello"}`, "Authorization", "Jo").body)
}

func TestRawEndpointsMayTakeTheConnection(t *testing.T) {
	t.Parallel()
	server, lines := setup(t, web.Service{Origins: []string{"https://app.example"}, Credentials: true}, nil)
	refused := send(t, server, "GET", "/raw/refused", "", "Origin", "https://app.example")
	assert.Equal(t, http.StatusConflict, refused.status)
	assert.Equal(t, `{"title":"Conflict","status":409,"detail":"Somebody else is there."}`, refused.body)
	assert.Equal(t, "true", refused.header.Get("Access-Control-Allow-Credentials"))
	taken := send(t, server, "GET", "/raw/taken", "", "Connection", "upgrade", "Upgrade", "x", "Accept-Encoding", "gzip")
	assert.Equal(t, http.StatusSwitchingProtocols, taken.status)
	request, ok := lines.last(t)["httpRequest"].(map[string]any)
	require.True(t, ok)
	assert.InDelta(t, http.StatusSwitchingProtocols, request["status"], 0)
	assert.Equal(t, "/raw/{name}", request["requestUrl"])
	bare := send(t, server, "GET", "/raw/bare", "")
	assert.Equal(t, http.StatusUnauthorized, bare.status)
	assert.Empty(t, bare.body)
	assert.Equal(t, "Unauthorized", lines.last(t)["error"])
	for _, method := range []string{"GET", "HEAD", "PATCH", "OPTIONS"} {
		assert.Equal(t, http.StatusTeapot, send(t, server, method, "/any", "").status, "a route without a method takes all")
	}
}

func TestWhoDoesNotWaitForTheSwitchOfProtocolsIsRefused(t *testing.T) {
	t.Parallel()
	server, lines := setup(t, web.Service{}, nil)
	conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", strings.TrimPrefix(server.URL, "http://"))
	require.NoError(t, err)
	defer func() { _ = conn.Close() }()
	_, err = io.WriteString(conn, "GET /raw/taken HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\nearly")
	require.NoError(t, err)
	text, err := io.ReadAll(conn)
	require.NoError(t, err)
	assert.True(t, strings.HasPrefix(string(text), "HTTP/1.1 400 Bad Request\r\n"), "%s", text)
	request, ok := lines.last(t)["httpRequest"].(map[string]any)
	require.True(t, ok)
	assert.InDelta(t, http.StatusBadRequest, request["status"], 0)
}

func TestStreams(t *testing.T) {
	t.Parallel()
	server, lines := setup(t, web.Service{}, nil)
	whole := send(t, server, "GET", "/stream/long", "")
	require.NoError(t, whole.err)
	assert.Len(t, strings.TrimSpace(whole.body), 1<<20+2)

	early := send(t, server, "GET", "/stream/broken", "")
	assert.Equal(t, 500, early.status, "nothing has gone out yet")
	for _, name := range []string{"/stream/long-broken", "/stream/long-panic"} {
		late := send(t, server, "GET", name, "")
		require.Error(t, late.err, "half an answer must not pass for a whole one")
		assert.Equal(t, "ERROR", lines.last(t)["level"])
	}
}

func TestLongAnswersAreCompressedForWhoAsks(t *testing.T) {
	t.Parallel()
	server, _ := setup(t, web.Service{}, nil)
	assert.Empty(t, send(t, server, "GET", "/stream/long", "", "Accept-Encoding", "identity").header.Get("Content-Encoding"))
	for _, coding := range []string{"gzip", "zstd"} {
		whole := send(t, server, "GET", "/stream/long", "", "Accept-Encoding", coding)
		require.NoError(t, whole.err)
		assert.Equal(t, coding, whole.header.Get("Content-Encoding"))
		assert.Less(t, len(whole.body), 1<<16)
		assert.Len(t, strings.TrimSpace(unpack(t, coding, whole.body)), 1<<20+2)

		assert.Empty(t, send(t, server, "GET", "/up", "", "Accept-Encoding", coding).header.Get("Content-Encoding"), "a short one is not")
		for _, name := range []string{"/stream/long-broken", "/stream/long-panic"} {
			require.Error(t, send(t, server, "GET", name, "", "Accept-Encoding", coding).err, "half an answer must not pass for a whole one")
		}
		for _, name := range []string{"/stream/broken", "/stream/panic"} {
			assert.Equal(t, 500, send(t, server, "GET", name, "", "Accept-Encoding", coding).status, name)
		}
	}
}

func TestCrossOriginRules(t *testing.T) {
	t.Parallel()
	anywhere, _ := setup(t, web.Service{}, nil)
	chosen, _ := setup(t, web.Service{Origins: []string{"https://app.example"}}, nil)
	preflight := []string{"Origin", "https://other.example", "Access-Control-Request-Method", "PUT", "Access-Control-Request-Headers", "content-type,x-a"}

	got := send(t, anywhere, "OPTIONS", "/echo", "", preflight...)
	assert.Equal(t, http.StatusNoContent, got.status)
	assert.Equal(t, "*", got.header.Get("Access-Control-Allow-Origin"))
	assert.Equal(t, "PUT", got.header.Get("Access-Control-Allow-Methods"))
	assert.Equal(t, "content-type,x-a", got.header.Get("Access-Control-Allow-Headers"))
	assert.Equal(t, "7200", got.header.Get("Access-Control-Max-Age"))
	assert.Equal(t, "*", send(t, anywhere, "GET", "/nowhere", "", "Origin", "https://other.example").header.Get("Access-Control-Allow-Origin"))
	assert.Empty(t, send(t, chosen, "OPTIONS", "/echo", "", preflight...).header.Get("Access-Control-Allow-Origin"))
	assert.Empty(t, send(t, chosen, "GET", "/up", "", "Origin", "https://other.example").header.Get("Access-Control-Allow-Origin"))
}

func TestTheLogHoldsOnlyWhatIsAllowed(t *testing.T) {
	t.Parallel()
	server, lines := setup(t, web.Service{Project: "my-project"}, nil)
	got := send(t, server, "GET", "/hello/private-name?token=private", "", "X-Request-Id", "abc-123", "Authorization", "private",
		"Traceparent", "00-0123456789abcdef0123456789abcdef-0123456789abcdef-01", "User-Agent", "private")
	assert.Equal(t, "abc-123", got.header.Get("X-Request-Id"))
	line := lines.last(t)
	request, ok := line["httpRequest"].(map[string]any)
	require.True(t, ok)
	assert.Regexp(t, `^0\.\d{6}s$`, request["latency"])
	delete(request, "latency")
	delete(line, "time")
	assert.Equal(t, map[string]any{
		"level": "INFO", "msg": "GET /hello/{name}", "requestId": "abc-123",
		"logging.googleapis.com/trace": "projects/my-project/traces/0123456789abcdef0123456789abcdef",
		"httpRequest": map[string]any{
			"requestMethod": "GET", "requestUrl": "/hello/{name}", "status": 200.0, "requestSize": "0", "responseSize": "20", "protocol": "HTTP/1.1",
		},
	}, line)

	got = send(t, server, "GET", "/up", "", "X-Request-Id", "not plain!", "X-Cloud-Trace-Context", "0123456789abcdef0123456789abcdef/1;o=1")
	assert.NotEqual(t, "not plain!", got.header.Get("X-Request-Id"))
	assert.NoError(t, uuid.Validate(got.header.Get("X-Request-Id")))
	assert.Equal(t, "projects/my-project/traces/0123456789abcdef0123456789abcdef", lines.last(t)["logging.googleapis.com/trace"])
	send(t, server, "PRIVATE", "/up", "")
	request, ok = lines.last(t)["httpRequest"].(map[string]any)
	require.True(t, ok)
	assert.Equal(t, "(other)", request["requestMethod"])
}

func TestARequestHasADeadline(t *testing.T) {
	t.Parallel()
	service := web.Service{Log: slog.New(slog.DiscardHandler)}
	server := httptest.NewServer(service.Handler([]web.Mount{{
		Route: web.Route{Method: "GET", Path: "/wait", Timeout: 20 * time.Millisecond},
		Endpoint: web.Act(func(ctx context.Context, _ struct{}) error {
			<-ctx.Done()
			return ctx.Err()
		}),
	}}))
	t.Cleanup(server.Close)
	assert.Equal(t, http.StatusServiceUnavailable, send(t, server, "GET", "/wait", "").status)
}
