// Command chatclient talks with the chat service in a terminal. What a person types is sent as a message, the answer is
// printed while it is being written, and a plan as a table. Ctrl-C stops an answer, or ends the program when there is none.
package main

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/signal"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/gorilla/websocket"
)

func main() {
	base := "http://localhost:8080"
	if len(os.Args) > 1 {
		base = os.Args[1]
	}
	if err := run(context.Background(), base, cmp.Or(os.Getenv("CHAT_TOKEN"), "Web test-web-auth-key-12345")); err != nil {
		fmt.Fprintln(os.Stderr, "chat:", err)
		os.Exit(1)
	}
}

// separator ends every record of SignalR's.
const separator = "\x1e"

// record is one of SignalR's JSON protocol.
type record struct {
	Type         int               `json:"type"`
	InvocationID string            `json:"invocationId,omitempty"`
	Target       string            `json:"target,omitempty"`
	Arguments    []json.RawMessage `json:"arguments,omitempty"`
	Error        string            `json:"error,omitempty"`
}

// The types of records that are looked at.
const (
	invocation = 1
	completion = 3
	ping       = 6
	closing    = 7
)

// response is what ReceiveMessage brings: a text, or a plan.
type response struct {
	Message string `json:"message"`
	Plan    *plan  `json:"plan"`
}

type plan struct {
	Name        string `json:"name"`
	Description string `json:"description"`
	Sessions    []struct {
		Name      string `json:"name"`
		Notes     string `json:"notes"`
		Exercises []struct {
			Name     string  `json:"name"`
			Sets     int     `json:"sets"`
			Reps     int     `json:"repsPerSet"`
			Increase float64 `json:"weightIncreaseOnSuccess"`
			Rest     struct {
				Min string `json:"minRest"`
				Max string `json:"maxRest"`
			} `json:"restBetweenSets"`
			Notes string `json:"notes"`
		} `json:"exercises"`
	} `json:"sessions"`
}

func run(ctx context.Context, base, token string) error {
	socket, err := connect(ctx, strings.TrimSuffix(base, "/")+"/ai-chat", token)
	if err != nil {
		return err
	}
	defer func() { _ = socket.Close() }()
	c := &chat{socket: socket}
	if err := c.write(`{"protocol":"json","version":1}`); err != nil {
		return err
	}
	records, failed := make(chan record), make(chan error, 1)
	go func() { failed <- c.read(records) }()
	lines := make(chan string)
	go readLines(os.Stdin, lines)
	interrupts := make(chan os.Signal, 1)
	signal.Notify(interrupts, os.Interrupt)
	pings := time.NewTicker(15 * time.Second)
	defer pings.Stop()

	fmt.Println("Type a message; /restart forgets the conversation, /quit ends it. Ctrl-C stops an answer.")
	if err := c.call("Introduce", "en-AU"); err != nil {
		return err
	}
	for {
		input := lines
		if c.answering { // what is typed meanwhile waits
			input = nil
		}
		select {
		case r := <-records:
			c.show(r)
		case err := <-failed:
			return err
		case <-pings.C:
			err = c.send(record{Type: ping})
		case <-interrupts:
			if !c.answering {
				return c.send(record{Type: closing})
			}
			err = c.send(record{Type: invocation, Target: "StopInProgress", Arguments: []json.RawMessage{}})
		case line, more := <-input:
			switch {
			case !more || line == "/quit":
				return c.send(record{Type: closing})
			case line == "/restart":
				err = errors.Join(c.send(record{Type: invocation, Target: "RestartChat", Arguments: []json.RawMessage{}}), c.call("Introduce", "en-AU"))
			case line != "":
				err = c.call("SendMessage", line)
			default:
				fmt.Print("> ")
			}
		}
		if err != nil {
			return err
		}
	}
}

func readLines(from io.Reader, to chan<- string) {
	defer close(to)
	scanner := bufio.NewScanner(from)
	for scanner.Scan() {
		to <- strings.TrimSpace(scanner.Text())
	}
}

// connect negotiates and opens the websocket.
func connect(ctx context.Context, hub, token string) (*websocket.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	header := http.Header{"Authorization": {"Bearer " + token}}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, hub+"/negotiate?negotiateVersion=1", nil)
	if err != nil {
		return nil, err
	}
	r.Header = header
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		return nil, err
	}
	defer func() { _ = answer.Body.Close() }()
	var negotiated struct{ ConnectionToken, Error string }
	if err := json.NewDecoder(io.LimitReader(answer.Body, 1<<20)).Decode(&negotiated); answer.StatusCode == http.StatusOK && err != nil {
		return nil, err
	}
	if answer.StatusCode != http.StatusOK || negotiated.ConnectionToken == "" {
		return nil, fmt.Errorf("negotiate: %s %s", answer.Status, negotiated.Error)
	}
	address := "ws" + strings.TrimPrefix(hub, "http") + "?id=" + url.QueryEscape(negotiated.ConnectionToken)
	socket, answer, err := websocket.DefaultDialer.DialContext(ctx, address, header)
	if answer != nil {
		_ = answer.Body.Close()
	}
	return socket, err
}

// chat is one connection with the answer that is being shown.
type chat struct {
	socket    *websocket.Conn
	answering bool
	shown     string    // of a text under way
	last      *response // the newest step
}

func (c *chat) write(text string) error {
	return c.socket.WriteMessage(websocket.TextMessage, []byte(text+separator))
}

func (c *chat) send(r record) error {
	text, err := json.Marshal(r)
	if err != nil {
		return err
	}
	if r.Type == invocation && len(r.Arguments) == 0 { // they may be none, but not absent
		text = []byte(strings.TrimSuffix(string(text), "}") + `,"arguments":[]}`)
	}
	return c.write(string(text))
}

// call asks for an answer.
func (c *chat) call(method, argument string) error {
	text, err := json.Marshal(argument)
	if err != nil {
		return err
	}
	c.answering, c.shown, c.last = true, "", nil
	return c.send(record{Type: invocation, InvocationID: "0", Target: method, Arguments: []json.RawMessage{text}})
}

func (c *chat) read(records chan<- record) error {
	var rest string
	for {
		_, text, err := c.socket.ReadMessage()
		if err != nil {
			return fmt.Errorf("the connection is over: %w", err)
		}
		rest += string(text)
		for {
			one, more, whole := strings.Cut(rest, separator)
			if !whole {
				break
			}
			rest = more
			var r record
			if err := json.Unmarshal([]byte(one), &r); err != nil {
				return err
			}
			records <- r
		}
	}
}

// show prints what a record brings.
func (c *chat) show(r record) {
	switch {
	case r.Type == invocation && strings.EqualFold(r.Target, "ReceiveMessage") && len(r.Arguments) == 1:
		var step response
		if json.Unmarshal(r.Arguments[0], &step) != nil {
			return
		}
		c.last = &step
		if step.Plan != nil {
			fmt.Printf("\r%s: %d sessions", step.Plan.Name, len(step.Plan.Sessions))
			return
		}
		if !strings.HasPrefix(step.Message, c.shown) {
			fmt.Println()
			c.shown = ""
		}
		fmt.Print(step.Message[len(c.shown):])
		c.shown = step.Message
	case r.Type == completion && c.answering:
		fmt.Println()
		if c.last != nil && c.last.Plan != nil {
			c.last.Plan.draw(os.Stdout)
		}
		if r.Error != "" {
			fmt.Println("(" + r.Error + ")")
		}
		c.answering = false
		fmt.Print("> ")
	case r.Type == closing && r.Error != "":
		fmt.Println(r.Error)
	}
}

// draw prints the plan as a table.
func (p *plan) draw(output io.Writer) {
	_, _ = fmt.Fprintf(output, "\n%s\n%s\n", p.Name, p.Description)
	for _, s := range p.Sessions {
		_, _ = fmt.Fprintf(output, "\n%s – %s\n", s.Name, s.Notes)
		table := tabwriter.NewWriter(output, 0, 0, 2, ' ', 0)
		for _, e := range s.Exercises {
			_, _ = fmt.Fprintf(table, "  %s\t%d x %d\t+%g\trest %s to %s\t%s\n", e.Name, e.Sets, e.Reps, e.Increase, e.Rest.Min, e.Rest.Max, e.Notes)
		}
		_ = table.Flush()
	}
	_, _ = fmt.Fprintln(output)
}
