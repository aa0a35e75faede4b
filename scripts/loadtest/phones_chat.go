package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/gorilla/websocket"

	"github.com/liftlog/liftlog-api/shared/purchase/purchasetest"
)

// What the tables call the chat's requests.
const (
	chatNegotiation = "POST /v2/ai-chat-v2/negotiate"
	chatConnection  = "GET /v2/ai-chat-v2"
	chatAnswer      = "a whole answer of the chat"
)

// What RevenueCat's stand-in knows.
const (
	storeProject, storeEntitlement, storeKey = "proj1", "entl1", "sk_load"
	tokenOfPhone                             = "phone-"
)

// buyers is a store where every phone's person has bought the app.
func (p *phones) buyers() *purchasetest.Store {
	store := purchasetest.RevenueCat(storeProject, storeKey)
	bought := purchasetest.RevenueCatPage(nil, purchasetest.RevenueCatEntitlement(storeEntitlement, nil))
	for i := range p.phones + p.overload {
		token := tokenOfPhone + strconv.Itoa(i)
		store.On(token, purchasetest.RevenueCatCustomer(token, bought))
	}
	return store
}

// chat asks the planner something, as today's app does, and reads the whole answer.
func (ph *phone) chat(ctx context.Context) {
	s := ph.services[chatService]
	began := time.Now()
	leave, err := s.enter(ctx)
	if err != nil {
		ph.note(ctx, chatNegotiation, began, platformRefusal)
		return
	}
	defer leave()
	header := s.forwarded(ph.address)
	header.Set("Authorization", "Bearer "+ph.token)
	id, result := s.negotiate(ctx, header)
	ph.note(ctx, chatNegotiation, began, result)
	if result.kind != fine {
		return
	}

	began = time.Now()
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	address := "ws" + strings.TrimPrefix(s.base, "http") + "/v2/ai-chat-v2?id=" + url.QueryEscape(id)
	socket, response, err := websocket.DefaultDialer.DialContext(ctx, address, header)
	if response != nil {
		_ = response.Body.Close()
	}
	if err != nil {
		result = outcomeOf(err)
		if response != nil {
			result = outcomeOfStatus(response.StatusCode, response.Header)
		}
		ph.note(ctx, chatConnection, began, result)
		return
	}
	defer func() { _ = socket.Close() }()
	ph.note(ctx, chatConnection, began, outcome{})

	began = time.Now()
	defer context.AfterFunc(ctx, func() { _ = socket.Close() })()
	ph.note(ctx, chatAnswer, began, converse(socket))
}

// note records what came of a step of the chat.
func (ph *phone) note(ctx context.Context, label string, began time.Time, result outcome) {
	ph.seen.add(ctx, label, began, result)
	if result.kind != fine {
		ph.troubled.Store(true)
	}
}

// negotiate returns the id by which to connect.
func (s *service) negotiate(ctx context.Context, header http.Header) (id string, result outcome) {
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, s.base+"/v2/ai-chat-v2/negotiate?negotiateVersion=1", http.NoBody)
	if err != nil {
		return "", outcome{kind: failed, what: err.Error()}
	}
	r.Header = header.Clone()
	response, err := s.client.Do(r)
	if err != nil {
		return "", outcomeOf(err)
	}
	defer func() { _ = response.Body.Close() }()
	var negotiated struct{ ConnectionToken string }
	if result = outcomeOfStatus(response.StatusCode, response.Header); result.kind != fine {
		return "", result
	}
	if err := json.NewDecoder(response.Body).Decode(&negotiated); err != nil || negotiated.ConnectionToken == "" {
		return "", outcome{kind: failed, what: "200 with something else"}
	}
	return negotiated.ConnectionToken, outcome{}
}

// planVersion is that of the plan contract that today's app knows.
const planVersion = 3

// converse sends a message and reads until the call is completed.
func converse(socket *websocket.Conn) outcome {
	send := func(record string) error { return socket.WriteMessage(websocket.TextMessage, []byte(record+separator)) }
	err := send(`{"protocol":"json","version":1}`)
	if err == nil {
		err = send(fmt.Sprintf(`{"type":1,"invocationId":"0","target":"SendMessage","arguments":["How often should I train?",%d]}`, planVersion))
	}
	answered := false
	for err == nil {
		var text []byte
		if _, text, err = socket.ReadMessage(); err != nil {
			break
		}
		for record := range strings.SplitSeq(string(text), separator) {
			var r struct {
				Type   int
				Error  string
				Target string
			}
			if record == "" || json.Unmarshal([]byte(record), &r) != nil {
				continue
			}
			answered = answered || strings.EqualFold(r.Target, "ReceiveMessage")
			switch {
			case r.Type == 3 && r.Error == "" && answered:
				return outcome{}
			case r.Type == 3:
				return outcome{kind: failed, what: "completed without an answer"}
			case r.Type == 7:
				return outcome{kind: failed, what: "closed by the hub"}
			}
		}
	}
	return outcomeOf(err)
}
