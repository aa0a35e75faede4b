package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"time"

	"github.com/google/uuid"

	"github.com/liftlog/liftlog-api/shared/web"
)

const (
	// requestTime bounds one request. A service may have to start for it, whose first connection to the database can take a
	// minute.
	requestTime = 90 * time.Second
	// leaveTime bounds the removal of the account when a run is ended in its middle.
	leaveTime = 20 * time.Second
	// maxAnswer bounds what is read of an answer, in bytes.
	maxAnswer = 1 << 20
)

// story is one user's way through all routes below one prefix.
type story struct {
	client      *http.Client
	base        string
	prefix      string
	environment string // that GET /health has to name; empty: any

	user struct {
		ID       string `json:"id"`
		Lookup   string `json:"lookup"`
		Password string `json:"password"`
	}
	shared string // the item's id
}

// step is one request and what has to come of it.
type step struct {
	name string
	do   func(context.Context) error
}

// object is a JSON object.
type object map[string]any

// What the story stores; to the server all of it is ciphertext.
var (
	text   = []byte("a smoke test") // twelve bytes, so that base64 needs no padding, which some encoders escape
	vector = []byte("sixteen bytes iv")
)

// steps are in the order in which they are taken. What a step says names the request that fails.
func (s *story) steps() (all []step) {
	event, secret := uuid.NewString(), uuid.NewString()
	add := func(request string, do func(context.Context) error) { all = append(all, step{request, do}) }
	// send is a step whose request is built when its turn comes, as most need what earlier ones were answered.
	send := func(method, path string, body func() object, check func(answer []byte) error) {
		add(method+" "+s.prefix+path, func(ctx context.Context) error {
			if s.user.ID == "" {
				return errNoAccount
			}
			answer, err := s.request(ctx, method, s.prefix+path, body(), http.StatusOK)
			if err != nil || check == nil {
				return err
			}
			return check(answer)
		})
	}
	refused := func(method, path string, body object, status int) {
		add(method+" "+s.prefix+path, func(ctx context.Context) error {
			_, err := s.request(ctx, method, s.prefix+path, body, status)
			return err
		})
	}

	if s.prefix != "" {
		add(connecting, s.connect)
		add("GET /health", s.health)
		refused(http.MethodGet, "/no-such-path", nil, http.StatusMisdirectedRequest)
	}
	add("POST "+s.prefix+"/user/create", s.create)
	send(http.MethodPut, "/user", func() object {
		return object{
			"id": s.user.ID, "password": s.user.Password, "encryptedName": text, "encryptedCurrentPlan": text, "encryptedProfilePicture": nil,
			"encryptionIV": vector, "rsaPublicKey": text,
		}
	}, nil)
	add("GET "+s.prefix+"/user/{id}", func(ctx context.Context) error { return s.find(ctx, s.user.ID) })
	add("GET "+s.prefix+"/user/{lookup}", func(ctx context.Context) error { return s.find(ctx, s.user.Lookup) })
	send(http.MethodPost, "/users", func() object { return object{"ids": []string{s.user.ID}} }, s.holds(s.userID))
	send(http.MethodPut, "/follow-secret", func() object { return s.signed(object{"followSecret": secret}) }, nil)
	send(http.MethodPut, "/event", func() object {
		return s.signed(object{"eventId": event, "encryptedEventPayload": text, "encryptedEventIV": vector, "expiry": time.Now().Add(time.Hour)})
	}, nil)
	follow := func() object {
		return object{"users": []object{{"userId": s.user.ID, "followSecret": secret, "since": "2000-01-01T00:00:00Z"}}}
	}
	send(http.MethodPost, "/events", follow, s.holds(func() string { return event }))
	send(http.MethodPost, "/follow-secret/delete", func() object { return s.signed(object{"followSecret": secret}) }, nil)
	send(http.MethodPut, "/inbox", func() object { return object{"toUserId": s.user.ID, "encryptedMessage": [][]byte{text}} }, nil)
	send(http.MethodPost, "/inbox", func() object { return s.signed(nil) }, s.holds(func() string { return base64.StdEncoding.EncodeToString(text) }))
	send(http.MethodPost, "/shareditem", func() object {
		return s.signed(object{
			"encryptedPayload": object{"encryptedPayload": text, "iv": object{"value": vector}}, "expiry": time.Now().Add(time.Hour),
		})
	}, s.keepShared)
	add("GET "+s.prefix+"/shareditem/{id}", s.findShared)
	// Without a purchase none of these comes as far as the model.
	refused(http.MethodPost, "/ai/workout", object{}, http.StatusUnauthorized)
	refused(http.MethodPost, "/ai/session", object{}, http.StatusUnauthorized)
	refused(http.MethodPost, "/ai-chat/negotiate", nil, http.StatusUnauthorized)
	refused(http.MethodPost, "/ai-chat-v2/negotiate", nil, http.StatusUnauthorized)
	add("POST "+s.prefix+"/user/delete", func(ctx context.Context) error { return s.remove(ctx, s.prefix) })
	return all
}

// connecting is the step without which no other makes sense.
const connecting = "connect, by a certificate that is valid"

func (s *story) connect(ctx context.Context) error {
	_, err := s.send(ctx, http.MethodGet, "/health", nil)
	return err
}

var errNoAccount = errors.New("there is no account to try it with")

func (s *story) health(ctx context.Context) error {
	got, err := s.send(ctx, http.MethodGet, "/health", nil)
	switch {
	case err != nil:
		return err
	case got.status != http.StatusOK:
		return fmt.Errorf("status %d and not 200", got.status)
	case string(got.body) != "healthy":
		return errors.New("the answer is not healthy")
	}
	if got := got.header.Get(web.EnvironmentHeader); s.environment != "" && got != s.environment {
		return fmt.Errorf("it is the environment %q and not %q", got, s.environment)
	}
	return nil
}

func (s *story) create(ctx context.Context) error {
	answer, err := s.request(ctx, http.MethodPost, s.prefix+"/user/create", object{}, http.StatusOK)
	if err != nil {
		return err
	}
	if json.Unmarshal(answer, &s.user) != nil || s.user.ID == "" || s.user.Lookup == "" || s.user.Password == "" {
		return errors.New("the answer is no account")
	}
	return nil
}

func (s *story) userID() string { return s.user.ID }

// signed is a request that proves who sends it.
func (s *story) signed(request object) object {
	whole := object{"userId": s.user.ID, "password": s.user.Password}
	maps.Copy(whole, request)
	return whole
}

// holds checks that the answer contains the text, which is too long to be there by chance.
func (s *story) holds(want func() string) func([]byte) error {
	return func(answer []byte) error {
		if !bytes.Contains(answer, []byte(want())) {
			return errors.New("the answer lacks what was stored")
		}
		return nil
	}
}

// find reads the profile by the user's id or lookup.
func (s *story) find(ctx context.Context, idOrLookup string) error {
	if idOrLookup == "" {
		return errNoAccount
	}
	answer, err := s.request(ctx, http.MethodGet, s.prefix+"/user/"+idOrLookup, nil, http.StatusOK)
	if err != nil {
		return err
	}
	return s.holds(func() string { return base64.StdEncoding.EncodeToString(text) })(answer)
}

func (s *story) keepShared(answer []byte) error {
	var created struct {
		ID string `json:"id"`
	}
	if json.Unmarshal(answer, &created) != nil || created.ID == "" {
		return errors.New("the answer has no id")
	}
	s.shared = created.ID
	return nil
}

func (s *story) findShared(ctx context.Context) error {
	if s.shared == "" {
		return errors.New("there is no item to read")
	}
	answer, err := s.request(ctx, http.MethodGet, s.prefix+"/shareditem/"+s.shared, nil, http.StatusOK)
	if err != nil {
		return err
	}
	return s.holds(func() string { return base64.StdEncoding.EncodeToString(text) })(answer)
}

// remove deletes the account and makes sure that it is gone.
func (s *story) remove(ctx context.Context, prefix string) error {
	if s.user.ID == "" {
		return errNoAccount
	}
	account := object{"id": s.user.ID, "password": s.user.Password}
	if _, err := s.request(ctx, http.MethodPost, prefix+"/user/delete", account, http.StatusOK); err != nil {
		return err
	}
	id := s.user.ID
	s.user.ID = ""
	_, err := s.request(ctx, http.MethodGet, prefix+"/user/"+id, nil, http.StatusNotFound)
	if err != nil {
		return fmt.Errorf("the user is found afterwards: %w", err)
	}
	return nil
}

// leave removes what an interrupted or failed run has left, by the other kind of path if its own fails.
func (s *story) leave(ctx context.Context) error {
	if s.user.ID == "" {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), leaveTime)
	defer cancel()
	var failed error
	for _, prefix := range []string{"/v2", ""} {
		if err := s.remove(ctx, prefix); err != nil && s.user.ID != "" {
			failed = err
			continue
		}
		return nil
	}
	return fmt.Errorf("the account %s could not be deleted and is left: %w", s.user.ID, failed)
}

// request sends what it is given, if that is anything, as JSON, and wants the status.
func (s *story) request(ctx context.Context, method, path string, request object, status int) (body []byte, err error) {
	got, err := s.send(ctx, method, path, request)
	if err != nil {
		return nil, err
	}
	if got.status != status {
		return nil, fmt.Errorf("status %d and not %d", got.status, status)
	}
	return got.body, nil
}

// answer is what came of a request.
type answer struct {
	status int
	header http.Header
	body   []byte
}

func (s *story) send(ctx context.Context, method, path string, body object) (got answer, err error) {
	ctx, cancel := context.WithTimeout(ctx, requestTime)
	defer cancel()
	var content io.Reader = http.NoBody
	if body != nil {
		sent, err := json.Marshal(body)
		if err != nil {
			return got, err
		}
		content = bytes.NewReader(sent)
	}
	r, err := http.NewRequestWithContext(ctx, method, s.base+path, content)
	if err != nil {
		return got, err
	}
	if body != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	response, err := s.client.Do(r)
	if err != nil {
		return got, cause(err)
	}
	defer func() { _ = response.Body.Close() }()
	got = answer{status: response.StatusCode, header: response.Header}
	if got.body, err = io.ReadAll(io.LimitReader(response.Body, maxAnswer)); err != nil {
		return got, fmt.Errorf("read the answer: %w", cause(err))
	}
	return got, nil
}

// cause leaves out the request, which the step's name tells already, and whose path holds an id.
func cause(err error) error {
	if e, ok := errors.AsType[*url.Error](err); ok {
		return e.Err
	}
	return err
}
