package session

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"time"

	"github.com/liftlog/liftlog-api/chat-service/signalr"
	"github.com/liftlog/liftlog-api/shared/apierr"
	"github.com/liftlog/liftlog-api/shared/logging"
	"github.com/liftlog/liftlog-api/shared/ratelimit"
)

const (
	// stepEvery is the shortest time between two steps of an answer, but for the last one.
	stepEvery = time.Second / 20
	// stepBytes is how many bytes a second of steps may cost, so that a long plan is shown less often.
	stepBytes = 64 << 10
	// answerTimeout bounds an answer: the app waits for it without an end.
	answerTimeout = 5 * time.Minute
	// maxWaiting is how many calls may wait to be answered.
	maxWaiting = 4
	// oweFor is how long the completion of a call that a restart broke off may be held back for the completion of the next call.
	oweFor = 2 * time.Second
)

// call is one that the model is to answer, and the answer as far as it has come. The session's lock guards it.
type call struct {
	method   string
	id       string
	question Question

	cancel context.CancelFunc         // of one that was begun
	broken string                     // how the answer was broken off, after which nothing of it is sent; empty: it was not
	held   func() (step any, ok bool) // reads the newest step, until it is sent
	next   time.Time                  // when the next step may be sent
	timer  *time.Timer                // sends the held one

	steps, sent int
}

// invoke starts what the client calls, or answers at once. It waits only with a call that cannot be refused and finds no place.
func (s *Session) invoke(m signalr.Message) {
	method, known := find(s.o.Protocol, m.Target)
	arguments, ok := bind(method.Parameters, m.Arguments)
	switch {
	case !known:
		s.complete(m.ID, signalr.NoSuchMethod(m.Target))
	case !ok:
		s.complete(m.ID, signalr.WrongArguments(method.Name))
	case m.Type == signalr.StreamInvocation:
		s.complete(m.ID, signalr.NotStreaming(method.Name))
	case m.Streams > 0:
		s.complete(m.ID, signalr.NoStreams(method.Name, m.Streams))
	case method.Name == restartChat:
		s.restart(m.ID)
	case method.Name == stopInProgress:
		s.stop(m.ID)
	default:
		question, ok := method.Bind(arguments)
		switch {
		case !ok:
			s.complete(m.ID, signalr.Failed(method.Name))
		case question.Instead != nil:
			s.send(question.Instead)
			s.complete(m.ID, "")
			s.settle()
		default:
			s.ask(&call{method: method.Name, id: m.ID, question: question})
		}
	}
}

// complete ends a call, unless the client did not ask to be told.
func (s *Session) complete(id, failure string) {
	if id != "" {
		signalr.WriteCompletion(s.queue(), id, failure)
	}
}

// ask has the call answered: now, or after those that came before. While one call waits, another is refused, if it has an id by
// which to refuse it. If it has none it waits as well, and when too many wait the reader stops until there is room, as v1's does.
func (s *Session) ask(c *call) {
	for c.id == "" && len(s.waiting) >= maxWaiting && s.ended == "" {
		s.room.Wait()
	}
	switch {
	case s.ended != "":
	case s.running == nil:
		s.start(c)
	case c.id == "" || len(s.waiting) == 0:
		s.waiting = append(s.waiting, c)
	default:
		s.complete(c.id, signalr.Failed(c.method))
	}
}

// restart forgets the conversation, and breaks off the answers to what was said in it. Those calls are completed with the next one,
// or after a while: the app takes the next answer for theirs until then, and drops what comes after their completion.
func (s *Session) restart(id string) {
	s.complete(id, "")
	s.settle()
	for _, c := range s.breakOff(outcomeRestarted) {
		if c.id != "" {
			s.owed = append(s.owed, c.id)
		}
	}
	if len(s.owed) > 0 {
		s.settling = time.AfterFunc(oweFor, func() {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.settle()
		})
	}
	s.forget()
}

// settle completes the calls that a restart has broken off.
func (s *Session) settle() {
	for _, id := range s.owed {
		s.complete(id, "")
	}
	s.owed = nil
	if s.settling != nil {
		s.settling.Stop()
		s.settling = nil
	}
}

// breakOff ends the running answer, of which nothing more is sent, and what waits. The calls are to be completed by the caller.
func (s *Session) breakOff(outcome string) (calls []*call) {
	if c := s.running; c != nil && c.broken == "" { // one that was stopped completes itself
		c.broken, c.held = outcome, nil
		c.cancel()
		calls = append(calls, c)
	}
	calls = append(calls, s.waiting...)
	s.running, s.waiting = nil, nil
	s.room.Broadcast()
	return calls
}

// stop breaks off the running answer. After the completion of the stop, only the answer's own completion follows.
func (s *Session) stop(id string) {
	c := s.running
	if c != nil && c.broken == "" {
		s.sendHeld(c)
		c.broken = outcomeStopped
	}
	s.complete(id, "")
	if c != nil {
		c.cancel()
	}
}

// cutOff tells the person that the answer under way will not come, since the session ends. Connections end for a deployment, and
// after an hour.
func (s *Session) cutOff() {
	if s.running != nil {
		s.sendHeld(s.running)
	}
	calls := s.breakOff(outcomeCut)
	if len(calls) > 0 {
		s.send(s.o.Protocol.Text("The service is being restarted, and this answer was cut off. Please send your message again."))
	}
	for _, c := range calls {
		s.complete(c.id, signalr.Failed(c.method))
	}
	s.settle()
}

func (s *Session) start(c *call) {
	ctx, cancel := context.WithTimeout(context.Background(), answerTimeout)
	c.cancel = cancel
	s.running = c
	s.work.Go(func() { s.answer(ctx, c) })
}

// answer has the running call answered, and starts the one that waits.
func (s *Session) answer(ctx context.Context, c *call) {
	defer s.contain(ctx)
	defer c.cancel()
	begun := time.Now()
	var use logging.ModelUse
	asked, err := s.askModel(logging.WithModelUse(ctx, &use), c)

	outcome := s.finish(c, asked, err) //nolint:contextcheck // the next answer has a context of its own
	level := slog.LevelInfo
	attrs := []slog.Attr{
		slog.String("method", c.method),
		slog.String("outcome", outcome),
		slog.Int64("durationMs", time.Since(begun).Milliseconds()),
		slog.Int("steps", c.steps),
		slog.Int("sent", c.sent),
		slog.Any("model", &use),
	}
	if outcome == outcomeFailed {
		level = slog.LevelWarn
		attrs = append(attrs, slog.String("error", err.Error()))
		if apierr.KindOf(err) == apierr.Internal {
			level = slog.LevelError
		}
	}
	s.o.Log.LogAttrs(context.WithoutCancel(ctx), level, "answer", attrs...)
}

// askModel asks the model if the client may. asked says whether it came to that.
func (s *Session) askModel(ctx context.Context, c *call) (asked bool, err error) {
	settle, err := s.o.Take(ctx)
	if err != nil {
		return false, err
	}
	conversation := s.conversationFor(ctx, c)
	if conversation == nil {
		settle(ctx, ratelimit.Use{})
		return false, context.Canceled
	}
	yield := func(read func() (any, bool)) error { return s.step(ctx, c, read) }
	if c.question.Introduction {
		err = conversation.Introduce(ctx, c.question.Text, c.question.WeightUnit, yield)
	} else {
		err = conversation.Send(ctx, c.question.Text, yield)
	}
	settle(ctx, ratelimit.Use{Answered: s.answered(c, err), Tokens: logging.ModelTokens(ctx)})
	return true, err
}

// answered reports whether the call counts against the limit. It does not when the model never answered, or when a time limit or
// this service broke the answer off before its first words.
func (s *Session) answered(c *call, err error) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	brokenOff := errors.Is(err, context.DeadlineExceeded) || c.broken == outcomeCut || c.broken == "" && (s.ended == endRetired || s.ended == endCut)
	return apierr.KindOf(err) != apierr.Unavailable && (c.steps > 0 || !brokenOff)
}

// conversationFor is the conversation that the call belongs to: the session's, or else what an earlier connection left if this
// one begins with a message, or a new one. It is nil when the answer has been broken off meanwhile.
func (s *Session) conversationFor(ctx context.Context, c *call) Conversation[any] {
	s.mu.Lock()
	conversation, resume, over := s.conversation, !s.begun && !c.question.Introduction, c.broken != "" || s.ended != ""
	if c.question.Introduction && conversation == nil && !over {
		s.forget()
	}
	s.mu.Unlock()
	if over {
		return nil
	}
	if conversation != nil {
		return conversation
	}
	if resume {
		conversation = s.o.Resume(ctx)
	}
	if conversation == nil {
		conversation = s.o.Protocol.NewConversation()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.running == c { // else it was forgotten meanwhile
		s.begun, s.conversation = true, conversation
	}
	return conversation
}

// forget ends the conversation, and what an earlier connection left.
func (s *Session) forget() {
	s.begun, s.conversation, s.silentSince = true, nil, time.Now()
	s.o.Forget()
}

// How an answer may end, for the log.
const (
	outcomeAnswered  = "answered"
	outcomeStopped   = "stopped"
	outcomeRestarted = "restarted"
	outcomeCut       = "cut off"
	outcomeLimited   = "limited"
	outcomeGone      = "client gone"
	outcomeFailed    = "failed"
)

// finish sends the end of an answer and starts the call that waits.
func (s *Session) finish(c *call, asked bool, err error) (outcome string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	outcome = s.conclude(c, asked, err)
	if s.running == c {
		s.running = nil
		if len(s.waiting) > 0 {
			next := s.waiting[0]
			s.waiting = s.waiting[1:]
			s.start(next)
			s.room.Broadcast()
		}
	}
	return outcome
}

// conclude sends the last step of an answer, in words for a person what went wrong, and the completion.
func (s *Session) conclude(c *call, asked bool, err error) (outcome string) {
	if c.timer != nil {
		c.timer.Stop()
	}
	switch {
	case c.broken == outcomeRestarted, c.broken == outcomeCut: // all was said
		return c.broken
	case s.ended != "":
		return outcomeGone
	}
	s.sendHeld(c)
	failure := ""
	switch {
	case c.broken != "":
		outcome = c.broken
	case err == nil:
		outcome = outcomeAnswered
	case !asked && apierr.KindOf(err) == apierr.Limited:
		outcome = outcomeLimited
		s.send(s.o.Protocol.Text(explain(err, time.Now())))
	default:
		outcome, failure = outcomeFailed, signalr.Failed(c.method)
		s.send(s.o.Protocol.Text(explain(err, time.Now())))
	}
	s.complete(c.id, failure)
	s.settle()
	return outcome
}

// explain says to a person what went wrong and when to try again.
func explain(err error, now time.Time) string {
	const unknown = "Something went wrong here. Please try again."
	if errors.Is(err, context.DeadlineExceeded) {
		return "The answer took too long. Please try again."
	}
	e, ok := errors.AsType[*apierr.Error](err)
	if !ok {
		return unknown
	}
	detail := cmp.Or(e.Detail, unknown)
	if wait := e.RetryAt.Sub(now); wait > time.Minute {
		return detail + " Please come back in " + inWords(wait) + "."
	}
	return detail
}

// inWords rounds up to whole minutes or hours.
func inWords(d time.Duration) string {
	n, unit := int(math.Ceil(d.Minutes())), "minute"
	if n > 90 {
		n, unit = int(math.Ceil(d.Hours())), "hour"
	}
	if n != 1 {
		unit += "s"
	}
	return fmt.Sprintf("%d %s", n, unit)
}

// step takes the newest step of an answer. It sends the step at once if the last one was sent long enough ago; otherwise a timer
// will, even if the model pauses meanwhile.
func (s *Session) step(ctx context.Context, c *call, read func() (any, bool)) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c.broken != "" || s.ended != "" {
		return cmp.Or(ctx.Err(), context.Canceled)
	}
	c.steps++
	due := c.held == nil // otherwise the timer runs
	c.held = read
	if due {
		s.sendDue(c) //nolint:contextcheck // a timer has none
	}
	return nil
}

// sendDue sends the held step if it is due, and otherwise arranges for that. While earlier output still waits for the client the
// step waits as well, and newer steps take its place.
func (s *Session) sendDue(c *call) {
	wait := time.Until(c.next)
	if wait <= 0 && s.writing {
		wait = stepEvery
	}
	switch {
	case wait <= 0:
		s.sendHeld(c)
	case c.timer == nil:
		c.timer = time.AfterFunc(wait, func() {
			defer s.contain(context.Background())
			s.mu.Lock()
			defer s.mu.Unlock()
			if c.held != nil {
				s.sendDue(c)
			}
		})
	default:
		c.timer.Reset(wait)
	}
}

// sendHeld sends the step that is held, if one is, it shows anything, and the answer was not broken off.
func (s *Session) sendHeld(c *call) {
	if c.held == nil || c.broken != "" {
		return
	}
	step, ok := c.held()
	c.held = nil
	if !ok {
		return
	}
	size := s.send(step)
	c.next = time.Now().Add(max(stepEvery, time.Duration(size)*time.Second/stepBytes))
	c.sent++
}

// send sends a step, or what takes the place of one, and returns its size in bytes.
func (s *Session) send(step any) (size int) {
	out := s.queue()
	before := out.Len()
	_ = signalr.WriteInvocation(out, receiveMessage, step) // a step holds nothing that JSON could not
	return out.Len() - before
}

// receiveMessage is the one method of the client.
const receiveMessage = "ReceiveMessage"
