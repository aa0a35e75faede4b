package web

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	jsonv1 "github.com/go-json-experiment/json/v1"
	"github.com/google/uuid"

	"github.com/liftlog/liftlog-api/shared/apierr"
)

// decoding is how v1 read JSON: names in any case, unknown ones ignored, of repeated ones the last counts.
var decoding = json.JoinOptions(
	json.MatchCaseInsensitiveNames(true),
	jsonv1.MatchCaseSensitiveDelimiter(true), // encrypted_name is not encryptedName
	jsontext.AllowDuplicateNames(true),
	json.WithUnmarshalers(json.JoinUnmarshalers(
		json.UnmarshalFromFunc(readBytes),
		json.UnmarshalFromFunc(readUUID),
		json.UnmarshalFromFunc(readTime),
	)),
)

// encoding is how v1 wrote JSON: every member, nulls too. A nil slice is null, so a list that has to be one is made.
var encoding = json.JoinOptions(
	json.FormatNilSliceAsNull(true),
	json.WithMarshalers(json.MarshalToFunc(writeTime)),
)

// decode reads the one JSON object in body into dst. What does not fit is an Invalid error that names the field
// and never repeats what was sent.
func decode(body []byte, dst any) error {
	var faults apierr.Faults
	if jsontext.Value(body).Kind() != '{' {
		faults.Check(false, "", "A JSON object is required.")
		return faults.Err()
	}
	err := json.Unmarshal(body, dst, decoding)
	if err == nil {
		return nil
	}
	if semantic, ok := errors.AsType[*json.SemanticError](err); ok {
		faults.Check(false, fieldPath(reflect.TypeOf(dst), semantic.JSONPointer), "The value does not have the right form.")
	} else {
		faults.Check(false, "", "The body is not well-formed JSON.")
	}
	return faults.Err()
}

// fieldPath writes the JSON pointer into a value of type t as users[0].since. Member names are spelled as t
// spells them; it stops at whatever t does not know, because that is the caller's own text.
func fieldPath(t reflect.Type, pointer jsontext.Pointer) string {
	var path strings.Builder
	for token := range pointer.Tokens() {
		for t.Kind() == reflect.Pointer {
			t = t.Elem()
		}
		switch t.Kind() {
		case reflect.Slice, reflect.Array:
			index, err := strconv.Atoi(token)
			if err != nil {
				return path.String()
			}
			fmt.Fprintf(&path, "[%d]", index)
			t = t.Elem()
		case reflect.Struct:
			name, field, ok := member(t, token)
			if !ok {
				return path.String()
			}
			if path.Len() > 0 {
				path.WriteByte('.')
			}
			path.WriteString(name)
			t = field
		default:
			return path.String()
		}
	}
	return path.String()
}

func member(t reflect.Type, token string) (name string, of reflect.Type, ok bool) {
	for field := range t.Fields() {
		name, _, _ = strings.Cut(field.Tag.Get("json"), ",")
		if strings.EqualFold(name, token) {
			return name, field.Type, true
		}
	}
	return "", nil, false
}

var errForm = errors.New("not of the right form")

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
		return nil, false, errForm
	}
}

// readBytes reads standard base64 with padding, blanks between its characters allowed. "" becomes an empty slice
// and null a nil one, so that required bytes can be told from empty ones.
func readBytes(dec *jsontext.Decoder, dst *[]byte) error {
	text, null, err := readText(dec)
	if err != nil || null {
		*dst = nil
		return err
	}
	decoded := make([]byte, base64.StdEncoding.DecodedLen(len(text)))
	n, err := base64.StdEncoding.Decode(decoded, text) // skips CR and LF by itself
	if err != nil && bytes.ContainsAny(text, " \t") {
		n, err = base64.StdEncoding.Decode(decoded, bytes.ReplaceAll(bytes.ReplaceAll(text, []byte(" "), nil), []byte("\t"), nil))
	}
	if err != nil {
		return errForm
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
		return errForm
	}
	*dst, err = uuid.ParseBytes(text)
	return err
}

// isoTime is what v1 reads as a time: a date, with or without hours and minutes, seconds, a fraction and an offset.
var isoTime = regexp.MustCompile(`^\d{4}-\d\d-\d\d(T\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:\d\d)?)?$`)

var isoLayouts = []string{
	"2006-01-02T15:04:05Z07:00", "2006-01-02T15:04:05", "2006-01-02T15:04Z07:00", "2006-01-02T15:04", time.DateOnly,
}

// maxTimeText bounds the length of a time's text; v1 takes any number of fraction digits.
const maxTimeText = 128

// readTime reads a time as v1 does and turns it to UTC; without an offset it is UTC. Null is not a time, and
// neither is what leaves the years 1 to 9999.
func readTime(dec *jsontext.Decoder, dst *time.Time) error {
	text, null, err := readText(dec)
	if err != nil {
		return err
	}
	if null || len(text) > maxTimeText || !isoTime.Match(text) {
		return errForm
	}
	for _, layout := range isoLayouts {
		t, err := time.Parse(layout, string(text))
		if err != nil {
			continue
		}
		if t = t.UTC(); t.Year() < 1 || t.Year() > 9999 {
			return errForm
		}
		*dst = t
		return nil
	}
	return errForm
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
