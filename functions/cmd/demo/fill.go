package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"

	"github.com/google/uuid"
)

// cast are the people that fill an environment, the same each time: whom they follow, whom they have asked and are not answered
// by, what they have published and what they share.
var cast = []struct {
	name      string
	follows   []string
	asks      []string
	published []string
	shared    string
}{
	{
		name: "Ada", follows: []string{"Bo", "Cleo"}, asks: []string{"Dara"},
		published: []string{
			`{"name":"Leg day","sets":[{"exercise":"Squat","reps":5,"kilograms":100}]}`,
			`{"name":"Back","sets":[{"exercise":"Deadlift","reps":5,"kilograms":120}]}`,
		},
		shared: `{"name":"Five by five","sessions":3}`,
	},
	{
		name: "Bo", follows: []string{"Ada"},
		published: []string{`{"name":"Push","sets":[{"exercise":"Bench press","reps":8,"kilograms":60}]}`},
	},
	{
		name: "Cleo", follows: []string{"Ada", "Bo"}, asks: []string{"Dara"},
		published: []string{`{"name":"Run","minutes":30}`},
		shared:    `{"name":"Couch to ten","sessions":30}`,
	},
	{name: "Dara", asks: []string{"Bo"}},
}

// stateFile is what is kept of the people, to remove them or to be them in an app.
type stateFile struct {
	Base   string    `json:"base"`
	People []*person `json:"people"`
}

// save writes the file at once, for nobody else to read.
func (s stateFile) save(path string) error {
	text, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return err
	}
	file, err := os.CreateTemp(filepath.Dir(path), ".demo-*") // made with mode 0600
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(file.Name()) }() // renamed when all went well
	_, err = file.Write(append(text, '\n'))
	if err := errors.Join(err, file.Close()); err != nil {
		return err
	}
	return os.Rename(file.Name(), path)
}

// fill makes the cast and what they have done. The file grows with each account, so that all can be removed whatever happens.
func fill(ctx context.Context, c *client, path string, output io.Writer) error {
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("%s is there already: remove the people in it by --clear first, or name another file", path)
	}
	state := stateFile{Base: c.base}
	people := map[string]*person{}
	for _, role := range cast {
		p, err := newAccount(ctx, c, role.name)
		if err != nil {
			return err
		}
		state.People = append(state.People, p)
		if err := state.save(path); err != nil {
			return fmt.Errorf("the account %s could not be noted: %w", p.ID, err)
		}
		if err := p.introduce(ctx, c); err != nil {
			return err
		}
		people[role.name] = p
	}
	for _, role := range cast {
		p := people[role.name]
		for _, text := range role.published {
			if err := p.publish(ctx, c, text); err != nil {
				return err
			}
		}
		if role.shared != "" {
			if err := shareItem(ctx, c, p, role.shared); err != nil {
				return err
			}
		}
		for _, name := range role.follows {
			if err := follow(ctx, c, p, people[name]); err != nil {
				return fmt.Errorf("%s follows %s: %w", role.name, name, err)
			}
		}
	}
	// The unanswered ones come last, as each answer empties an inbox.
	for _, role := range cast {
		for _, name := range role.asks {
			if err := ask(ctx, c, people[role.name], people[name]); err != nil {
				return fmt.Errorf("%s asks %s: %w", role.name, name, err)
			}
		}
	}
	_, _ = fmt.Fprintf(output, "%d people are there; %s says who, and --clear removes them.\n", len(cast), path)
	return nil
}

// ask leaves a request to follow.
func ask(ctx context.Context, c *client, who, whom *person) error {
	key, err := who.findKey(ctx, c, whom.Lookup)
	if err != nil {
		return err
	}
	return who.send(ctx, c, whom.ID, key, followMessage{Kind: "request", FromID: who.ID})
}

// follow is a request with its answer, both read.
func follow(ctx context.Context, c *client, who, whom *person) error {
	if err := ask(ctx, c, who, whom); err != nil {
		return err
	}
	if _, err := whom.receive(ctx, c); err != nil {
		return err
	}
	secret := uuid.NewString()
	if err := c.call(ctx, http.MethodPut, "/follow-secret", whom.signed(object{"followSecret": secret}), nil); err != nil {
		return err
	}
	key, err := whom.findKey(ctx, c, who.ID.String())
	if err != nil {
		return err
	}
	answer := followMessage{Kind: "acceptance", FromID: whom.ID, Secret: secret, Key: string(encodeKey(whom.key))}
	if err := whom.send(ctx, c, who.ID, key, answer); err != nil {
		return err
	}
	_, err = who.receive(ctx, c)
	return err
}

// clearAll removes the people of the file, and the file when all are gone. Somebody who is gone already is no fault.
func clearAll(ctx context.Context, c *client, path string, output io.Writer) error {
	text, err := os.ReadFile(path) //nolint:gosec // the caller's own
	if err != nil {
		return fmt.Errorf("nobody knows whom to remove: %w", err)
	}
	var state stateFile
	if err := json.Unmarshal(text, &state); err != nil {
		return fmt.Errorf("%s is not a file of this program's: %w", path, err)
	}
	if state.Base != c.base {
		return fmt.Errorf("the people of %s are at %s, and not at %s", path, state.Base, c.base)
	}
	removed := 0
	for _, p := range slices.Clone(state.People) {
		err := c.call(ctx, http.MethodPost, "/user/delete", object{"id": p.ID, "password": p.Password}, nil)
		if err != nil {
			if gone := expectNotFound(err); gone != nil {
				return fmt.Errorf("remove %s: %w", p.Name, gone)
			}
		}
		state.People = state.People[1:]
		removed++
		if err := state.save(path); err != nil {
			return err
		}
	}
	_, _ = fmt.Fprintf(output, "%d people are gone.\n", removed)
	return os.Remove(path)
}
