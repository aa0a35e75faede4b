package signalr_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/liftlog/liftlog-api/chat-service/signalr"
)

func split(s *signalr.Splitter, chunks ...string) (records []string, err error) {
	for _, chunk := range chunks {
		err = s.Split([]byte(chunk), func(record []byte) error {
			records = append(records, string(record))
			return nil
		})
		if err != nil {
			break
		}
	}
	return records, err
}

func TestTheStreamIsCutAtSeparatorsOnly(t *testing.T) {
	t.Parallel()
	for _, chunks := range [][]string{
		{"a\x1ebc\x1e\x1ed"},
		{"a", "\x1eb", "", "c\x1e", "\x1e", "d"},
		{"a\x1eb", "c\x1e\x1ed"},
	} {
		var s signalr.Splitter
		records, err := split(&s, chunks...)
		require.NoError(t, err)
		assert.Equal(t, []string{"a", "bc", ""}, records)
		records, err = split(&s, "e\x1e")
		require.NoError(t, err)
		assert.Equal(t, []string{"de"}, records)
	}
}

func TestARecordMayBeThisLongAndNoLonger(t *testing.T) {
	t.Parallel()
	longest := strings.Repeat("x", signalr.MaxRecord-1)
	for _, chunks := range [][]string{{longest + "\x1e"}, {longest, "\x1e"}, {"x", longest[1:] + "\x1e"}} {
		var s signalr.Splitter
		records, err := split(&s, chunks...)
		require.NoError(t, err)
		assert.Equal(t, []string{longest}, records)
	}
	for _, chunks := range [][]string{{longest + "x\x1e"}, {longest, "x"}, {"x" + longest}} {
		var s signalr.Splitter
		_, err := split(&s, chunks...)
		require.ErrorIs(t, err, signalr.ErrTooLong)
	}
}

func TestTheFirstErrorStopsTheSplitter(t *testing.T) {
	t.Parallel()
	enough := errors.New("enough")
	var s signalr.Splitter
	taken := 0
	require.ErrorIs(t, s.Split([]byte("a\x1eb\x1e"), func([]byte) error {
		taken++
		return enough
	}), enough)
	assert.Equal(t, 1, taken)
}

// FuzzClient feeds what a client may send, however it is cut, to everything that reads it.
func FuzzClient(f *testing.F) {
	for _, seed := range []string{
		`{"protocol":"json","version":1}` + "\x1e" + `{"type":6}` + "\x1e",
		`{"type":1,"invocationId":"0","target":"SendMessage","arguments":["hello \ud83d\ude00"],"streamIds":["a"],"headers":{"a":"b"}}` + "\x1e",
		`{"type":3,"invocationId":"x","error":null}` + "\x1e" + `{"type":1e0}` + "\x1e[[[[",
		"\x1e\xff\x1e{}\x1e",
	} {
		f.Add([]byte(seed), 7)
	}
	f.Fuzz(func(t *testing.T, stream []byte, cut int) {
		var whole, parts signalr.Splitter
		var want, got []string
		wantErr := whole.Split(stream, func(record []byte) error {
			want = append(want, string(record))
			_ = signalr.Handshake(record)
			if m, err := signalr.Parse(record); err == nil {
				for _, argument := range m.Arguments {
					_, _, _ = signalr.Text(argument)
					_, _ = signalr.Integer(argument)
				}
			}
			return nil
		})
		var gotErr error
		for cut = max(1, cut%len(append(stream, 0))); len(stream) > 0 && gotErr == nil; stream = stream[min(cut, len(stream)):] {
			gotErr = parts.Split(stream[:min(cut, len(stream))], func(record []byte) error {
				got = append(got, string(record))
				return nil
			})
		}
		assert.Equal(t, wantErr, gotErr)
		assert.Equal(t, want, got)
	})
}
