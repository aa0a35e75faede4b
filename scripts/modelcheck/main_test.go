package main

import (
	"bytes"
	"strings"
	"testing"

	"github.com/liftlog/liftlog-api/shared/planner/plannertest"
)

func TestWhatIsSaidOfServices(t *testing.T) {
	t.Parallel()
	good := `"Sessions":[{"Name":"A","Description":"","Exercises":[]}]`
	for name, c := range map[string]struct {
		options []plannertest.Option
		script  []plannertest.Reply
		environ []string
		want    []string
		works   bool
	}{
		"all works":                 {want: []string{"gpt-4o at http://", "plans of version 3", "works: all of it after", "the first of it after", "All of it works."}, works: true},
		"of a plain one":            {options: []plannertest.Option{plannertest.WithPlainProtocol()}, want: []string{"All of it works."}, works: true},
		"the newer name of tokens":  {options: []plannertest.Option{plannertest.WithRefused("max_tokens")}, want: []string{"the service says: unsupported parameter: 'max_tokens'", "It works with MODEL_FEATURES=max_completion_tokens,response_format,tool_choice."}},
		"no format":                 {options: []plannertest.Option{plannertest.WithRefused("response_format")}, want: []string{"It works with MODEL_FEATURES=tool_choice."}},
		"too much of OpenAI's":      {options: []plannertest.Option{plannertest.WithPlainProtocol()}, environ: []string{"MODEL_FEATURES=all"}, want: []string{"extra inputs", "It works with MODEL_FEATURES=response_format,tool_choice."}},
		"no key":                    {options: []plannertest.Option{plannertest.WithKey("k")}, want: []string{"status 401", "OPENAI_API_KEY: the service does not accept it"}},
		"no tools":                  {options: []plannertest.Option{plannertest.WithRefused("tools")}, want: []string{"works: all of it", "No other setting that was tried helps."}},
		"nothing there":             {environ: []string{"OPENAI_BASE_URL=http://127.0.0.1:1/v1"}, want: []string{"connection refused", "OPENAI_BASE_URL: nothing answers there."}},
		"another path":              {script: []plannertest.Reply{{Status: 404}}, want: []string{"OPENAI_MODEL or OPENAI_BASE_URL: the service does not know the model"}},
		"too few tokens":            {script: []plannertest.Reply{{Text: `{`, Finish: "length"}}, want: []string{"limit of tokens", "MODEL_MAX_TOKENS: more than 16000 are needed"}},
		"words in place of a plan":  {script: []plannertest.Reply{{Text: message}, {Text: "First, tell me more."}}, want: []string{"the model answered in words", "add strict"}},
		"what does not fit at all":  {script: []plannertest.Reply{{Text: good}, {Text: good}}, want: []string{"does not fit what was asked for", "add strict"}},
		"a service that is no good": {script: []plannertest.Reply{{Status: 500}, {Status: 500}, {Status: 500}}, want: []string{"status 500", "The service itself fails."}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server, err := plannertest.Start(append(c.options, plannertest.WithPace(0, 100))...)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(server.Close)
			server.Script(c.script...)
			var output bytes.Buffer
			err = run(t.Context(), append([]string{"OPENAI_BASE_URL=" + server.URL(), "OPENAI_API_KEY=x"}, c.environ...), &output)
			if (err == nil) != c.works {
				t.Errorf("error %v", err)
			}
			for _, want := range c.want {
				if !strings.Contains(output.String(), want) {
					t.Errorf("%q is not in:\n%s", want, output.String())
				}
			}
		})
	}
}

const message = `{"Response":{"type":"messageResponse","Message":"Hello."}}`
