package openai

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	api "github.com/sashabaranov/go-openai"

	"github.com/liftlog/liftlog-api/shared/apierr"
	"github.com/liftlog/liftlog-api/shared/planner"
)

// flaw is why an answer is of no use.
type flaw struct {
	reason string // for the log
	detail string // for a person
}

func (f *flaw) Error() string { return f.reason }

// What a person is told.
const (
	detailAway      = "The planner is not available at the moment. Please try again in a little while."
	detailBrokenOff = "The planner's answer broke off. Please try again."
	detailUnwilling = "The planner cannot help with that. Please ask it for something about your training."
	detailTooLong   = "The planner's answer became too long. Please ask for something smaller."
	detailSenseless = "The planner's answer could not be understood. Please try again."
)

var (
	errTooSlow  = &flaw{"the answer took too long", detailBrokenOff}
	errSilent   = &flaw{"the service went silent", detailBrokenOff}
	errBroken   = &flaw{"the answer has no end", detailBrokenOff}
	errTooLong  = &flaw{"the answer is too long", detailTooLong}
	errTokens   = &flaw{"the answer reached the limit of tokens", detailTooLong}
	errRefused  = &flaw{"the model refused", detailUnwilling}
	errFiltered = &flaw{"the content filter ended the answer", detailUnwilling}
	errNoCall   = &flaw{"the model did not call the function", detailSenseless}
	errCall     = &flaw{"the model called another function, or twice", detailSenseless}
	errEmpty    = &flaw{"the answer is empty", detailSenseless}
	errProtocol = &flaw{"the service sent what is not Chat Completions", detailSenseless}
)

// yieldError is an error of the caller's callback.
type yieldError struct{ err error }

func (e *yieldError) Error() string { return e.err.Error() }

// answer is what came of an answer so far.
type answer struct {
	shape   planner.Shape
	text    strings.Builder
	call    *planner.Call // nil: none began
	input   strings.Builder
	refused bool
	finish  api.FinishReason
	usage   planner.Usage
	began   bool
}

// add takes the next part of the content and of a call, and returns what has come with it.
func (a *answer) add(content string, calls []api.ToolCall) (piece planner.Piece, err error) {
	if a.shape.Way != planner.Called {
		piece.Text = content
	}
	if a.shape.Way != planner.Object {
		if len(calls) > 1 {
			return piece, errCall
		}
		for _, call := range calls {
			name := call.Function.Name // only the first piece has it
			if call.Index != nil && *call.Index != 0 || (name == "") != (a.call != nil) || name != "" && name != a.shape.Name {
				return piece, errCall
			}
			if a.call == nil {
				a.call = &planner.Call{ID: call.ID, Name: name}
			}
			piece.Input = call.Function.Arguments
		}
	}
	if a.text.Len()+len(piece.Text) > maxAnswer || a.input.Len()+len(piece.Input) > maxAnswer {
		return piece, errTooLong
	}
	a.text.WriteString(piece.Text)
	a.input.WriteString(piece.Input)
	return piece, nil
}

// whole is the answer, when it has come to its end.
func (a *answer) whole() planner.Answer {
	if a.call != nil {
		a.call.Input = a.input.String()
	}
	return planner.Answer{Text: a.text.String(), Call: a.call}
}

// spent takes what the answer cost, where the service says so.
func (a *answer) spent(u *api.Usage) {
	if u == nil {
		return
	}
	a.usage = planner.Usage{In: u.PromptTokens, Out: u.CompletionTokens}
	if u.PromptTokensDetails != nil {
		a.usage.Cached = u.PromptTokensDetails.CachedTokens
	}
}

// check returns why an answer that has come to an end is of no use, or nil.
func (a *answer) check() error {
	switch {
	case a.refused:
		return errRefused
	case a.finish == api.FinishReasonContentFilter:
		return errFiltered
	case a.finish == api.FinishReasonLength:
		return errTokens
	case a.finish != api.FinishReasonStop && a.finish != api.FinishReasonToolCalls: // a call that was forced ends with stop
		return errBroken
	case a.shape.Way == planner.Called && a.call == nil:
		return errNoCall
	case a.text.Len() == 0 && a.call == nil:
		return errEmpty
	}
	return nil
}

// mayRetry reports whether the same request may be sent again after err.
func (a *answer) mayRetry(err error) bool {
	if a.began {
		return false
	}
	if status, ok := errors.AsType[*statusError](err); ok {
		return status.mayPass()
	}
	_, lost := errors.AsType[*connectionError](err)
	return lost || errors.Is(err, errBroken)
}

// explain makes err what the caller gets.
func (a *answer) explain(err error) error {
	if y, ok := errors.AsType[*yieldError](err); ok {
		return y.err
	}
	e := &apierr.Error{Err: fmt.Errorf("ask the model: %w", err)}
	if !a.began {
		e.Kind, e.Detail, e.RetryAt = apierr.Unavailable, detailAway, time.Now().Add(comeBack)
		if status, ok := errors.AsType[*statusError](err); ok && !status.retryAt.IsZero() {
			e.RetryAt = status.retryAt
		}
		return e
	}
	e.Kind, e.Detail = apierr.Upstream, detailBrokenOff
	if f, ok := errors.AsType[*flaw](err); ok {
		e.Detail = f.detail
	}
	return e
}

// loggable returns an error of the library's without what the service wrote into it.
func loggable(err error) error {
	if e, ok := errors.AsType[*api.APIError](err); ok {
		code, _ := e.Code.(string)
		for _, c := range []string{code, e.Type} {
			if codeForm.MatchString(c) {
				return fmt.Errorf("the service broke off with code %s", c)
			}
		}
		return errors.New("the service broke off with an error")
	}
	_, syntax := errors.AsType[*json.SyntaxError](err)
	_, mismatch := errors.AsType[*json.UnmarshalTypeError](err)
	if syntax || mismatch {
		return errProtocol
	}
	return err
}
