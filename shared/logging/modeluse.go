package logging

import (
	"context"
	"log/slog"
	"sync"
)

// ModelUse sums up what the calls of a language model within one request took, for its log line. The zero value is ready
// to use, by several goroutines at once.
type ModelUse struct {
	mu                                         sync.Mutex
	calls, tokensIn, tokensOut, tokensOfCached int
}

type modelUseKey struct{}

// WithModelUse returns a context whose model calls are added to u.
func WithModelUse(ctx context.Context, u *ModelUse) context.Context {
	return context.WithValue(ctx, modelUseKey{}, u)
}

// AddModelUse adds a call to the context's [ModelUse], if it has one.
func AddModelUse(ctx context.Context, tokensIn, tokensOut, tokensOfCached int) {
	u, ok := ctx.Value(modelUseKey{}).(*ModelUse)
	if !ok {
		return
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	u.calls++
	u.tokensIn += tokensIn
	u.tokensOut += tokensOut
	u.tokensOfCached += tokensOfCached
}

// ModelTokens returns how many tokens the calls of the context's [ModelUse] took, prompts and answers. It is 0 when no model has
// answered, and when the context has none.
func ModelTokens(ctx context.Context) int {
	u, ok := ctx.Value(modelUseKey{}).(*ModelUse)
	if !ok {
		return 0
	}
	return u.Tokens()
}

// Tokens returns how many tokens the calls took, prompts and answers.
func (u *ModelUse) Tokens() int {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.tokensIn + u.tokensOut
}

// LogValue is a group of the sums, and empty where there was no call.
func (u *ModelUse) LogValue() slog.Value {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.calls == 0 {
		return slog.GroupValue()
	}
	return slog.GroupValue(slog.Int("calls", u.calls), slog.Int("tokensIn", u.tokensIn), slog.Int("tokensOut", u.tokensOut),
		slog.Int("tokensCached", u.tokensOfCached))
}
