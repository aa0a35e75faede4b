package hub

import (
	"context"
	"fmt"

	"github.com/liftlog/liftlog-api/chat-service/session"
	"github.com/liftlog/liftlog-api/shared/clientaddr"
	"github.com/liftlog/liftlog-api/shared/config"
	"github.com/liftlog/liftlog-api/shared/planner"
	"github.com/liftlog/liftlog-api/shared/purchase"
	"github.com/liftlog/liftlog-api/shared/ratelimit"
)

// Buyers lets those connect who have bought the app.
func Buyers(purchases *purchase.Verifier) func(context.Context, string) (Caller, error) {
	return func(ctx context.Context, authorization string) (Caller, error) {
		buyer, err := purchases.Authorize(ctx, authorization)
		return Caller{ID: buyer.Subject, Shared: buyer.Store == purchase.Web, Client: clientaddr.From(ctx)}, err
	}
}

// Limited lets each caller ask the model a limited number of times in any 24 hours. Those who share the web app's key have one
// limit together, and within it each address has that of a buyer.
func Limited(limiter *ratelimit.Limiter, limits config.Limits) func(context.Context, Caller) (ratelimit.Settle, error) {
	return func(ctx context.Context, caller Caller) (ratelimit.Settle, error) {
		if caller.Shared {
			return limiter.TakeFor(ctx, caller.Client, limits.ChatPerDay, ratelimit.ChatKey(caller.ID), limits.WebChatPerDay)
		}
		return limiter.Take(ctx, ratelimit.ChatKey(caller.ID), limits.ChatPerDay)
	}
}

// Endpoints are the hubs that the apps know, whose conversations are the planner's. Today's hub reads the plan contract from the
// file schema, which AI_PLAN_SCHEMA names; when that is empty it uses the one that is built in.
func Endpoints(p *planner.Planner, schema string) ([]Endpoint, error) {
	contract, err := planner.LoadPlanContract(schema)
	if err != nil {
		return nil, fmt.Errorf("AI_PLAN_SCHEMA: %w", err)
	}
	return []Endpoint{
		{"/ai-chat", session.AIChat(func() session.Conversation[planner.Step] { return p.NewConversation() })},
		{"/ai-chat-v2", session.AIChatV2(contract.Version(), func() session.Conversation[planner.BlueprintStep] {
			return p.NewBlueprintConversation(contract)
		})},
	}, nil
}
