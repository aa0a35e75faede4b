package web

import (
	"bytes"
	"encoding/base64"
	"reflect"
	"regexp"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/google/uuid"
)

// encoding is how v1 wrote JSON: every member, nulls too. A nil slice is null, so a list that has to be one is made.
var encoding = json.JoinOptions(
	json.FormatNilSliceAsNull(true),
	json.WithMarshalers(json.MarshalToFunc(writeTime)),
)

// readText reads a JSON string. Null leaves what is there, and says so.
func readText(dec *jsontext.Decoder) (text []byte, null bool, err error) {
	value, err := dec.ReadValue()
	if err != nil {
		return nil, false, err
	}
	switch value.Kind() {
	case 'n':
		return nil, true, nil
	case '"':
		if inner := value[1 : len(value)-1]; bytes.IndexByte(inner, '\\') < 0 {
			return inner, false, nil
		}
		text, err = jsontext.AppendUnquote(nil, value)
		return text, false, err
	default:
		return nil, false, misfit()
	}
}

// readString reads a text. Null is an empty one.
func readString(dec *jsontext.Decoder, value reflect.Value) error {
	text, _, err := readText(dec)
	if err == nil {
		value.SetString(string(text))
	}
	return err
}

// base64Form is standard base64 with padding, whose spare bits are zero, so that no two texts are the same bytes.
var base64Form = base64.StdEncoding.Strict()

// readBytes reads base64, blanks between its characters allowed. "" becomes an empty slice and null a nil one, so that
// required bytes can be told from empty ones.
func readBytes(dec *jsontext.Decoder, dst *[]byte) error {
	text, null, err := readText(dec)
	if err != nil || null {
		return err
	}
	decoded := make([]byte, base64Form.DecodedLen(len(text)))
	n, err := base64Form.Decode(decoded, text) // skips CR and LF by itself
	if err != nil && bytes.ContainsAny(text, " \t") {
		n, err = base64Form.Decode(decoded, bytes.ReplaceAll(bytes.ReplaceAll(text, []byte(" "), nil), []byte("\t"), nil))
	}
	if err != nil {
		return misfit()
	}
	*dst = decoded[:n]
	return nil
}

// readUUID reads the one form that v1 reads in JSON: 36 characters with dashes, in either case. Null is not one.
func readUUID(dec *jsontext.Decoder, dst *uuid.UUID) error {
	text, null, err := readText(dec)
	if err != nil {
		return err
	}
	if null || len(text) != 36 {
		return misfit()
	}
	if *dst, err = uuid.ParseBytes(text); err != nil {
		return misfit()
	}
	return nil
}

// isoTime is what v1 reads as a time: a date, with or without hours and minutes, seconds, a fraction of up to 16 digits, and
// an offset of hours, or hours and minutes, up to 14 hours.
var isoTime = regexp.MustCompile(
	`^\d{4}-\d\d-\d\d(T\d\d:\d\d(:\d\d(\.\d{1,16})?)?(Z|[+-](0\d|1[0-3])(:[0-5]\d)?|[+-]14(:00)?)?)?$`)

var isoLayouts = []string{
	time.RFC3339, "2006-01-02T15:04:05Z07", "2006-01-02T15:04:05",
	"2006-01-02T15:04Z07:00", "2006-01-02T15:04Z07", "2006-01-02T15:04", time.DateOnly,
}

// readTime reads a time as v1 does and turns it to UTC; without an offset it is UTC. Null is not a time, and
// neither is what leaves the years 1 to 9999.
func readTime(dec *jsontext.Decoder, dst *time.Time) error {
	text, null, err := readText(dec)
	if err != nil {
		return err
	}
	if null || !isoTime.Match(text) {
		return misfit()
	}
	for _, layout := range isoLayouts {
		t, err := time.Parse(layout, string(text))
		if err != nil {
			continue
		}
		if t = t.UTC(); t.Year() < 1 || t.Year() > 9999 {
			return misfit()
		}
		*dst = t
		return nil
	}
	return misfit()
}

// writeTime writes a time as v1 does: in UTC with +00:00 and up to seven fraction digits, trailing zeros cut.
func writeTime(enc *jsontext.Encoder, t *time.Time) error {
	return enc.WriteToken(jsontext.String(t.UTC().Format("2006-01-02T15:04:05.9999999") + "+00:00"))
}

// WriteTokens writes the tokens, one after the other, until one cannot be written.
func WriteTokens(out *jsontext.Encoder, tokens ...jsontext.Token) error {
	for _, token := range tokens {
		if err := out.WriteToken(token); err != nil {
			return err
		}
	}
	return nil
}
