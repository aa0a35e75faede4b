package openai

import (
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// readAll returns the events of a stream, as name:data.
func readAll(in io.Reader) (events []string, err error) {
	r := newEventReader(in)
	for {
		name, data, err := r.next()
		if err != nil {
			return events, err
		}
		events = append(events, name+":"+string(data))
	}
}

func TestEventsAreReadAsTheyAreDefined(t *testing.T) {
	t.Parallel()
	for text, want := range map[string][]string{
		"":                                                 nil,
		"\n\n":                                             nil,
		"data: a\n\ndata: b\n\n":                           {":a", ":b"},
		"data:a\n\ndata:  b\n\n":                           {":a", ": b"},
		"data: a\r\n\r\ndata: b\r\n\r\n":                   {":a", ":b"},
		"data: a\r\rdata: b\r\r":                           {":a", ":b"},
		"\uFEFFdata: a\n\n\uFEFFdata: b\n\n":               {":a"},
		"data: a\ndata: b\ndata\ndata:c\n\n":               {":a\nb\n\nc"},
		"event: error\ndata: a\n\ndata: b\n\n":             {"error:a", ":b"},
		"event: ping\n\ndata: b\n\n":                       {":b"},
		": x\n:\n\n: y\ndata: a\n: z\n\n":                  {":a"},
		"id: 1\nretry: 5\nother: x\ndatax: y\ndata: a\n\n": {":a"},
		"data\n\n":                                         {":"},
		"data: a\n":                                        {":a"},
		"data: a":                                          {":a"},
		"data: a\n\ndata: [DONE]":                          {":a", ":[DONE]"},
		": x":                                              nil,
		":" + strings.Repeat("x", 3*maxEvent) + "\ndata: a\n\n": {":a"},
		strings.Repeat(": x\n", 100_000) + "data: a\n\n":        {":a"},
	} {
		events, err := readAll(strings.NewReader(text))
		require.ErrorIs(t, err, io.EOF, "%.80q", text)
		assert.Equal(t, want, events, "%.80q", text)
		if len(text) < 100 {
			events, err = readAll(iotest.OneByteReader(strings.NewReader(text)))
			require.ErrorIs(t, err, io.EOF, "%.80q", text)
			assert.Equal(t, want, events, "%q, byte by byte", text)
		}
	}
}

func TestEventsHaveBounds(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		"data: " + strings.Repeat("x", maxEvent+1) + "\n\n", strings.Repeat("data: "+strings.Repeat("x", 1000)+"\n", maxEvent/1000),
	} {
		_, err := readAll(strings.NewReader(text))
		require.ErrorIs(t, err, errTooLong)
	}
}

func TestAStreamThatBreaksHasNoLastEvent(t *testing.T) {
	t.Parallel()
	broken := errors.New("broken")
	events, err := readAll(io.MultiReader(strings.NewReader("data: a\n\ndata: b\n"), iotest.ErrReader(broken)))
	require.ErrorIs(t, err, broken)
	assert.Equal(t, []string{":a"}, events)
}
