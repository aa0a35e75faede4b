// Command demo plays two people through what the app does, with the app's cryptography, against any server: identities, a
// follow request, an event, a shared item, and the end of an account.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/liftlog/liftlog-api/shared/config"
	"github.com/liftlog/liftlog-api/shared/web"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	err := run(ctx, os.Args[1:], os.Stdout)
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, output io.Writer) error {
	flags := flag.NewFlagSet("demo", flag.ContinueOnError)
	flags.SetOutput(output)
	base := flags.String("url", "http://localhost:8080/v2", "the base URL")
	state := flags.String("state", "", "fill the environment with people who stay, and keep their ids and passwords in this file")
	clear := flags.Bool("clear", false, "remove the people of the --state file")
	flags.Usage = func() {
		_, _ = fmt.Fprintln(output, "usage: demo [--url BASE] [--state FILE [--clear]]\n\n"+
			"Plays two people through what the app does, or fills an environment with people. Not against production.")
		flags.PrintDefaults()
	}
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("%s is not understood: --help says what is", flags.Arg(0))
	}
	if *clear && *state == "" {
		return errors.New("--clear needs the --state file that says who is to be removed")
	}
	c := &client{base: strings.TrimSuffix(*base, "/")}
	if err := c.mayBePlayedWith(ctx); err != nil {
		return err
	}
	switch {
	case *clear:
		return clearAll(ctx, c, *state, output)
	case *state != "":
		return fill(ctx, c, *state, output)
	}
	return play(ctx, c, output)
}

// client speaks to the server as the app does.
type client struct{ base string }

// mayBePlayedWith asks the server for its environment, and refuses production and whatever does not tell.
func (c *client) mayBePlayedWith(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimSuffix(c.base, "/v2")+"/health", http.NoBody)
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		return fmt.Errorf("GET /health: %w", err)
	}
	_ = response.Body.Close()
	switch environment := config.Environment(response.Header.Get(web.EnvironmentHeader)); environment {
	case config.Development, config.Staging:
		return nil
	case config.Production:
		return errors.New("this is production: only development and staging may be played with")
	default:
		return errors.New("the server does not tell which environment it is, and it might be production")
	}
}

// requestTimeout bounds one request.
const requestTimeout = 30 * time.Second

// statusError is an answer other than 200.
type statusError struct{ status int }

func (e *statusError) Error() string { return fmt.Sprintf("status %d", e.status) }

// call sends in as JSON, if there is any, and reads the answer into out, unless that is nil.
func (c *client) call(ctx context.Context, method, path string, in, out any) error {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	var body io.Reader
	if in != nil {
		encoded, err := json.Marshal(in)
		if err != nil {
			return fmt.Errorf("%s %s: %w", method, path, err)
		}
		body = bytes.NewReader(encoded)
	}
	r, err := http.NewRequestWithContext(ctx, method, c.base+path, body)
	if err != nil {
		return fmt.Errorf("%s %s: %w", method, path, err)
	}
	r.Header.Set("Content-Type", "application/json")
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		return fmt.Errorf("%s %s: %w", method, path, err)
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("%s %s: %w", method, path, &statusError{response.StatusCode})
	}
	if out == nil {
		return nil
	}
	if err := json.NewDecoder(response.Body).Decode(out); err != nil {
		return fmt.Errorf("%s %s: %w", method, path, err)
	}
	return nil
}

// object is a JSON object.
type object map[string]any

// event is one that a follower reads.
type event struct {
	EventID               uuid.UUID `json:"eventId"`
	Timestamp             time.Time `json:"timestamp"`
	EncryptedEventPayload []byte    `json:"encryptedEventPayload"`
	EncryptedEventIV      []byte    `json:"encryptedEventIV"`
}

// feedResponse is the answer to a follower.
type feedResponse struct {
	Events               []event  `json:"events"`
	InvalidFollowSecrets []string `json:"invalidFollowSecrets"`
}

// play is the story. It ends at the first thing that is not as it should be.
func play(ctx context.Context, c *client, output io.Writer) error {
	ada, err := newPerson(ctx, c, "Ada")
	if err != nil {
		return err
	}
	bo, err := newPerson(ctx, c, "Bo")
	if err != nil {
		return err
	}
	say := func(format string, args ...any) { _, _ = fmt.Fprintf(output, format+"\n", args...) }
	say("Ada (%s) and Bo (%s) have accounts.", ada.Lookup, bo.Lookup)

	// Bo finds Ada by the lookup in her link, and asks to follow her.
	adasKey, err := bo.findKey(ctx, c, ada.Lookup)
	if err != nil {
		return err
	}
	request := followMessage{Kind: "request", FromID: bo.ID}
	if err := bo.send(ctx, c, ada.ID, adasKey, request); err != nil {
		return err
	}
	got, err := ada.receive(ctx, c)
	if err != nil {
		return err
	}
	if len(got) != 1 || got[0] != request {
		return errors.New("the follow request did not arrive as it was sent")
	}
	say("Bo has asked to follow Ada.")

	// Ada accepts: she stores a secret, and sends it to Bo with the key of her feed.
	secret := uuid.NewString()
	if err := c.call(ctx, http.MethodPut, "/follow-secret", ada.signed(object{"followSecret": secret}), nil); err != nil {
		return err
	}
	bosKey, err := ada.findKey(ctx, c, bo.ID.String())
	if err != nil {
		return err
	}
	acceptance := followMessage{Kind: "acceptance", FromID: ada.ID, Secret: secret, Key: string(encodeKey(ada.key))}
	if err := ada.send(ctx, c, bo.ID, bosKey, acceptance); err != nil {
		return err
	}
	if got, err = bo.receive(ctx, c); err != nil {
		return err
	}
	if len(got) != 1 || got[0] != acceptance {
		return errors.New("the acceptance did not arrive as it was sent")
	}
	feedKey, err := decodeKey(got[0].Key)
	if err != nil {
		return err
	}
	say("Ada has accepted.")

	// Ada publishes, Bo reads, decrypts and verifies.
	const workout = `{"name":"Leg day","sets":[{"exercise":"Squat","reps":5,"kilograms":100}]}`
	if err := ada.publish(ctx, c, workout); err != nil {
		return err
	}
	follow := object{"users": []object{{"userId": ada.ID, "followSecret": got[0].Secret, "since": "2000-01-01T00:00:00Z"}}}
	var read feedResponse
	if err := c.call(ctx, http.MethodPost, "/events", follow, &read); err != nil {
		return err
	}
	if len(read.Events) != 1 || len(read.InvalidFollowSecrets) != 0 {
		return errors.New("the event did not arrive")
	}
	text, err := openSealed(feedKey, adasKey, read.Events[0].EncryptedEventIV, read.Events[0].EncryptedEventPayload)
	if err != nil {
		return err
	}
	if text != workout {
		return errors.New("the event is not what was published")
	}
	say("Ada has published a workout, and Bo has read it and checked that it is hers.")

	// Ada takes the secret back.
	if err := c.call(ctx, http.MethodPost, "/follow-secret/delete", ada.signed(object{"followSecret": secret}), nil); err != nil {
		return err
	}
	if err := c.call(ctx, http.MethodPost, "/events", follow, &read); err != nil {
		return err
	}
	if len(read.Events) != 0 || len(read.InvalidFollowSecrets) != 1 || read.InvalidFollowSecrets[0] != secret {
		return errors.New("the secret that was taken back still counts")
	}
	say("Ada has revoked Bo's access.")

	if err := shareItem(ctx, c, ada, workout); err != nil {
		return err
	}
	say("Ada has shared the workout by a link, and a stranger has read it.")

	for _, p := range []*person{ada, bo} {
		if err := p.leave(ctx, c); err != nil {
			return err
		}
	}
	say("Both have deleted their accounts, and nothing of theirs is found.")
	return nil
}

// shareItem stores an item under a key of its own, which only the link holds, and reads it as a stranger would.
func shareItem(ctx context.Context, c *client, owner *person, text string) error {
	key := newKey()
	iv, sealed, err := seal(key, owner.rsa, text)
	if err != nil {
		return err
	}
	item := object{
		"encryptedPayload": object{"encryptedPayload": sealed, "iv": object{"value": iv}},
		"expiry":           time.Now().Add(24 * time.Hour),
	}
	var created struct {
		ID string `json:"id"`
	}
	if err := c.call(ctx, http.MethodPost, "/shareditem", owner.signed(item), &created); err != nil {
		return err
	}
	owner.sharedItem = created.ID
	var shared struct {
		RSAPublicKey struct {
			SPKIPublicKeyBytes []byte `json:"spkiPublicKeyBytes"`
		} `json:"rsaPublicKey"`
		EncryptedPayload struct {
			EncryptedPayload []byte `json:"encryptedPayload"`
			IV               struct {
				Value []byte `json:"value"`
			} `json:"iv"`
		} `json:"encryptedPayload"`
	}
	if err := c.call(ctx, http.MethodGet, "/shareditem/"+created.ID, nil, &shared); err != nil {
		return err
	}
	public, err := parsePublicKey(shared.RSAPublicKey.SPKIPublicKeyBytes)
	if err != nil {
		return err
	}
	got, err := openSealed(key, public, shared.EncryptedPayload.IV.Value, shared.EncryptedPayload.EncryptedPayload)
	if err != nil {
		return err
	}
	if got != text {
		return errors.New("the shared item is not what was shared")
	}
	return nil
}

// expectNotFound turns the failure that is expected into success.
func expectNotFound(err error) error {
	if e, ok := errors.AsType[*statusError](err); ok && e.status == http.StatusNotFound {
		return nil
	}
	if err == nil {
		return errors.New("the answer is 200 and not 404")
	}
	return err
}
