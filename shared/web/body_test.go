package web

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/liftlog/liftlog-api/shared/apierr"
)

// deadlined is a writer on a connection whose deadline for reading is known.
type deadlined struct {
	http.ResponseWriter

	mu   sync.Mutex
	read time.Time
}

func (d *deadlined) SetReadDeadline(t time.Time) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.read = t
	return nil
}

// last is the deadline that holds.
func (d *deadlined) last() time.Time {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.read
}

// pieces is a body whose every read takes a time and brings bytes.
type pieces struct {
	count, size int
	takes       func()
}

func (p *pieces) Read(b []byte) (int, error) {
	p.takes()
	if p.count--; p.count < 0 {
		return 0, io.EOF
	}
	return min(p.size, len(b)), nil
}
func (*pieces) Close() error { return nil }

func TestABodyIsWaitedForAsLongAsItComes(t *testing.T) {
	t.Parallel()
	w := &deadlined{ResponseWriter: httptest.NewRecorder()}
	r := httptest.NewRequestWithContext(t.Context(), http.MethodPut, "/", http.NoBody)
	r.Body = &pieces{3, 4 << 10, func() {}}
	until := time.Now().Add(time.Hour)
	body := newPacedBody(w, r, 1<<20, until)
	begun := body.begun
	buffer := make([]byte, 8<<10)
	check := func(want time.Time) {
		t.Helper()
		assert.WithinDuration(t, want, w.last(), 2*time.Second)
	}
	_, err := body.Read(buffer)
	require.NoError(t, err)
	check(begun.Add(bodyStall))
	body.begun = begun.Add(-time.Minute) // as if it had taken so long: 4 KiB have to be there by 15 s and 4 more
	_, err = body.Read(buffer)
	require.NoError(t, err)
	check(body.begun.Add(bodyStall + 4*time.Second))
	body.begun, body.until = begun, begun.Add(time.Second)
	_, err = body.Read(buffer)
	require.NoError(t, err)
	check(body.until)
	_, err = body.Read(buffer)
	require.ErrorIs(t, err, io.EOF)
	assert.Zero(t, w.last(), "the connection is read for its end then")
}

func TestWhatIsReadAfterACancellationEndsAtOnce(t *testing.T) {
	t.Parallel()
	w := &deadlined{ResponseWriter: httptest.NewRecorder()}
	ctx, cancel := context.WithCancelCause(t.Context())
	r := httptest.NewRequestWithContext(ctx, http.MethodPut, "/", http.NoBody)
	r.Header.Set("Content-Type", "application/json")
	r.Body = &pieces{1, 0, func() {
		cancel(apierr.Busy("The service is restarting.", nil))
		require.Eventually(t, func() bool { return w.last().Equal(time.Unix(1, 0)) }, 10*time.Second, time.Millisecond)
	}}
	_, err := newPacedBody(w, r, 1<<20, time.Now().Add(time.Hour)).Read(make([]byte, 10))
	require.NoError(t, err)
}

func TestFaultsOfReadingABody(t *testing.T) {
	t.Parallel()
	restarting, restart := context.WithCancelCause(t.Context())
	restart(apierr.Busy("The service is restarting.", nil))
	for name, c := range map[string]struct {
		ctx    context.Context //nolint:containedctx // the case's
		err    error
		status int
		closes bool
	}{
		"nothing came for long": {t.Context(), os.ErrDeadlineExceeded, http.StatusRequestTimeout, true},
		"it broke off":          {t.Context(), io.ErrUnexpectedEOF, http.StatusBadRequest, false},
		"the service restarts":  {restarting, os.ErrDeadlineExceeded, http.StatusServiceUnavailable, false},
	} {
		w := httptest.NewRecorder()
		r := httptest.NewRequestWithContext(c.ctx, http.MethodPut, "/", io.MultiReader(strings.NewReader(`{"half":`), failing{c.err}))
		r.Header.Set("Content-Type", "application/json")
		_, err := readBody(w, r, 1<<20, time.Now().Add(time.Hour))
		require.Error(t, err, name)
		fail(w, r, err)
		assert.Equal(t, c.status, w.Code, name)
		assert.Equal(t, c.closes, w.Header().Get("Connection") == "close", name)
	}
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

func TestLevels(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		status int
		err    error
		want   string
	}{
		"all is well":                  {200, nil, "INFO"},
		"the caller left":              {499, context.Canceled, "INFO"},
		"the reader left":              {200, &brokenError{&goneError{errors.New("write: connection reset by peer")}}, "INFO"},
		"the database broke":           {200, &brokenError{errors.New("read: connection reset by peer")}, "ERROR"},
		"the database went":            {200, &brokenError{apierr.Busy("The database cannot be reached.", nil)}, "WARN"},
		"a right is missing":           {503, apierr.Broken("The service is not set up.", nil), "ERROR"},
		"a body that did not come":     {408, &statusError{408, "The body did not come in time."}, "INFO"},
		"an answer that took too long": {503, context.DeadlineExceeded, "WARN"},
		"a bug":                        {500, errPanic, "ERROR"},
	} {
		assert.Equal(t, c.want, logLevel(c.status, c.err).String(), name)
	}
}
