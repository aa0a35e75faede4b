package openai

import (
	"bufio"
	"bytes"
	"errors"
	"io"
)

const (
	// maxEvent bounds an event of a stream, in bytes: all of an answer may come in one.
	maxEvent = 2 << 20
	// chunk is how many bytes of a stream are read at a time.
	chunk = 4 << 10
)

// eventReader reads server-sent events as the HTML standard defines them, so that it copes with all that services write:
// comments without end, names of events, data on several lines, any ends of lines, a byte order mark.
type eventReader struct {
	in      *bufio.Reader
	line    []byte
	tooLong bool // the line is longer than what is kept of it
	afterCR bool // a line feed that comes next belongs to the end of the line before
	begun   bool // the first line was read
	ended   bool

	name string
	data []byte
}

func newEventReader(in io.Reader) *eventReader {
	return &eventReader{in: bufio.NewReaderSize(in, chunk)}
}

// next returns the next event, until io.EOF. The data is valid until the following call. An event counts without the
// blank line behind it when the stream ends there in good order, for some services leave that out.
func (e *eventReader) next() (name string, data []byte, err error) {
	if e.ended {
		return "", nil, io.EOF
	}
	e.name, e.data = "", e.data[:0]
	some := false
	for {
		err := e.readLine()
		if err != nil && !errors.Is(err, io.EOF) {
			return "", nil, err
		}
		e.ended = err != nil
		line := e.line
		if !e.begun {
			line = bytes.TrimPrefix(line, []byte("\uFEFF"))
			e.begun = true
		}
		field, value, _ := bytes.Cut(line, []byte(":"))
		value = bytes.TrimPrefix(value, []byte(" "))
		switch {
		case string(field) == "data":
			if e.tooLong || len(e.data)+len(value) > maxEvent {
				return "", nil, errTooLong
			}
			if some {
				e.data = append(e.data, '\n')
			}
			e.data = append(e.data, value...)
			some = true
		case string(field) == "event":
			e.name = string(value)
		}
		if (len(line) == 0 || e.ended) && some {
			return e.name, e.data, nil
		}
		if len(line) == 0 {
			e.name = ""
		}
		if e.ended {
			return "", nil, io.EOF
		}
	}
}

// readLine reads a line without its end. Its error is io.EOF for the last one, which has no end.
func (e *eventReader) readLine() error {
	e.line, e.tooLong = e.line[:0], false
	for {
		if _, err := e.in.Peek(1); err != nil {
			return err
		}
		buffered, _ := e.in.Peek(e.in.Buffered())
		if e.afterCR {
			e.afterCR = false
			if buffered[0] == '\n' {
				_, _ = e.in.Discard(1)
				continue
			}
		}
		end := bytes.IndexAny(buffered, "\r\n")
		part := buffered
		if end >= 0 {
			part = buffered[:end]
			e.afterCR = buffered[end] == '\r'
		}
		switch {
		case len(e.line) > 0 && e.line[0] == ':': // a comment, which may be as long as it likes
		case len(e.line)+len(part) > maxEvent:
			e.tooLong = true
		default:
			e.line = append(e.line, part...)
		}
		if end >= 0 {
			_, _ = e.in.Discard(end + 1)
			return nil
		}
		_, _ = e.in.Discard(len(part))
	}
}
