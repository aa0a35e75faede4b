package functions

import (
	"github.com/liftlog/liftlog-api/functions/manifest"
	"github.com/liftlog/liftlog-api/shared/config"
	"github.com/liftlog/liftlog-api/shared/postgres/grants"
)

// Logins lists the groups of each program's login: a function's follow from the databases that it uses and from whether it
// writes, the others' are in programs.json.
func Logins(c config.Logins) (logins grants.Logins) {
	logins.V1 = c.V1
	add := func(program string, groups ...grants.Group) {
		if len(groups) > 0 {
			logins.Programs = append(logins.Programs, grants.Login{Name: c.Login(program), Groups: groups})
		}
	}
	for _, route := range Manifest() {
		var groups []grants.Group
		switch {
		case route.Needs(manifest.DatabaseUser) && route.Writes:
			groups = append(groups, grants.Writer)
		case route.Needs(manifest.DatabaseUser):
			groups = append(groups, grants.Reader)
		}
		if route.Needs(manifest.DatabaseRateLimit) {
			groups = append(groups, grants.Limits)
		}
		add(route.Service(), groups...)
	}
	for _, program := range manifest.Programs() {
		var groups []grants.Group
		for _, group := range program.Groups {
			groups = append(groups, grants.Group(group))
		}
		add(program.Program, groups...)
	}
	return logins
}
