package plannertest

import (
	"cmp"
	"fmt"
	"net/http"
	"strings"
	"time"
)

// End is how a reply ends after its pieces.
type End int

// How a reply may end.
const (
	Whole      End = iota // with a finish reason, what it cost, and [DONE]
	Cut                   // the connection breaks
	Silent                // nothing follows, and the connection stays, until the client goes away or the server is closed
	Unfinished            // with [DONE], but without a finish reason
	Failed                // with an error event; without a stream, as Cut
)

// Usage is what an answer says it cost, in tokens.
type Usage struct{ In, Out, Cached int }

// Reply is an answer to one request. The zero value is an empty text.
type Reply struct {
	Status int         // unless it is 0 or 200, an error is sent
	Code   string      // the error's
	Body   string      // sent instead of the error or the plain answer
	Events string      // sent instead of the stream, word for word, but for lines @sleep N, which wait N seconds
	Header http.Header // sent in addition

	Preface  string        // the content before a call
	Text     string        // the content, or the arguments of the call
	Pieces   []string      // what a stream makes of it; nil: pieces of the server's sizes
	Wait     time.Duration // before each piece; 0: the server's pace
	Function string        // the name that is called, if not the one that has to be; "-" for none
	Refusal  string        // sent instead of the text
	Finish   string        // the finish reason, if not stop
	End      End
	Usage    Usage // zero: a guess
}

// created is the time in every answer, so that answers are the same.
const created = 1790000000

// send sends the reply as the request wants it.
func (s *Server) send(w http.ResponseWriter, r *http.Request, q Request, reply Reply) {
	for name, values := range reply.Header {
		w.Header()[http.CanonicalHeaderKey(name)] = values
	}
	switch {
	case reply.Events != "":
		sendEvents(w, r, reply.Events)
		return
	case reply.Body != "":
		w.Header().Set("Content-Type", cmp.Or(w.Header().Get("Content-Type"), "application/json"))
		w.WriteHeader(cmp.Or(reply.Status, http.StatusOK))
		_, _ = w.Write([]byte(reply.Body)) // the client may be gone
		return
	case reply.Status != 0 && reply.Status != http.StatusOK:
		refuse(w, reply.Status, reply.Code, "The stand-in was told to fail.")
		return
	}
	if reply.Function == "" {
		reply.Function = q.function()
	}
	if reply.Function == "-" {
		reply.Function = ""
	}
	if reply.Refusal != "" {
		reply.Text, reply.Pieces, reply.Function = reply.Refusal, nil, ""
	}
	if reply.Pieces == nil {
		reply.Pieces = s.split(reply.Text)
	}
	reply.Text = strings.Join(reply.Pieces, "")
	reply.Finish = cmp.Or(reply.Finish, "stop")
	reply.Wait = cmp.Or(reply.Wait, s.pace)
	if reply.Usage == (Usage{}) {
		reply.Usage = Usage{In: len(q.Body) / 4, Out: (len(reply.Text) + 3) / 4}
	}
	if q.Stream {
		s.stream(w, r, q, reply)
		return
	}
	s.plain(w, r, q, reply)
}

// sendEvents sends the text of a stream line by line.
func sendEvents(w http.ResponseWriter, r *http.Request, text string) {
	w.Header().Set("Content-Type", "text/event-stream")
	out := http.NewResponseController(w)
	for line := range strings.Lines(text) {
		seconds, waits := strings.CutPrefix(line, "@sleep ")
		if !waits {
			_, _ = w.Write([]byte(line)) // that the client is gone is seen by the context
			continue
		}
		_ = out.Flush()
		pause, err := time.ParseDuration(strings.TrimSpace(seconds) + "s")
		if err != nil {
			panic(fmt.Sprintf("a stream's line %q: %v", line, err))
		}
		pace := newTimer(pause)
		there := pace.wait(r)
		pace.stop()
		if !there {
			return
		}
	}
}

// refuse sends an error as the real service words it.
func refuse(w http.ResponseWriter, status int, code, message string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = fmt.Fprint(w, errorJSON(status, code, message)) // the client may be gone
}

func errorJSON(status int, code, message string) string {
	kind := "invalid_request_error"
	switch {
	case code == "insufficient_quota":
		kind = code
	case status >= http.StatusInternalServerError:
		kind = "server_error"
	case status == http.StatusTooManyRequests:
		kind = "requests"
	}
	quoted := "null"
	if code != "" {
		quoted = quote(code)
	}
	return `{"error":{"message":` + quote(message) + `,"type":"` + kind + `","param":null,"code":` + quoted + `}}`
}

func (u Usage) json() string {
	return fmt.Sprintf(`{"prompt_tokens":%d,"completion_tokens":%d,"total_tokens":%d,"prompt_tokens_details":{"cached_tokens":%d,"audio_tokens":0},`+
		`"completion_tokens_details":{"reasoning_tokens":0,"audio_tokens":0,"accepted_prediction_tokens":0,"rejected_prediction_tokens":0}}`,
		u.In, u.Out, u.In+u.Out, u.Cached)
}

// plain sends the reply as one document.
func (s *Server) plain(w http.ResponseWriter, r *http.Request, q Request, reply Reply) {
	if reply.End == Silent {
		<-r.Context().Done()
		return
	}
	content, refusal, calls := quote(reply.Text), "null", ""
	switch {
	case reply.Refusal != "":
		content, refusal = "null", content
	case reply.Function != "":
		calls = `,"tool_calls":[{"id":"call_1","type":"function","function":{"name":` + quote(reply.Function) + `,"arguments":` + content + `}}]`
		content = "null"
		if reply.Preface != "" {
			content = quote(reply.Preface)
		}
	}
	finish := `"` + reply.Finish + `"`
	if reply.End == Unfinished {
		finish = "null"
	}
	body := fmt.Sprintf(`{"id":"chatcmpl-1","object":"chat.completion","created":%d,"model":%s,"choices":[{"index":0,"message":{"role":"assistant",`+
		`"content":%s,"refusal":%s%s},"logprobs":null,"finish_reason":%s}],"usage":%s,"service_tier":"default","system_fingerprint":null}`,
		created, quote(q.Model), content, refusal, calls, finish, reply.Usage.json())
	w.Header().Set("Content-Type", "application/json")
	if reply.End == Cut || reply.End == Failed {
		_, _ = fmt.Fprint(w, body[:len(body)/2])
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	}
	_, _ = fmt.Fprint(w, body)
}

// stream sends the reply piece by piece, each in a chunk of its own. The headers go out with the first one.
func (s *Server) stream(w http.ResponseWriter, r *http.Request, q Request, reply Reply) {
	head := fmt.Sprintf(`data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":%d,"model":%s,"service_tier":"default",`+
		`"system_fingerprint":null,"choices":[`, created, quote(q.Model))
	tail := "]}\n\n"
	if q.StreamOptions != nil && q.StreamOptions.IncludeUsage {
		tail = `],"usage":null}` + "\n\n"
	}
	out := http.NewResponseController(w)
	w.Header().Set("Content-Type", "text/event-stream; charset=utf-8")
	var chunk []byte
	send := func(parts ...string) {
		chunk = chunk[:0]
		for _, part := range parts {
			chunk = append(chunk, part...)
		}
		_, _ = w.Write(chunk) // that the client is gone is seen by the context
		_ = out.Flush()
	}
	sendDelta := func(delta, finish string) {
		send(head, `{"index":0,"delta":{`, delta, `},"logprobs":null,"finish_reason":`, finish, "}", tail)
	}

	opening, before, after := `"role":"assistant","content":"","refusal":null`, `"content":`, ""
	switch {
	case reply.Refusal != "":
		before = `"refusal":`
	case reply.Function != "":
		opening = `"role":"assistant","content":null,"tool_calls":[{"index":0,"id":"call_1","type":"function","function":{"name":` +
			quote(reply.Function) + `,"arguments":""}}],"refusal":null`
		before, after = `"tool_calls":[{"index":0,"function":{"arguments":`, "}}]"
	}
	pace := newTimer(reply.Wait)
	defer pace.stop()
	for _, piece := range s.split(reply.Preface) {
		if !pace.wait(r) {
			return
		}
		sendDelta(`"content":`+quote(piece), "null")
	}
	for i, piece := range reply.Pieces {
		if !pace.wait(r) {
			return
		}
		if i == 0 {
			sendDelta(opening, "null")
		}
		sendDelta(before+quote(piece)+after, "null")
	}
	if len(reply.Pieces) == 0 && reply.End == Whole {
		sendDelta(opening, "null")
	}
	switch reply.End {
	case Cut:
		panic(http.ErrAbortHandler)
	case Silent:
		<-r.Context().Done()
		return
	case Failed:
		send("data: ", errorJSON(http.StatusInternalServerError, cmp.Or(reply.Code, "server_error"), "The stand-in was told to fail."), "\n\n")
		return
	case Unfinished:
	case Whole:
		sendDelta("", `"`+reply.Finish+`"`)
		if q.StreamOptions != nil && q.StreamOptions.IncludeUsage {
			send(head, `],"usage":`, reply.Usage.json(), "}\n\n")
		}
	}
	send("data: [DONE]\n\n")
}

// timer waits the same time again and again.
type timer struct {
	pace time.Duration
	t    *time.Timer
}

func newTimer(pace time.Duration) *timer { return &timer{pace, time.NewTimer(pace)} }

func (t *timer) stop() { t.t.Stop() }

// wait reports whether the client is still there afterwards.
func (t *timer) wait(r *http.Request) bool {
	if t.pace <= 0 {
		return r.Context().Err() == nil
	}
	t.t.Reset(t.pace)
	select {
	case <-t.t.C:
		return true
	case <-r.Context().Done():
		return false
	}
}
