package config

import "fmt"

// Feed bounds what one user may publish.
type Feed struct {
	MaxEvents  int `env:"MAX_EVENTS" envDefault:"10000" doc:"how many events one user may have that are not expired; with expired ones twice as many"`
	MaxSecrets int `env:"MAX_FOLLOW_SECRETS" envDefault:"5000" doc:"how many follow secrets one user may have"`
}

func (f *Feed) check(Environment) []error {
	return append(positive("MAX_EVENTS", f.MaxEvents), positive("MAX_FOLLOW_SECRETS", f.MaxSecrets)...)
}

// Share bounds what one user may share by links.
type Share struct {
	MaxItems int `env:"MAX_SHARED_ITEMS" envDefault:"1000" doc:"how many shared items one user may have that are not expired; with expired ones twice as many"`
}

func (s *Share) check(Environment) []error { return positive("MAX_SHARED_ITEMS", s.MaxItems) }

// Inbox bounds people's inboxes.
type Inbox struct {
	MaxWaiting int `env:"INBOX_MAX_WAITING" envDefault:"5000" doc:"how many messages may wait in one inbox"`
	MaxBytes   int `env:"INBOX_MAX_BYTES" envDefault:"8388608" doc:"how many bytes of messages may wait in one inbox"`
}

func (i *Inbox) check(Environment) []error {
	return append(positive("INBOX_MAX_WAITING", i.MaxWaiting), positive("INBOX_MAX_BYTES", i.MaxBytes)...)
}

func positive(name string, n int) []error {
	if n > 0 {
		return nil
	}
	return []error{fmt.Errorf("%s: is not positive", name)}
}
