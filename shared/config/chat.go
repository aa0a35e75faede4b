package config

import "errors"

// Chat is what only the chat service reads.
type Chat struct {
	TokenKeys      KeyRing `env:"CHAT_TOKEN_KEY,required" doc:"keys of connection tokens, version:base64, separated by commas; the first one signs"`
	MaxConnections int     `env:"CHAT_MAX_CONNECTIONS" envDefault:"900" doc:"how many connections one instance of the chat takes"`
	PlanSchema     string  `env:"AI_PLAN_SCHEMA" doc:"a file with the JSON schema of plans and its version; unset: the one that is built in"`
}

func (c *Chat) check(Environment) []error {
	if c.MaxConnections <= 0 {
		return []error{errors.New("CHAT_MAX_CONNECTIONS: is not positive")}
	}
	return nil
}
