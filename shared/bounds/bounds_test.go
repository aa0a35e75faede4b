package bounds_test

import (
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/assert"

	"github.com/liftlog/liftlog-api/shared/apierr"
	"github.com/liftlog/liftlog-api/shared/bounds"
)

// every has a member for each bound.
type every struct {
	ID     uuid.UUID      `json:"id" name:"id" required:"true"`
	At     time.Time      `json:"at" name:"time" required:"true"`
	Name   string         `json:"name" name:"name" required:"true" maxLength:"3" storable:"true"`
	Code   string         `json:"code" pattern:"^a+$" maxBytes:"3" fault:"This is no code."`
	Secret *string        `json:"secret" name:"secret" required:"true" maxBytes:"1Ki" fault:"This is no secret."`
	Data   []byte         `json:"data" name:"data block" required:"true" minBytes:"1" maxBytes:"2"`
	IV     []byte         `json:"iv" name:"initialization vector" minBytes:"2" maxBytes:"2"`
	Age    int            `json:"age" name:"age" minimum:"-1" maximum:"7"`
	Parts  []part         `json:"parts" minItems:"1" maxItems:"3" eachName:"part"`
	Chunks [][]byte       `json:"chunks" name:"message" minItems:"1" maxItems:"3" eachName:"chunk" eachRequired:"true" eachMaxBytes:"1"`
	Table  map[string]int `json:"table" name:"exercises" required:"true" maxProperties:"3" keyName:"exercise" keyMaxLength:"2"`
	Part   *part          `json:"part" name:"part" required:"true"`
	Slug   string         `json:"-" path:"slug" name:"slug" maxBytes:"1" trim:"true"`
	Free   string
}

type part struct {
	Text string `json:"text" name:"text" minLength:"2" maxLength:"3"`
}

func TestCheck(t *testing.T) {
	t.Parallel()
	fine := func() every {
		return every{
			ID: uuid.New(), At: time.Unix(1, 0), Name: "ab", Code: "aaa", Secret: new(""), Data: []byte("xx"), IV: []byte("xx"), Age: -1,
			Parts: []part{{"ab"}}, Chunks: [][]byte{{}}, Table: map[string]int{"ab": 1}, Part: &part{"abc"}, Slug: " x\t",
		}
	}
	for name, c := range map[string]struct {
		spoil func(*every)
		want  map[string][]string
	}{
		"nothing": {func(*every) {}, nil},
		"all missing": {func(e *every) { *e = every{} }, map[string][]string{
			"id": {"An id is required."}, "at": {"A time is required."}, "name": {"A name is required."}, "code": {"This is no code."},
			"secret": {"A secret is required."}, "data": {"A data block is required."}, "iv": {"An initialization vector has 2 bytes."},
			"parts": {"At least one part is required."}, "chunks": {"A message is required."}, "table": {"Exercises are required."},
			"part": {"A part is required."},
		}},
		"less than v1's unit of time": {func(e *every) { e.At = time.Time{}.Add(99) }, map[string][]string{"at": {"A time is required."}}},
		"a blank text":                {func(e *every) { e.Name = "    " }, map[string][]string{"name": {"A name is required.", "The name is too long."}}},
		"v1's characters":             {func(e *every) { e.Name = "😀😀" }, map[string][]string{"name": {"The name is too long."}}},
		"NUL":                         {func(e *every) { e.Name = "a\x00" }, map[string][]string{"name": {"The name holds a character that cannot be stored."}}},
		"its own words":               {func(e *every) { e.Code = "bbbb" }, map[string][]string{"code": {"This is no code."}}},
		"behind a pointer": {func(e *every) { e.Secret, e.Part = new(strings.Repeat("x", 1025)), &part{"abcd"} },
			map[string][]string{"secret": {"This is no secret."}, "part.text": {"The text is too short or too long."}}},
		"bytes":   {func(e *every) { e.Data, e.IV = []byte("xxx"), []byte("x") }, map[string][]string{"data": {"The data block is too large."}, "iv": {"An initialization vector has 2 bytes."}}},
		"empty":   {func(e *every) { e.Data = []byte{} }, map[string][]string{"data": {"A data block is required."}}},
		"numbers": {func(e *every) { e.Age = 8 }, map[string][]string{"age": {"The age is out of range."}}},
		"items": {func(e *every) { e.Parts, e.Chunks = []part{{"ab"}, {"a"}}, [][]byte{nil, []byte("xx")} }, map[string][]string{
			"parts[1].text": {"The text is too short or too long."}, "chunks[0]": {"A chunk is bytes."}, "chunks[1]": {"The chunk is too large."},
		}},
		"keys, once": {func(e *every) { e.Table = map[string]int{"abc": 1, "xyz": 2} }, map[string][]string{"table": {"The exercise is too long."}}},
		"a path":     {func(e *every) { e.Slug = " xx " }, map[string][]string{"slug": {"The slug is too long."}}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			request := fine()
			c.spoil(&request)
			err := bounds.Check(reflect.ValueOf(request))
			if c.want == nil {
				assert.NoError(t, err)
				return
			}
			invalid, _ := errors.AsType[*apierr.Error](err)
			assert.Equal(t, apierr.Invalid, apierr.KindOf(err))
			assert.Equal(t, c.want, invalid.Fields)
		})
	}
}

func TestMalformedTagsAreNoticedAtTheStart(t *testing.T) {
	t.Parallel()
	assert.Panics(t, func() {
		_ = bounds.Check(reflect.ValueOf(struct {
			A string `json:"a" name:"a" maxLength:"many"`
		}{}))
	})
	assert.Panics(t, func() {
		_ = bounds.Check(reflect.ValueOf(struct {
			A string `json:"a" maxLength:"3"`
		}{}))
	})
}
