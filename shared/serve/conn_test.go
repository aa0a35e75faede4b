package serve

import (
	"bytes"
	"io"
	"net"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// pair connects two ends on loopback: one that was accepted, with stalls of that length, and the other one.
func pair(t *testing.T, stall time.Duration) (accepted, other net.Conn) {
	t.Helper()
	listener, err := Listen(t.Context(), 0)
	require.NoError(t, err)
	paced := &pacedListener{Listener: listener, stall: stall}
	t.Cleanup(func() { _ = paced.Close() })
	_, port, err := net.SplitHostPort(listener.Addr().String())
	require.NoError(t, err)
	other, err = new(net.Dialer).DialContext(t.Context(), "tcp", "127.0.0.1:"+port)
	require.NoError(t, err)
	t.Cleanup(func() { _ = other.Close() })
	accepted, err = paced.Accept()
	require.NoError(t, err)
	t.Cleanup(func() { _ = accepted.Close() })
	return accepted, other
}

func TestASteadyReaderGetsAllHoweverLongItTakes(t *testing.T) {
	t.Parallel()
	const stall = 4 * time.Second
	accepted, other := pair(t, stall)
	sent := bytes.Repeat([]byte("0123456789abcdef"), 100<<10) // 1.6 MB: several times what the kernel's buffers take
	failed := make(chan error, 1)
	go func() {
		_, err := accepted.Write(sent) // in one piece
		_ = accepted.Close()
		failed <- err
	}()
	begun := time.Now()
	got := make([]byte, 0, len(sent))
	for len(got) < len(sent) {
		n, err := io.ReadFull(other, got[len(got):min(len(got)+32<<10, len(sent))])
		require.NoError(t, err)
		got = got[:len(got)+n]
		time.Sleep(150 * time.Millisecond) // the reader's pace
	}
	require.NoError(t, <-failed)
	assert.Equal(t, sent, got)
	assert.Greater(t, time.Since(begun), stall, "it took longer than a stall may")
}

func TestAReaderWhoTakesNothingIsCutOff(t *testing.T) {
	t.Parallel()
	for name, deadline := range map[string]time.Duration{"by the stall": 0, "by a deadline of its own": 3 * time.Second} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			stall := time.Second
			if deadline > 0 {
				stall = time.Hour
			}
			accepted, other := pair(t, stall)
			much := make([]byte, 64<<20)
			if deadline > 0 {
				require.NoError(t, accepted.SetWriteDeadline(time.Now().Add(deadline)))
			}
			n, err := accepted.Write(much)
			require.ErrorIs(t, err, os.ErrDeadlineExceeded)
			assert.Less(t, n, len(much))
			assert.Positive(t, n)
			require.NoError(t, accepted.Close())
			_, err = io.Copy(io.Discard, other)
			require.Error(t, err, "a part must not look like all there is")
		})
	}
}

func TestADeadlineThatIsSetLaterEndsAWrite(t *testing.T) {
	t.Parallel()
	accepted, _ := pair(t, time.Hour)
	var group sync.WaitGroup
	group.Go(func() {
		_, err := accepted.Write(make([]byte, 64<<20))
		assert.ErrorIs(t, err, os.ErrDeadlineExceeded)
	})
	time.Sleep(100 * time.Millisecond) // most likely it writes, and if not yet the outcome is the same
	require.NoError(t, accepted.SetDeadline(time.Unix(1, 0)))
	group.Wait()
	require.NoError(t, accepted.SetDeadline(time.Time{}))
}
