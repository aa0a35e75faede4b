package web

import (
	"context"
	"errors"
	"io"
	"net/http"
	"time"
)

const (
	// bodyStall is how long nothing at all may come of a body.
	bodyStall = 15 * time.Second
	// leastPace is how many bytes of a body have to come in a second, on average and beside a first bodyStall. What is slower
	// holds a place for nothing.
	leastPace = 1 << 10
)

// pacedBody reads a body at its sender's pace: it bounds not how long that takes, but stalls, up to a time at which all of the
// body has to be there. What did not come in time is an [os.ErrDeadlineExceeded].
type pacedBody struct {
	body    io.Reader
	ctx     context.Context //nolint:containedctx // the request's, like the body
	control *http.ResponseController
	begun   time.Time
	until   time.Time
	got     int64
}

func newPacedBody(w http.ResponseWriter, r *http.Request, limit int64, until time.Time) *pacedBody {
	return &pacedBody{
		body: http.MaxBytesReader(w, r.Body, limit), ctx: r.Context(), control: http.NewResponseController(w), begun: time.Now(), until: until,
	}
}

func (b *pacedBody) Read(p []byte) (int, error) {
	until := time.Now().Add(bodyStall)
	for _, earlier := range []time.Time{b.begun.Add(bodyStall + time.Duration(b.got)*time.Second/leastPace), b.until} {
		if earlier.Before(until) {
			until = earlier
		}
	}
	b.setDeadline(until)
	// A request that is canceled ends the wait, too.
	stop := context.AfterFunc(b.ctx, func() { b.setDeadline(time.Unix(1, 0)) })
	defer stop()
	n, err := b.body.Read(p)
	b.got += int64(n)
	if errors.Is(err, io.EOF) {
		b.setDeadline(time.Time{}) // package http waits for the caller to leave
	}
	return n, err
}

// setDeadline does nothing where there are no deadlines: a test's recorder has none.
func (b *pacedBody) setDeadline(t time.Time) { _ = b.control.SetReadDeadline(t) }
