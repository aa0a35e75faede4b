package config

import "errors"

// Limits bound calls of the model.
type Limits struct {
	WebPerDay     int `env:"RATE_LIMIT_WEB_PER_DAY" envDefault:"100" doc:"plans for the web app's key in any 24 hours"`
	MobilePerDay  int `env:"RATE_LIMIT_MOBILE_PER_DAY" envDefault:"20" doc:"plans for one purchase in any 24 hours"`
	ChatPerDay    int `env:"RATE_LIMIT_CHAT_PER_DAY" envDefault:"200" doc:"chat messages for one purchase in any 24 hours, and for one address of the web app's users"`
	WebChatPerDay int `env:"RATE_LIMIT_WEB_CHAT_PER_DAY" envDefault:"2000" doc:"chat messages for the web app's key in any 24 hours"`
	TokensPerDay  int `env:"MODEL_TOKENS_PER_DAY" envDefault:"50000000" doc:"tokens of the model, prompts and answers, for the whole service on one day (UTC): the ceiling of the bill"`
}

// maxPerDay bounds one caller's limit, because every request counted takes room in a row.
const maxPerDay = 10_000

func (l *Limits) check(Environment) (faults []error) {
	for name, limit := range map[string]int{
		"RATE_LIMIT_WEB_PER_DAY": l.WebPerDay, "RATE_LIMIT_MOBILE_PER_DAY": l.MobilePerDay,
		"RATE_LIMIT_CHAT_PER_DAY": l.ChatPerDay, "RATE_LIMIT_WEB_CHAT_PER_DAY": l.WebChatPerDay,
	} {
		if limit < 1 || limit > maxPerDay {
			faults = append(faults, errors.New(name+": is not from 1 to 10000"))
		}
	}
	if l.TokensPerDay < 1 {
		faults = append(faults, errors.New("MODEL_TOKENS_PER_DAY: is not positive"))
	}
	return faults
}
