package config

import (
	"errors"
	"strings"
)

// Logins says who logs in to the databases, so that each login can be given its rights.
type Logins struct {
	Pattern string `env:"DATABASE_LOGINS" doc:"the programs' logins, with a star for a program's name: run-*@project.iam"`
	V1      string `env:"V1_DATABASE_LOGIN" doc:"v1's login, which owns v1's tables; unset: v1 does not work on the databases"`
}

func (l *Logins) check(Environment) []error {
	if l.Pattern != "" && strings.Count(l.Pattern, "*") != 1 {
		return []error{errors.New("DATABASE_LOGINS: has not exactly one star")}
	}
	return nil
}

// Login is the login of the program with that name.
func (l *Logins) Login(program string) string { return strings.Replace(l.Pattern, "*", program, 1) }
