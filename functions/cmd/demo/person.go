package main

import (
	"context"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"time"

	"github.com/google/uuid"
)

// person is somebody with an account and the keys to it.
type person struct {
	Name     string    `json:"name"`
	ID       uuid.UUID `json:"id"`
	Lookup   string    `json:"lookup"`
	Password string    `json:"password"`

	key        aesKey
	rsa        *rsa.PrivateKey
	sharedItem string
}

// newPerson makes an account with a profile, as the app does at its first start.
func newPerson(ctx context.Context, c *client, name string) (*person, error) {
	p, err := newAccount(ctx, c, name)
	if err != nil {
		return nil, err
	}
	return p, p.introduce(ctx, c)
}

// newAccount makes an account without a profile.
func newAccount(ctx context.Context, c *client, name string) (*person, error) {
	p := &person{Name: name, key: newKey()}
	var err error
	if p.rsa, err = newRSAKey(); err != nil {
		return nil, err
	}
	return p, c.call(ctx, http.MethodPost, "/user/create", object{}, p)
}

// introduce gives the account its profile.
func (p *person) introduce(ctx context.Context, c *client) error {
	public, err := encodePublicKey(p.rsa)
	if err != nil {
		return err
	}
	iv := newIV()
	encrypted, err := encrypt(p.key, iv, []byte(p.Name))
	if err != nil {
		return err
	}
	profile := object{"id": p.ID, "password": p.Password, "encryptedName": encrypted, "encryptionIV": iv, "rsaPublicKey": public}
	return c.call(ctx, http.MethodPut, "/user", profile, nil)
}

// signed is a request that proves who sends it.
func (p *person) signed(request object) object {
	whole := object{"userId": p.ID, "password": p.Password}
	maps.Copy(whole, request)
	return whole
}

// findKey reads somebody's public key.
func (p *person) findKey(ctx context.Context, c *client, idOrLookup string) (*rsa.PublicKey, error) {
	var found struct {
		RSAPublicKey []byte `json:"rsaPublicKey"`
	}
	if err := c.call(ctx, http.MethodGet, "/user/"+idOrLookup, nil, &found); err != nil {
		return nil, err
	}
	return parsePublicKey(found.RSAPublicKey)
}

// followMessage is what people send each other.
type followMessage struct {
	Kind   string    `json:"kind"`
	FromID uuid.UUID `json:"fromId"`
	Secret string    `json:"secret"`
	Key    string    `json:"key"`
}

// send leaves a message in somebody's inbox, encrypted for them.
func (p *person) send(ctx context.Context, c *client, to uuid.UUID, key *rsa.PublicKey, message followMessage) error {
	text, err := json.Marshal(message)
	if err != nil {
		return err
	}
	chunks, err := encryptFor(key, text)
	if err != nil {
		return err
	}
	return c.call(ctx, http.MethodPut, "/inbox", object{"toUserId": to, "encryptedMessage": chunks}, nil)
}

// receive empties the person's inbox.
func (p *person) receive(ctx context.Context, c *client) (messages []followMessage, err error) {
	var inbox struct {
		InboxMessages []struct {
			EncryptedMessage [][]byte `json:"encryptedMessage"`
		} `json:"inboxMessages"`
	}
	if err := c.call(ctx, http.MethodPost, "/inbox", p.signed(nil), &inbox); err != nil {
		return nil, err
	}
	for _, m := range inbox.InboxMessages {
		text, err := decryptAs(p.rsa, m.EncryptedMessage)
		if err != nil {
			return nil, err
		}
		var message followMessage
		if err := json.Unmarshal(text, &message); err != nil {
			return nil, err
		}
		messages = append(messages, message)
	}
	return messages, nil
}

// publish puts an event into the person's feed.
func (p *person) publish(ctx context.Context, c *client, text string) error {
	iv, sealed, err := seal(p.key, p.rsa, text)
	if err != nil {
		return err
	}
	return c.call(ctx, http.MethodPut, "/event", p.signed(object{
		"eventId": uuid.New(), "encryptedEventPayload": sealed, "encryptedEventIV": iv, "expiry": time.Now().AddDate(0, 0, 90),
	}), nil)
}

// leave deletes the account and makes sure that it is gone.
func (p *person) leave(ctx context.Context, c *client) error {
	if err := c.call(ctx, http.MethodPost, "/user/delete", object{"id": p.ID, "password": p.Password}, nil); err != nil {
		return err
	}
	gone := expectNotFound(c.call(ctx, http.MethodGet, "/user/"+p.Lookup, nil, nil))
	inbox := expectNotFound(c.call(ctx, http.MethodPost, "/inbox", p.signed(nil), nil))
	var shared error
	if p.sharedItem != "" {
		shared = expectNotFound(c.call(ctx, http.MethodGet, "/shareditem/"+p.sharedItem, nil, nil))
	}
	return errors.Join(gone, inbox, shared)
}
