package tests

import (
	"math"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// costLine is a row of a table of costs.
type costLine struct {
	item, unit string
	quantity   float64
	price      float64
	monthly    float64
}

// section is what stands under a heading.
type section struct {
	title string
	lines []costLine
	sum   float64
	facts map[string]float64 // of the table of one person
}

func number(t *testing.T, text string) float64 {
	t.Helper()
	value, err := strconv.ParseFloat(strings.Trim(strings.ReplaceAll(text, ",", ""), "* "), 64)
	require.NoError(t, err, text)
	return value
}

// readCosts reads the page of costs by its headings.
func readCosts(t *testing.T) map[string]*section {
	t.Helper()
	content, err := os.ReadFile(root + "/terraform/costs.md")
	require.NoError(t, err)
	sections := map[string]*section{}
	var at *section
	for line := range strings.Lines(string(content)) {
		line = strings.TrimSpace(line)
		if title := strings.TrimLeft(line, "# "); strings.HasPrefix(line, "##") {
			at = &section{title: title, facts: map[string]float64{}}
			sections[title] = at
		}
		cells := strings.Split(strings.Trim(line, "|"), "|")
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		switch {
		case !strings.HasPrefix(line, "| ") || strings.HasPrefix(line, "| ---") || strings.HasPrefix(line, "| item") || strings.HasPrefix(line, "| of one"):
		case len(cells) == 6 && cells[0] == "**sum**":
			at.sum = number(t, cells[5])
		case len(cells) == 6:
			at.lines = append(at.lines, costLine{cells[0], cells[1], number(t, cells[2]), number(t, cells[3]), number(t, cells[5])})
			require.Regexp(t, `https://cloud\.google\.com/.*(20\d\d-\d\d|not confirmed)`, cells[4], "%s: a source and a date", cells[0])
		case len(cells) == 3:
			at.facts[strings.Trim(cells[0], "* ")] = number(t, cells[2])
		}
	}
	return sections
}

func cents(value float64) float64 { return math.Round(value*100+1e-7) / 100 }

func (s *section) line(t *testing.T, item string) costLine {
	t.Helper()
	for _, line := range s.lines {
		if line.item == item {
			return line
		}
	}
	require.Fail(t, "no such line", "%s: %s", s.title, item)
	return costLine{}
}

func TestCostsAddUp(t *testing.T) {
	t.Parallel()
	sections := readCosts(t)
	for _, title := range []string{"dev", "staging", "production", "A light month: 1,000 people", "A busy month: 20,000 people"} {
		s := sections[title]
		require.NotNil(t, s, title)
		require.Greater(t, len(s.lines), 5, title)
		sum := 0.0
		for _, line := range s.lines {
			assert.InDelta(t, cents(line.quantity*line.price), line.monthly, 0.001, "%s: %s", title, line.item)
			sum += line.monthly
		}
		assert.InDelta(t, cents(sum), s.sum, 0.001, "%s: the sum", title)
	}
}

func TestMonthsFollowFromWhatPeopleDo(t *testing.T) {
	t.Parallel()
	sections := readCosts(t)
	facts := sections["What people add"].facts
	requests := facts["days a month with the app open"]*facts["requests when it is opened (events, inbox, users)"] +
		facts["sessions a month"]*facts["requests of a session (its event)"] + facts["profile changes a month"]
	require.InDelta(t, requests, facts["requests a month"], 0.001)
	seconds, kib, log := facts["instance time of a request, billed in tenths of a second"], facts["answer and question of a request"], facts["log line of a request"]
	for title, people := range map[string]float64{"A light month: 1,000 people": 1000, "A busy month: 20,000 people": 20000} {
		all := people * requests
		for item, want := range map[string]float64{
			"requests": all / 1e6, "functions, vCPU": all * seconds, "functions, memory (256 MiB)": all * seconds / 4, "load balancer, data": all * kib / (1 << 20),
			"to the internet": all * kib / (1 << 20), "Cloud Armor, requests": all / 1e6, "logs": all * log / (1 << 20),
		} {
			assert.InDelta(t, want, sections[title].line(t, item).quantity, 0.001, "%s: %s", title, item)
		}
	}
}

var customTier = regexp.MustCompile(`^db-custom-(\d+)-(\d+)$`)

// setting finds a value in a file of variables.
func setting(file, name, otherwise string) string {
	found := regexp.MustCompile(`(?m)^\s*` + name + `\s*=\s*"?([^"\s#]+)`).FindStringSubmatch(file)
	if found == nil {
		return otherwise
	}
	return found[1]
}

func TestCostsAreThoseOfTheEnvironments(t *testing.T) {
	t.Parallel()
	const hours = 730
	sections := readCosts(t)
	pages, err := filepath.Glob(root + "/terraform/runbooks/*.md")
	require.NoError(t, err)
	for _, name := range []string{"dev", "staging", "production"} {
		content, err := os.ReadFile(root + "/terraform/environments/" + name + ".tfvars")
		require.NoError(t, err)
		file, s := string(content), sections[name]
		times, suffix := 1.0, ""
		if setting(file, "high_availability", "false") == "true" {
			times, suffix = 2, ", twice for HA"
		}
		tier := setting(file, "tier", "")
		if parts := customTier.FindStringSubmatch(tier); parts != nil {
			assert.InDelta(t, times*hours*number(t, parts[1]), s.line(t, "database, vCPU"+suffix).quantity, 0.001, name)
			assert.InDelta(t, times*hours*number(t, parts[2])/1024, s.line(t, "database, memory"+suffix).quantity, 0.001, name)
		} else {
			assert.InDelta(t, hours, s.line(t, "database, "+tier).quantity, 0.001, name)
		}
		assert.InDelta(t, times*number(t, setting(file, "disk_gb", "10")), s.line(t, "database, disk"+suffix).quantity, 0.001, name)
		assert.InDelta(t, hours*3600, s.line(t, "chat, one instance that is always on, vCPU").quantity, 0.001, name)
		assert.InDelta(t, strings.Count(file, `= "latest"`), s.line(t, "secrets").quantity, 0.001, name)
		assert.InDelta(t, len(pages)-1, s.line(t, "alerts, conditions").quantity, 0.001, "%s: all but the budget's", name)
		budget := number(t, setting(file, `monthly_budget\s*=\s*\{ amount`, "0"))
		assert.Less(t, s.sum+sections["A busy month: 20,000 people"].sum, budget, "%s: the budget would be passed by what is planned", name)
	}
}
