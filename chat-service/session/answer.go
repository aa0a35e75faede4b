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
	"github.com/liftlog/liftlog-api/shared/planner"
	"github.com/liftlog/liftlog-api/shared/ratelimit"
)

const (
	// stepEvery is the shortest time between two steps of an answer, but for the last one.
	stepEvery = time.Second / 20
	// answerTimeout bounds an answer: the app waits for it without an end.
	answerTimeout = 5 * time.Minute
)

// call is one that the model is to answer, and the answer as far as it has come. The session's lock guards it.
type call struct {
	method string
	id     string
	text   string

	conversation Conversation // the one in which it was said

	cancel  context.CancelFunc // of a running one
	stopped bool
	held    func() (planner.Step, bool) // reads the newest one, until it is sent
	sentAt  time.Time                   // when the last one was
	timer   *time.Timer                 // sends the held one

	steps, sent int
}

// methods are what a client may call, by their names in lower case: as they are written here, and how many texts they take.
var methods = map[string]struct {
	name       string
	parameters int
}{
	"introduce": {"Introduce", 1}, "sendmessage": {"SendMessage", 1}, "restartchat": {"RestartChat", 0}, "stopinprogress": {"StopInProgress", 0},
}

// invoke starts what the client calls, or answers at once. It waits for nothing.
func (s *Session) invoke(m signalr.Message) {
	method, known := methods[signalr.Lower(m.Target)]
	argument, null, ok := "", false, known && len(m.Arguments) == method.parameters
	if ok && method.parameters == 1 {
		argument, null, ok = signalr.Text(m.Arguments[0])
	}
	switch {
	case !known:
		s.complete(m.ID, signalr.NoSuchMethod(m.Target))
	case !ok:
		s.complete(m.ID, signalr.WrongArguments(method.name))
	case m.Type == signalr.StreamInvocation:
		s.complete(m.ID, signalr.NotStreaming(method.name))
	case m.Streams > 0:
		s.complete(m.ID, signalr.NoStreams(method.name, m.Streams))
	case method.name == "RestartChat":
		s.restart()
		s.complete(m.ID, "")
	case method.name == "StopInProgress":
		s.stop(m.ID)
	case null:
		s.complete(m.ID, signalr.Failed(method.name))
	default:
		s.ask(&call{method: method.name, id: m.ID, text: argument})
	}
}

// complete ends a call, unless the client did not ask to be told.
func (s *Session) complete(id, failure string) {
	if id != "" {
		signalr.WriteCompletion(s.queue(), id, failure)
	}
}

// ask has the call answered: now, or after the one that is being answered. A third is refused.
func (s *Session) ask(c *call) {
	if s.conversation == nil {
		s.conversation = s.o.NewConversation()
	}
	c.conversation = s.conversation
	switch {
	case s.running == nil:
		s.start(c)
	case s.waiting == nil:
		s.waiting = c
	default:
		s.complete(c.id, signalr.Failed(c.method))
	}
}

// restart forgets the conversation, and with it a message that still waits to enter it. The call that runs keeps the old
// one, wherever it has come to, so that nothing of it enters the new one.
func (s *Session) restart() {
	s.conversation, s.silentSince = nil, time.Now()
	if s.waiting != nil {
		s.complete(s.waiting.id, "")
		s.waiting = nil
	}
}

// stop breaks off the running answer. Nothing of it comes after the completion of the stop but its own.
func (s *Session) stop(id string) {
	c := s.running
	if c != nil {
		s.sendHeld(c)
		c.stopped = true
	}
	s.complete(id, "")
	if c != nil {
		c.cancel()
	}
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
	yield := func(step func() (planner.Step, bool)) error { return s.step(ctx, c, step) }
	if c.method == "Introduce" {
		err = c.conversation.Introduce(ctx, c.text, "", yield)
	} else {
		err = c.conversation.Send(ctx, c.text, yield)
	}
	settle(ctx, ratelimit.Use{Answered: s.answered(c, err), Tokens: logging.ModelTokens(ctx)})
	return true, err
}

// answered reports whether the call is to count. It does not when the model never answered, which it had no chance to if
// time or this service broke it off before its first words.
func (s *Session) answered(c *call, err error) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	brokenOff := errors.Is(err, context.DeadlineExceeded) || !c.stopped && (s.ended == endedRetired || s.ended == endedCut)
	return apierr.KindOf(err) != apierr.Unavailable && (c.steps > 0 || !brokenOff)
}

// How an answer may end, for the log.
const (
	outcomeAnswered = "answered"
	outcomeStopped  = "stopped"
	outcomeLimited  = "limited"
	outcomeGone     = "client gone"
	outcomeFailed   = "failed"
)

// finish says the last of an answer and starts the one that waits.
func (s *Session) finish(c *call, asked bool, err error) (outcome string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	outcome = s.conclude(c, asked, err)
	s.running = nil
	if next := s.waiting; next != nil {
		s.waiting = nil
		s.start(next)
	}
	return outcome
}

// conclude says the last step of an answer, what went wrong in words for a person, and the completion.
func (s *Session) conclude(c *call, asked bool, err error) (outcome string) {
	if c.timer != nil {
		c.timer.Stop()
	}
	if s.ended != "" {
		c.held = nil
		return outcomeGone
	}
	s.sendHeld(c)
	failure := ""
	switch {
	case c.stopped:
		outcome = outcomeStopped
	case err == nil:
		outcome = outcomeAnswered
	case !asked && apierr.KindOf(err) == apierr.Limited:
		outcome = outcomeLimited
		s.send(planner.Step{Message: explain(err, time.Now())})
	default:
		outcome, failure = outcomeFailed, signalr.Failed(c.method)
		s.send(planner.Step{Message: explain(err, time.Now())})
	}
	s.complete(c.id, failure)
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

// step takes how far the answer has come. It is sent at once when the last one is long enough ago, and else by a timer, so
// that the model may pause meanwhile.
func (s *Session) step(ctx context.Context, c *call, step func() (planner.Step, bool)) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c.stopped || s.ended != "" {
		return cmp.Or(ctx.Err(), context.Canceled)
	}
	c.steps++
	due := c.held == nil // otherwise the timer runs
	c.held = step
	if due {
		s.sendDue(c) //nolint:contextcheck // a timer has none
	}
	return nil
}

// sendDue sends the held step if it may be sent by now, and else sees to it that it is as soon as it may. While earlier
// words still wait for the client, it waits as well, and newer steps take its place.
func (s *Session) sendDue(c *call) {
	wait := stepEvery - time.Since(c.sentAt)
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

// sendHeld sends the step that is held, if one is and the answer was not stopped.
func (s *Session) sendHeld(c *call) {
	if c.held == nil || c.stopped {
		return
	}
	step, ok := c.held()
	c.held = nil
	if !ok {
		return
	}
	c.sentAt = time.Now()
	c.sent++
	s.send(step)
}

// send sends a step, or what takes the place of one.
func (s *Session) send(step planner.Step) {
	_ = signalr.WriteInvocation(s.queue(), receiveMessage, toWire(step)) // a step holds nothing that JSON could not
}
