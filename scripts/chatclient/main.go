// Command chatclient talks with the chat service in a terminal, over the hub of today's app or that of older ones. What a
// person types is sent as a message, the answer is printed while it is being written, and a plan as a table. Ctrl-C stops an
// answer, or ends the program when there is none.
package main

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/signal"
	"strings"
	"time"

	"github.com/gorilla/websocket"
)

func main() {
	older := flag.Bool("older", false, "speak as older apps do, at /ai-chat, and not as today's, at /ai-chat-v2")
	locale := flag.String("locale", "en-AU", "the language and country to be introduced in")
	unit := flag.String("unit", "kg", "the unit of weights, kg or lbs, which only today's app says")
	flag.Parse()
	h := today(*unit)
	if *older {
		h = hubOfOlderApps
	}
	base := cmp.Or(flag.Arg(0), "http://localhost:8080")
	token := cmp.Or(os.Getenv("CHAT_TOKEN"), "Web test-web-auth-key-12345")
	if err := run(context.Background(), h, base, token, *locale); err != nil {
		fmt.Fprintln(os.Stderr, "chat:", err)
		os.Exit(1)
	}
}

// hub holds what differs between the two hubs.
type hub struct {
	path      string
	introduce func(locale string) []any // the arguments
	send      func(message string) []any
	parse     func(argument []byte) (response, error) // of ReceiveMessage
}

// response is what ReceiveMessage delivers: a text, a plan, or the news that this program is too old.
type response struct {
	message  string
	plan     plan // nil: none
	required int  // the version of plans that a client has to know; 0: this one is not too old
}

// plan is one that can be drawn, whole or as far as it has come.
type plan interface {
	summary() string // in one line
	draw(w io.Writer)
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

func run(ctx context.Context, h hub, base, token, locale string) error {
	socket, err := connect(ctx, strings.TrimSuffix(base, "/")+h.path, token)
	if err != nil {
		return err
	}
	defer func() { _ = socket.Close() }()
	c := &chat{socket: socket, hub: h}
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
	if err := c.call("Introduce", h.introduce(locale)); err != nil {
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
				restart := record{Type: invocation, Target: "RestartChat", Arguments: []json.RawMessage{}}
				err = errors.Join(c.send(restart), c.call("Introduce", h.introduce(locale)))
			case line != "":
				err = c.call("SendMessage", h.send(line))
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
	hub       hub
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
	if r.Type == invocation && len(r.Arguments) == 0 { // they may be empty, but not absent
		text = []byte(strings.TrimSuffix(string(text), "}") + `,"arguments":[]}`)
	}
	return c.write(string(text))
}

// call asks for an answer.
func (c *chat) call(method string, arguments []any) error {
	r := record{Type: invocation, InvocationID: "0", Target: method}
	for _, argument := range arguments {
		text, err := json.Marshal(argument)
		if err != nil {
			return err
		}
		r.Arguments = append(r.Arguments, text)
	}
	c.answering, c.shown, c.last = true, "", nil
	return c.send(r)
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
		step, err := c.hub.parse(r.Arguments[0])
		if err != nil {
			fmt.Println("(a message that this program cannot read)")
			return
		}
		c.showStep(&step)
	case r.Type == completion && c.answering:
		fmt.Println()
		if c.last != nil && c.last.plan != nil {
			c.last.plan.draw(os.Stdout)
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

// showStep prints how far an answer has come.
func (c *chat) showStep(step *response) {
	c.last = step
	switch {
	case step.required > 0:
		fmt.Printf("The chat makes plans of version %d, and this program knows %d.", step.required, planVersion)
	case step.plan != nil:
		if c.shown != "" { // a text goes before it
			fmt.Println()
			c.shown = ""
		}
		fmt.Printf("\r%s", step.plan.summary())
	default:
		if !strings.HasPrefix(step.message, c.shown) {
			fmt.Println()
			c.shown = ""
		}
		fmt.Print(step.message[len(c.shown):])
		c.shown = step.message
	}
}
