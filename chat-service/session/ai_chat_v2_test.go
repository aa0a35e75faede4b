package session

import (
	"bytes"
	"testing"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/liftlog/liftlog-api/chat-service/signalr"
	"github.com/liftlog/liftlog-api/shared/planner"
)

func TestStepsOfToday(t *testing.T) {
	t.Parallel()
	blueprint := `{"version":3,"z":1,"a":2.50,"n":1e400,"big":12345678901234567890,"sessions":[{"unknown":null,"text":"\u00e9\ud83d\udc4b\u2028 <&>"}],"":{}}`
	for want, step := range map[string]planner.BlueprintStep{
		`{"type":"messageResponse","message":"a"}`:                                    {Message: "a"},
		`{"type":"chatPlan","name":"","description":"","blueprint":null,"version":2}`: {Plan: &planner.BlueprintPlan{Version: 2}},
		`{"type":"chatPlan","name":"N","description":"D","blueprint":` + blueprint + `,"version":3}`: {
			Plan: &planner.BlueprintPlan{Name: "N", Description: "D", Blueprint: jsontext.Value(blueprint), Version: 3},
		},
	} {
		var b bytes.Buffer
		require.NoError(t, signalr.WriteInvocation(&b, receiveMessage, (&aiChatV2{}).form(step)))
		assert.Equal(t, `{"type":1,"target":"ReceiveMessage","arguments":[`+want+"]}\x1e", b.String(), "the order of members, too, and every digit")
	}
}

func TestArgumentsOfToday(t *testing.T) {
	t.Parallel()
	p := AIChatV2(3, nil)
	old := Question{Instead: updateRequired{"updateRequired", 3}}
	for _, test := range []struct {
		method    string
		arguments string
		want      Question
		bound, ok bool
	}{
		{"SendMessage", `["hello",3]`, Question{Text: "hello"}, true, true},
		{"SendMessage", `["",2147483647]`, Question{}, true, true},
		{"SendMessage", `["hello",2]`, old, true, true},
		{"SendMessage", `[null,-2147483648]`, old, true, true},
		{"SendMessage", `[null,3]`, Question{}, true, false},
		{"Introduce", `["de-DE",3,"kg"]`, Question{Introduction: true, Text: "de-DE", WeightUnit: "kg"}, true, true},
		{"Introduce", `["de-DE",3,null]`, Question{Introduction: true, Text: "de-DE"}, true, true},
		{"Introduce", `[null,3,"kg"]`, Question{}, true, false},
		{"Introduce", `[null,0,null]`, old, true, true},
		{method: "SendMessage", arguments: `[]`}, {method: "SendMessage", arguments: `["hello"]`}, {method: "SendMessage", arguments: `["hello",3,3]`},
		{method: "SendMessage", arguments: `["hello","3"]`}, {method: "SendMessage", arguments: `["hello",null]`}, {method: "SendMessage", arguments: `["hello",3.0]`},
		{method: "SendMessage", arguments: `["hello",3e0]`}, {method: "SendMessage", arguments: `["hello",2147483648]`}, {method: "SendMessage", arguments: `["hello",-2147483649]`},
		{method: "SendMessage", arguments: `["hello",[3]]`}, {method: "SendMessage", arguments: `["hello",{}]`}, {method: "SendMessage", arguments: `["hello",true]`},
		{method: "SendMessage", arguments: `[3,3]`}, {method: "SendMessage", arguments: `[["hello"],3]`}, {method: "SendMessage", arguments: `[3,"hello"]`},
		{method: "Introduce", arguments: `["de-DE",3]`}, {method: "Introduce", arguments: `["de-DE","kg",3]`}, {method: "Introduce", arguments: `["de-DE",3,5]`},
		{method: "RestartChat", arguments: `[3]`}, {method: "StopInProgress", arguments: `[null]`},
	} {
		method, known := find(p, test.method)
		require.True(t, known)
		m, err := signalr.Parse([]byte(`{"type":1,"target":"x","arguments":` + test.arguments + "}"))
		require.NoError(t, err)
		arguments, bound := bind(method.Parameters, m.Arguments)
		require.Equal(t, test.bound, bound, "%s%s", test.method, test.arguments)
		if !bound {
			continue
		}
		question, ok := method.Bind(arguments)
		assert.Equal(t, test.ok, ok, "%s%s", test.method, test.arguments)
		if ok {
			assert.Equal(t, test.want, question, "%s%s", test.method, test.arguments)
		}
	}
}
