package recorded_test

import (
	"io"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/liftlog/liftlog-api/functions/recorded"
)

func TestNamesAreLearnedAndSent(t *testing.T) {
	t.Parallel()
	cases, err := recorded.Parse([]byte(`[{"case": "put", "request": "PUT /user/{{ada.id.n}}", "sent": {"json": {"id": "{{ADA.ID}}", "ids": "{{uuids 2}}", "b": "{{bytes 2 1}}"}}}]`))
	require.NoError(t, err)
	v := recorded.Values{}
	_, err = v.NewRequest(t.Context(), "http://host", "/v2", cases[0])
	require.EqualError(t, err, "nothing has named {{ada.id.n}}")

	const id = "0b7e9c1a-0000-4000-8000-00000000000a"
	assert.Empty(t, v.Match("create", map[string]any{"id": "{{ada.id}}", "at": "{{time}}+00:00"},
		map[string]any{"id": id, "at": time.Now().UTC().Format("2006-01-02T15:04:05+00:00")}))
	r, err := v.NewRequest(t.Context(), "http://host", "/v2", cases[0])
	require.NoError(t, err)
	assert.Equal(t, "http://host/v2/user/0b7e9c1a00004000800000000000000a", r.URL.String())
	body, err := io.ReadAll(r.Body)
	require.NoError(t, err)
	assert.JSONEq(t, `{"id": "0B7E9C1A-0000-4000-8000-00000000000A", "b": "ByY=",
		"ids": ["00000000-0000-0000-0000-000000000001", "00000000-0000-0000-0000-000000000002"]}`, string(body))
	assert.Equal(t, map[string]any{"id": "{{ada.id}}", "other": "{{id}} at {{time}}"},
		v.Name(map[string]any{"id": id, "other": "0b7e9c1a-0000-4000-8000-00000000000b at 2026-01-01T00:00:00.123456+00:00"}))
}

func TestWhatDiffersIsNamed(t *testing.T) {
	t.Parallel()
	v := recorded.Values{"ada.id": "x"}
	assert.ElementsMatch(t, []string{"b.id: is not {{ada.id}}", "b.n: is 2 and not 1", "b.l: is no list of 1", "b.t: is no time near now in UTC with its offset"},
		v.Match("b", map[string]any{"id": "{{ada.id}}", "n": 1.0, "l": []any{1.0}, "t": "{{time}}+00:00"},
			map[string]any{"id": "y", "n": 2.0, "l": []any{}, "t": "2001-01-01T00:00:00Z"}))
	assert.Equal(t, []string{`b.a: "x" | missing`, "b.c: a list of 1 | a list of 0", "b.d: missing | null"}, recorded.Differences("b",
		map[string]any{"a": "x", "c": []any{1.0}, "same": true}, map[string]any{"c": []any{}, "d": nil, "same": true}))
}

func TestARecordingThatIsNone(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"<html>", `[{"case": "x"}]`, `[{"request": "GET /x"}]`, `[{"case": "x", "request": "GET x"}]`} {
		_, err := recorded.Parse([]byte(text))
		require.ErrorContains(t, err, "read a recording", text)
	}
}
