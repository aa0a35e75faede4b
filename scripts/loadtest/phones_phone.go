package main

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"maps"
	mathrand "math/rand/v2"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

// person is somebody with an account, whom others follow.
type person struct {
	account

	follows []follow // at the beginning
	since   string   // when the newest event was stored that is known at the beginning
}

// follow is a person whose feed can be read by the secret.
type follow struct {
	user   uuid.UUID
	secret string
}

const (
	// follows is how many others everybody follows at the beginning, and maxFollows how many at most.
	follows, maxFollows = 10, 30
	// eventsBefore is how many events everybody has published before.
	eventsBefore = 5
	// eventBytes, profileBytes and itemBytes are the sizes of what today's app sends: a workout, a plan and a shared workout.
	eventBytes, profileBytes, itemBytes = 2 << 10, 4 << 10, 4 << 10
	// keyBytes is the size of a public key, and chunkBytes that of a part of a message, as RSA makes them of 2,048 bits.
	keyBytes, chunkBytes = 294, 256
	// ivBytes is the size of an initialization vector.
	ivBytes = 16
)

// random is as good as ciphertext: it cannot be compressed.
func random(size int) []byte {
	text := make([]byte, size)
	_, _ = rand.Read(text) // never fails
	return text
}

// storePeople stores an account for every phone, each with a profile, events and others to follow.
func (p *phones) storePeople(ctx context.Context) error {
	n := max(2, p.phones+p.overload)
	accounts, err := p.storeAccounts(ctx, n)
	if err != nil {
		return err
	}
	_, err = p.conn.Exec(ctx, `UPDATE users SET created = now(), last_accessed = now(), encryption_iv = $1, rsa_public_key = $2, encrypted_name = $1,
		encrypted_current_plan = $3`, random(ivBytes), random(keyBytes), random(profileBytes))
	if err != nil {
		return err
	}
	p.people = make([]*person, n)
	var secrets, events [][]any
	now := time.Now()
	for i, a := range accounts {
		one := &person{account: a, since: now.UTC().Format(time.RFC3339)}
		p.people[i] = one
		for d := range min(follows, n-1) {
			followed := follow{accounts[(i+1+d)%n].ID, uuid.NewString()}
			one.follows = append(one.follows, followed)
			secrets = append(secrets, []any{uuid.New(), followed.user, followed.secret})
		}
		for e := range eventsBefore {
			at := now.Add(-time.Duration(e+1) * time.Minute)
			events = append(events, []any{a.ID, uuid.New(), at, at, now.AddDate(0, 3, 0), random(eventBytes), random(ivBytes)})
		}
	}
	for _, table := range []struct {
		name    string
		columns []string
		rows    [][]any
	}{
		{"user_follow_secrets", []string{"id", "user_id", "value"}, secrets},
		{"user_events", []string{"user_id", "id", "timestamp", "last_accessed", "expiry", "encrypted_event", "encryption_iv"}, events},
	} {
		if _, err := p.conn.CopyFrom(ctx, pgx.Identifier{table.name}, table.columns, pgx.CopyFromRows(table.rows)); err != nil {
			return fmt.Errorf("store people: %w", err)
		}
	}
	_, err = p.conn.Exec(ctx, `VACUUM ANALYZE`)
	return err
}

// phone is one that plays its person.
type phone struct {
	*phones
	*person

	address   string // on the network
	token     string // proves the purchase to the chat; empty: the person has bought nothing
	wait      time.Duration
	followed  []follow
	followers []string    // the secrets that were handed out, the oldest first
	newest    string      // the time of the newest event seen, as it was answered
	troubled  atomic.Bool // something has failed since the person last looked
}

// newPhone is the phone with the number. Where there are fewer people than phones, some have several.
func (p *phones) newPhone(number int, think time.Duration) *phone {
	one, token := p.people[number%len(p.people)], p.token
	if p.at == "" {
		token = "RevenueCat " + tokenOfPhone + strconv.Itoa(number)
	}
	return &phone{
		phones: p, person: one, address: addressOf(number), token: token, wait: think, followed: slices.Clone(one.follows), newest: one.since,
	}
}

// addressOf is an address for the phone with the number.
func addressOf(number int) string {
	return netip.AddrFrom4([4]byte(binary.BigEndian.AppendUint32(nil, 10<<24+uint32(number)))).String() //nolint:gosec // there are fewer phones
}

// after is how long a person waits who was told that something does not work.
const after = time.Second

// live opens the app and does this and that, over and over, until ctx ends or leave is closed. Requests under way are ended by ctx
// only.
func (ph *phone) live(ctx context.Context, leave <-chan struct{}) {
	thought := func() bool {
		wait := min(time.Duration(mathrand.ExpFloat64()*float64(ph.wait)), 4*ph.wait)
		if ph.troubled.Swap(false) {
			wait = max(wait, after)
		}
		return pause(ctx, leave, wait)
	}
	for {
		ph.open(ctx)
		for range 1 + mathrand.IntN(3) {
			if !thought() {
				return
			}
			ph.act(ctx)
		}
		if !thought() {
			return
		}
	}
}

// act is one thing that a person does.
func (ph *phone) act(ctx context.Context) {
	switch n := mathrand.IntN(100); {
	case n < 50:
		ph.publish(ctx)
	case n < 65:
		ph.share(ctx)
	case n < 80:
		ph.request(ctx)
	case n < 85 && ph.token != "":
		ph.chat(ctx)
	default:
		ph.feed(ctx)
	}
}

// open is what the app does at its start.
func (ph *phone) open(ctx context.Context) {
	var inbox struct {
		InboxMessages []struct {
			EncryptedMessage [][]byte
		}
	}
	together(
		func() { ph.ask(ctx, "GetInboxMessages", "", ph.signed(nil), &inbox) },
		func() { ph.publish(ctx) },
		func() { ph.putProfile(ctx) },
	)
	var messages []message
	for _, m := range inbox.InboxMessages {
		if read, ok := readMessage(m.EncryptedMessage); ok && len(messages) < maxAnswered {
			messages = append(messages, read)
		}
	}
	var senders []func()
	for _, m := range messages {
		senders = append(senders, func() { ph.ask(ctx, "GetUser", m.from.String(), nil, nil) })
	}
	together(senders...)
	for _, m := range messages {
		ph.receive(ctx, m)
	}
	if len(ph.followed) == 0 {
		return
	}
	ids := make([]uuid.UUID, len(ph.followed))
	for i, f := range ph.followed {
		ids[i] = f.user
	}
	together(
		func() { ph.feed(ctx) },
		func() { ph.ask(ctx, "GetUsers", "", object{"ids": ids}, nil) },
	)
}

// maxAnswered is how many messages a person looks at at once.
const maxAnswered = 10

// together runs all of them at once.
func together(all ...func()) {
	var group sync.WaitGroup
	for _, one := range all {
		group.Go(one)
	}
	group.Wait()
}

// object is a JSON object.
type object map[string]any

// signed is a request that proves who sends it.
func (ph *phone) signed(request object) object {
	whole := object{"userId": ph.ID, "password": ph.Password}
	maps.Copy(whole, request)
	return whole
}

func (ph *phone) publish(ctx context.Context) {
	ph.ask(ctx, "PutEvent", "", ph.signed(object{
		"eventId": uuid.New(), "encryptedEventPayload": random(eventBytes), "encryptedEventIV": random(ivBytes), "expiry": time.Now().AddDate(0, 3, 0),
	}), nil)
}

func (ph *phone) putProfile(ctx context.Context) {
	ph.ask(ctx, "PutUser", "", object{
		"id": ph.ID, "password": ph.Password, "encryptedCurrentPlan": random(profileBytes), "encryptedName": random(ivBytes),
		"encryptionIV": random(ivBytes), "rsaPublicKey": random(keyBytes),
	}, nil)
}

// share makes a link, and opens it.
func (ph *phone) share(ctx context.Context) {
	var made struct{ ID string }
	ok := ph.ask(ctx, "CreateSharedItem", "", ph.signed(object{
		"encryptedPayload": object{"encryptedPayload": random(itemBytes), "iv": object{"value": random(ivBytes)}}, "expiry": time.Now().Add(time.Hour),
	}), &made)
	if ok {
		ph.ask(ctx, "GetSharedItem", made.ID, nil, nil)
	}
}

// feed reads what is new of those who are followed, and forgets who has taken the secret back.
func (ph *phone) feed(ctx context.Context) {
	if len(ph.followed) == 0 {
		return
	}
	var users []object
	for _, f := range ph.followed {
		users = append(users, object{"userId": f.user, "followSecret": f.secret, "since": ph.newest})
	}
	var answer struct {
		Events               []struct{ Timestamp string }
		InvalidFollowSecrets []string
	}
	if !ph.ask(ctx, "GetEvents", "", object{"users": users}, &answer) {
		return
	}
	for _, e := range answer.Events {
		if at, err := time.Parse(time.RFC3339Nano, e.Timestamp); err == nil && at.After(ph.seenUntil()) {
			ph.newest = e.Timestamp
		}
	}
	ph.followed = slices.DeleteFunc(ph.followed, func(f follow) bool { return slices.Contains(answer.InvalidFollowSecrets, f.secret) })
}

func (ph *phone) seenUntil() time.Time {
	at, _ := time.Parse(time.RFC3339Nano, ph.newest) // it is a time
	return at
}

// request asks somebody whom a link names to be allowed to follow.
func (ph *phone) request(ctx context.Context) {
	other := ph.people[mathrand.IntN(len(ph.people))]
	if other.ID == ph.ID || slices.ContainsFunc(ph.followed, func(f follow) bool { return f.user == other.ID }) {
		return
	}
	if ph.ask(ctx, "GetUser", other.ID.String(), nil, nil) {
		ph.send(ctx, other.ID, message{from: ph.ID, secret: noSecret})
	}
}

// receive answers a request, or takes an answer.
func (ph *phone) receive(ctx context.Context, m message) {
	if m.secret != noSecret {
		ph.followed = append(ph.followed, follow{m.from, m.secret})
		ph.followed = ph.followed[max(0, len(ph.followed)-maxFollows):]
		return
	}
	secret := uuid.NewString()
	if !ph.ask(ctx, "PutFollowSecret", "", ph.signed(object{"followSecret": secret}), nil) {
		return
	}
	ph.followers = append(ph.followers, secret)
	ph.send(ctx, m.from, message{from: ph.ID, secret: secret})
	if mathrand.IntN(4) == 0 {
		oldest := ph.followers[0] // the person has had enough of them
		if ph.ask(ctx, "DeleteFollowSecret", "", ph.signed(object{"followSecret": oldest}), nil) {
			ph.followers = ph.followers[1:]
		}
	}
}

// message is what people send each other. On its way it has the size of one that is encrypted.
type message struct {
	from   uuid.UUID
	secret string // lets the receiver follow; noSecret: the sender asks for one
}

// noSecret has the length of a secret.
var noSecret = strings.Repeat("-", 36)

func (ph *phone) send(ctx context.Context, to uuid.UUID, m message) {
	first := append(append(m.from[:], m.secret...), random(chunkBytes-len(m.from)-len(m.secret))...)
	ph.ask(ctx, "PutInboxMessage", "", object{"toUserId": to, "encryptedMessage": [][]byte{first, random(chunkBytes)}}, nil)
}

func readMessage(chunks [][]byte) (m message, ok bool) {
	if len(chunks) == 0 || len(chunks[0]) != chunkBytes {
		return m, false
	}
	copy(m.from[:], chunks[0])
	m.secret = string(chunks[0][len(m.from) : len(m.from)+len(noSecret)])
	return m, true
}

// ask calls the function.
func (ph *phone) ask(ctx context.Context, function, inPath string, body, answer any) (ok bool) {
	ok = ph.services[function].call(ctx, ph.address, inPath, body, answer)
	if !ok {
		ph.troubled.Store(true)
	}
	return ok
}
