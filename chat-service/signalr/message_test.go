package signalr_test

import (
	"bytes"
	"encoding/json"
	"math"
	"strings"
	"testing"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/liftlog/liftlog-api/chat-service/signalr"
)

func TestHandshake(t *testing.T) {
	t.Parallel()
	for record, want := range map[string]string{
		`{"protocol":"json","version":1}`:                        "",
		`{"version":2,"protocol":"JSON","more":[{}]}`:            "",
		`{"protocol":"json","version":0}`:                        "",
		`{"protocol":"json","version":3}`:                        "The server does not support version 3 of the 'json' protocol.",
		`{"protocol":"jſon","version":1}`:                        "The protocol 'jſon' is not supported.",
		`{"protocol":"messagepack","version":1}`:                 "The protocol 'messagepack' is not supported.",
		`{"protocol":"a\"b","version":1}`:                        `The protocol 'a"b' is not supported.`,
		`{"Protocol":"json","version":1}`:                        signalr.HandshakeFailed,
		`{"protocol":null,"version":1}`:                          signalr.HandshakeFailed,
		`{"protocol":"json","version":1.0}`:                      signalr.HandshakeFailed,
		`{"protocol":"json","version":99999999999}`:              signalr.HandshakeFailed,
		`{"protocol":"json","version":1,}`:                       signalr.HandshakeFailed,
		`{"protocol":"json","version":1} {}`:                     signalr.HandshakeFailed,
		`{"protocol":"json","version":1,"x":` + nested(64) + `}`: signalr.HandshakeFailed,
		"": signalr.HandshakeFailed,
	} {
		assert.Equal(t, want, signalr.Handshake([]byte(record)), record)
	}
}

func nested(depth int) string { return strings.Repeat("[", depth) + strings.Repeat("]", depth) }

func TestParse(t *testing.T) {
	t.Parallel()
	for record, want := range map[string]signalr.Message{
		`{"type":6}`: {Type: signalr.Ping},
		`{ "arguments":["x",null] , "target":"Send", "invocationId":"7", "type":1, "headers":{"a":"b"}, "streamIds":["1","2"] }`: {
			Type: signalr.Invocation, ID: "7", Target: "Send", Arguments: []jsontext.Value{jsontext.Value(`"x"`), jsontext.Value("null")}, Streams: 2,
		},
		`{"type":1,"target":"Send","arguments":[]}`: {Type: signalr.Invocation, Target: "Send", Arguments: []jsontext.Value{}},
		`{"type":1,"target":"","arguments":[]}`:     {Type: signalr.Invocation, Arguments: []jsontext.Value{}},
		`{"type":6,"type":7,"Type":1}`:              {Type: signalr.Close},
		`{"type":42,"target":"x"}`:                  {Type: 42, Target: "x"},
		`{"type":-1}`:                               {Type: -1},
		`{"type":3,"invocationId":"x","result":` + nested(63) + `,"error":"e"}`: {Type: signalr.Completion, ID: "x"},
	} {
		got, err := signalr.Parse([]byte(record))
		require.NoError(t, err, record)
		assert.Equal(t, want, got, record)
	}
	for _, record := range []string{
		"", "null", "1", "[]", `"x"`, "{", "{}", `{"type":6}}`, `{"type":6,}`, `{"type":6/**/}`, `{'type':6}`,
		`{"type":"6"}`, `{"type":6.0}`, `{"type":1e0}`, `{"type":null}`, `{"type":99999999999}`, `{"Type":6}`,
		`{"type":1,"arguments":[]}`, `{"type":1,"target":5,"arguments":[]}`, `{"type":1,"target":null,"arguments":[]}`,
		`{"type":1,"target":"x"}`, `{"type":1,"target":"x","arguments":{}}`, `{"type":1,"target":"x","arguments":null}`,
		`{"type":1,"target":"x","arguments":[],"streamIds":"a"}`, `{"type":1,"target":"x","arguments":[],"streamIds":null}`,
		`{"type":1,"target":"x","arguments":[],"headers":{"a":1}}`, `{"type":1,"target":"x","arguments":[],"headers":[]}`,
		`{"type":1,"target":"x","arguments":[],"invocationId":null}`, `{"type":1,"target":"x","arguments":[],"invocationId":7}`,
		`{"type":4,"target":"x","arguments":[]}`, `{"type":2}`, `{"type":3}`, `{"type":5}`, `{"type":7,"error":1}`,
		`{"type":6,"x":` + nested(64) + `}`, `{"type":6,"x":"\q"}`,
	} {
		_, err := signalr.Parse([]byte(record))
		assert.Error(t, err, record)
	}
	_, err := signalr.Parse([]byte(`{"type":6,"x":"` + strings.Repeat("[", 100) + `\"[["}`))
	assert.NoError(t, err, "brackets of a text nest nothing")
}

func TestArgumentsAreTextsOrNull(t *testing.T) {
	t.Parallel()
	for argument, want := range map[string]struct {
		value    string
		null, ok bool
	}{
		`"a\u00e9\n"`: {value: "aé\n", ok: true},
		`"\ud83d"`:    {value: "\uFFFD", ok: true},
		`null`:        {null: true, ok: true},
		`5`:           {}, `true`: {}, `{}`: {}, `[]`: {},
	} {
		value, null, ok := signalr.Text(jsontext.Value(argument))
		assert.Equal(t, want.ok, ok, argument)
		assert.Equal(t, want.null, null, argument)
		assert.Equal(t, want.value, value, argument)
	}
}

func TestIntegersAreOf32BitsAndWrittenAsSuch(t *testing.T) {
	t.Parallel()
	for argument, want := range map[string]int{"3": 3, "-1": -1, "0": 0, "-0": 0, "2147483647": math.MaxInt32, "-2147483648": math.MinInt32} {
		value, ok := signalr.Integer(jsontext.Value(argument))
		assert.True(t, ok, argument)
		assert.Equal(t, want, value)
	}
	for _, argument := range []string{"2147483648", "-2147483649", "99999999999", "3.0", "3.5", "3e0", `"3"`, "null", "true", "[3]", "{}"} {
		_, ok := signalr.Integer(jsontext.Value(argument))
		assert.False(t, ok, argument)
	}
}

func TestWhatIsWritten(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	signalr.WriteHandshake(&b, "")
	signalr.WriteHandshake(&b, `a "b"`)
	signalr.WritePing(&b)
	signalr.WriteCompletion(&b, `"0"`, "")
	signalr.WriteCompletion(&b, "1", signalr.NoStreams("X", 2))
	require.NoError(t, signalr.WriteInvocation(&b, "ReceiveMessage", map[string]string{"message": "<é> & 'x'\u0007\x1e\xff"}))
	require.Error(t, signalr.WriteInvocation(&b, "ReceiveMessage", math.NaN()), "and nothing is left of it")
	assert.Equal(t, []string{
		`{}`, `{"error":"a \"b\""}`, `{"type":6}`, `{"type":3,"invocationId":"\"0\"","result":null}`,
		`{"type":3,"invocationId":"1","error":"An unexpected error occurred invoking 'X' on the server. HubException: Client sent 2 stream(s), Hub method expects 0."}`,
		`{"type":1,"target":"ReceiveMessage","arguments":[{"message":"<é> & 'x'\u0007\u001e` + "\uFFFD" + `"}]}`, "",
	}, strings.Split(b.String(), "\x1e"))
	b.Reset()
	signalr.WriteCompletion(&b, "\xff", "\xff")
	assert.True(t, json.Valid(bytes.TrimSuffix(b.Bytes(), []byte{signalr.Separator})))
	assert.Contains(t, b.String(), "\uFFFD")
}

func TestNegotiate(t *testing.T) {
	t.Parallel()
	for version, want := range map[string]string{
		"":                     `{"error":"The client requested a non-integer protocol version."}`,
		"abc":                  `{"error":"The client requested a non-integer protocol version."}`,
		"1.0":                  `{"error":"The client requested a non-integer protocol version."}`,
		"99999999999999999999": `{"error":"The client requested a non-integer protocol version."}`,
		"-1":                   `{"error":"The client requested version '-1', but the server does not support this version."}`,
		"0": `{"negotiateVersion":0,"connectionId":"token","availableTransports":` +
			`[{"transport":"WebSockets","transferFormats":["Text","Binary"]}]}`,
	} {
		got, err := signalr.Negotiate(version, true, "token")
		require.NoError(t, err)
		assert.JSONEq(t, want, string(got), version)
	}
	got, err := signalr.Negotiate("7", true, "token")
	require.NoError(t, err)
	var answer signalr.Negotiation
	require.NoError(t, json.Unmarshal(got, &answer))
	assert.Equal(t, 1, answer.Version)
	assert.Equal(t, "token", answer.Token)
	assert.Len(t, answer.ID, 22)
}
