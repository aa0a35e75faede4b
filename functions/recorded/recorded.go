// Package recorded reads recordings of requests and of what v1 answered, makes the requests, and compares answers with each other.
// The README beside functions/cmd/emulator/testdata/v1/http.json describes the format. It is for tests and tools.
package recorded

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"
)

// Case is a request and what v1 answered.
type Case struct {
	Case    string `json:"case"`
	Request string `json:"request"` // method and path, without a prefix
	Sent    struct {
		Headers map[string]string `json:"headers"`
		JSON    any               `json:"json"`
		Raw     *string           `json:"raw"`
	} `json:"sent"`
	V1 struct {
		Status  int               `json:"status"`
		Headers map[string]string `json:"headers"`
		Type    string            `json:"type"`
		Body    any               `json:"body"`
		Faulty  []string          `json:"faulty"`
	} `json:"v1"`
	V2 *Exception `json:"v2"` // nil: v2 answers as v1 does
}

// Exception is where v2 answers otherwise on purpose.
type Exception struct {
	Status []int  `json:"status"` // the right ones
	Why    string `json:"why"`
}

// Parse reads a recording.
func Parse(data []byte) (cases []Case, err error) {
	if err := json.Unmarshal(data, &cases); err != nil {
		return nil, fmt.Errorf("read a recording: %w", err)
	}
	for i, c := range cases {
		method, path, ok := strings.Cut(c.Request, " ")
		if c.Case == "" || !ok || method == "" || !strings.HasPrefix(path, "/") {
			return nil, fmt.Errorf("read a recording: entry %d has no case, or no request of a method and a path", i+1)
		}
	}
	return cases, nil
}

// Values are what names in a recording stand for. A [Values.Match] adds those that an answer gives.
type Values map[string]string

// NewRequest makes the case's request to base, with the prefix before its path where v2's paths have one.
func (v Values) NewRequest(ctx context.Context, base, prefix string, c Case) (*http.Request, error) {
	request, err := v.fillText(c.Request)
	if err != nil {
		return nil, err
	}
	method, path, _ := strings.Cut(request, " ")
	if path != "/health" && !strings.HasPrefix(path, "/ai-chat") {
		path = prefix + path
	}
	body := ""
	switch {
	case c.Sent.Raw != nil:
		if body, err = v.fillText(*c.Sent.Raw); err != nil {
			return nil, err
		}
	case c.Sent.JSON != nil:
		filled, err := v.fill(c.Sent.JSON)
		if err != nil {
			return nil, err
		}
		encoded, err := json.Marshal(filled)
		if err != nil {
			return nil, fmt.Errorf("make a request: %w", err)
		}
		body = string(encoded)
	}
	r, err := http.NewRequestWithContext(ctx, method, base+path, strings.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("make a request: %w", err)
	}
	if c.Sent.Raw != nil || c.Sent.JSON != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	for name, value := range c.Sent.Headers {
		if value == "" && name == "Content-Type" {
			r.Header.Del(name)
			continue
		}
		if value, err = v.fillText(value); err != nil {
			return nil, err
		}
		r.Header.Set(name, value)
	}
	return r, nil
}

// SortEvents puts the events of an answer in the order of the recording: v1 promises none.
func SortEvents(body any) {
	object, _ := body.(map[string]any)
	events, _ := object["events"].([]any)
	id := func(event any) string {
		members, _ := event.(map[string]any)
		return fmt.Sprint(members["eventId"])
	}
	slices.SortFunc(events, func(a, b any) int { return strings.Compare(id(a), id(b)) })
}

var placeholder = regexp.MustCompile(`\{\{([^}]+)\}\}`)

// fill replaces the placeholders in a recorded value.
func (v Values) fill(value any) (any, error) {
	switch value := value.(type) {
	case string:
		if list, ok := fillList(value); ok {
			return list, nil
		}
		return v.fillText(value)
	case []any:
		filled := make([]any, len(value))
		for i := range value {
			var err error
			if filled[i], err = v.fill(value[i]); err != nil {
				return nil, err
			}
		}
		return filled, nil
	case map[string]any:
		filled := make(map[string]any, len(value))
		for key, member := range value {
			name, err := v.fillText(key)
			if err != nil {
				return nil, err
			}
			if filled[name], err = v.fill(member); err != nil {
				return nil, err
			}
		}
		return filled, nil
	default:
		return value, nil
	}
}

var listPlaceholder = regexp.MustCompile(`^\{\{(uuids|secrets|strangers) (\d+)\}\}$`)

func fillList(text string) (list []any, ok bool) {
	found := listPlaceholder.FindStringSubmatch(text)
	if found == nil {
		return nil, false
	}
	n, _ := strconv.Atoi(found[2])
	for i := range n {
		id := uuid.UUID{14: byte((i + 1) >> 8), 15: byte(i + 1)}.String()
		secret := fmt.Sprintf("s%d", i)
		switch found[1] {
		case "uuids":
			list = append(list, id)
		case "secrets":
			list = append(list, secret)
		default:
			list = append(list, map[string]any{"userId": id, "followSecret": secret, "since": "2000-01-01T00:00:00Z"})
		}
	}
	return list, true
}

func (v Values) fillText(text string) (string, error) {
	var err error
	filled := placeholder.ReplaceAllStringFunc(text, func(found string) string {
		value, ok := v.value(strings.Trim(found, "{}"))
		if !ok && err == nil {
			err = fmt.Errorf("nothing has named %s", found)
		}
		return value
	})
	return filled, err
}

func (v Values) value(name string) (string, bool) {
	var n, seed, days int
	if _, err := fmt.Sscanf(name, "bytes %d %d", &n, &seed); err == nil {
		data := make([]byte, n)
		for i := range data {
			data[i] = byte(31*i + 7*seed) //nolint:gosec // modulo 256
		}
		return base64.StdEncoding.EncodeToString(data), true
	}
	if _, err := fmt.Sscanf(name, "now %d days", &days); err == nil {
		return time.Now().UTC().AddDate(0, 0, days).Format("2006-01-02T15:04:05.000Z"), true
	}
	if value, ok := v[name]; ok {
		return value, true
	}
	if value, ok := v[strings.ToLower(name)]; ok {
		return strings.ToUpper(value), true
	}
	if value, ok := v[strings.TrimSuffix(name, ".n")]; ok {
		return strings.ReplaceAll(value, "-", ""), true
	}
	return "", false
}

// Match says where got is not what was recorded, and takes from it the values of names that have none yet.
func (v Values) Match(where string, want, got any) (differences []string) {
	differ := func(format string, args ...any) []string {
		return append(differences, where+": "+fmt.Sprintf(format, args...))
	}
	switch want := want.(type) {
	case map[string]any:
		object, ok := got.(map[string]any)
		if !ok {
			return differ("is no object")
		}
		if len(object) != len(want) {
			differences = differ("has %d members and not %d", len(object), len(want))
		}
		for key := range want {
			name, err := v.fillText(key)
			member, ok := object[name]
			if err != nil || !ok {
				differences = differ("has no %s", key)
				continue
			}
			differences = append(differences, v.Match(where+"."+name, want[key], member)...)
		}
	case []any:
		list, ok := got.([]any)
		if !ok || len(list) != len(want) {
			return differ("is no list of %d", len(want))
		}
		for i := range want {
			differences = append(differences, v.Match(fmt.Sprintf("%s[%d]", where, i), want[i], list[i])...)
		}
	case string:
		if list, ok := fillList(want); ok {
			if fmt.Sprint(list) != fmt.Sprint(got) {
				return differ("is not %s", want)
			}
			return nil
		}
		text, ok := got.(string)
		if !ok {
			return differ("is no text")
		}
		return v.matchText(where, want, text)
	default:
		if want != got {
			return differ("is %v and not %v", got, want)
		}
	}
	return differences
}

// timeTolerance is how far from now a recorded {{time}} may be: some are the expiry that a case sent.
const timeTolerance = 32 * 24 * time.Hour

func (v Values) matchText(where, want, got string) []string {
	switch name := strings.Trim(want, "{}"); {
	case want == "{{time}}+00:00" || want == "{{event.timestamp}}":
		stamp, err := time.Parse(time.RFC3339Nano, got)
		if err != nil || !strings.HasSuffix(got, "+00:00") || time.Since(stamp).Abs() > timeTolerance {
			return []string{where + ": is no time near now in UTC with its offset"}
		}
	case want != "" && placeholder.FindString(want) == want:
		value, known := v.value(name)
		if !known && got != "" {
			v[name] = got
			return nil
		}
		if value != got || !known {
			return []string{where + ": is not " + want}
		}
	case want != got:
		return []string{where + ": is another text"}
	}
	return nil
}

var (
	anyID   = regexp.MustCompile(`(?i)[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}`)
	anyTime = regexp.MustCompile(`\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:\d\d)`)
)

// Name puts names in the place of what differs from run to run: {{alice.id}} of what is named, else {{id}} and {{time}}.
func (v Values) Name(body any) any {
	switch body := body.(type) {
	case string:
		return v.nameText(body)
	case []any:
		named := make([]any, len(body))
		for i := range body {
			named[i] = v.Name(body[i])
		}
		return named
	case map[string]any:
		named := make(map[string]any, len(body))
		for key, member := range body {
			named[v.nameText(key)] = v.Name(member)
		}
		return named
	default:
		return body
	}
}

func (v Values) nameText(text string) string {
	for _, name := range slices.Sorted(maps.Keys(v)) {
		if v[name] != "" && text == v[name] {
			return "{{" + name + "}}"
		}
	}
	return anyTime.ReplaceAllString(anyID.ReplaceAllString(text, "{{id}}"), "{{time}}")
}

// Differences says where two bodies, named by [Values.Name], are not the same JSON value.
func Differences(where string, a, b any) (differences []string) {
	switch a := a.(type) {
	case map[string]any:
		other, ok := b.(map[string]any)
		if !ok {
			return []string{fmt.Sprintf("%s: %s | %s", where, kind(a), kind(b))}
		}
		for _, key := range sortedKeys(a, other) {
			x, inA := a[key]
			y, inB := other[key]
			switch {
			case !inA:
				differences = append(differences, fmt.Sprintf("%s.%s: missing | %s", where, key, kind(y)))
			case !inB:
				differences = append(differences, fmt.Sprintf("%s.%s: %s | missing", where, key, kind(x)))
			default:
				differences = append(differences, Differences(where+"."+key, x, y)...)
			}
		}
		return differences
	case []any:
		other, ok := b.([]any)
		if !ok || len(other) != len(a) {
			return []string{fmt.Sprintf("%s: %s | %s", where, kind(a), kind(b))}
		}
		for i := range a {
			differences = append(differences, Differences(fmt.Sprintf("%s[%d]", where, i), a[i], other[i])...)
		}
		return differences
	default:
		if a != b {
			return []string{fmt.Sprintf("%s: %s | %s", where, kind(a), kind(b))}
		}
		return nil
	}
}

func sortedKeys(a, b map[string]any) (keys []string) {
	for _, m := range []map[string]any{a, b} {
		for key := range m {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	return slices.Compact(keys)
}

// shown is the longest text that is shown as it is: what is longer is somebody's ciphertext.
const shown = 40

func kind(value any) string {
	switch value := value.(type) {
	case nil:
		return "null"
	case string:
		if len(value) <= shown {
			return strconv.Quote(value)
		}
		return fmt.Sprintf("a text of %d bytes", len(value))
	case []any:
		return fmt.Sprintf("a list of %d", len(value))
	case map[string]any:
		return fmt.Sprintf("an object of %d members", len(value))
	default:
		return fmt.Sprint(value)
	}
}
