// Package config reads the environment into structs, and reports every fault of it at once. A program's configuration
// is a struct of the components below, or of pointers to them, of which only those that are not nil are filled. Values
// of the form sm://project/secret[/version] are read from Secret Manager.
package config

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"net/url"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/caarlos0/env/v11"
	"github.com/jackc/pgx/v5"
	"google.golang.org/api/option"
)

// Environment says where a program runs.
type Environment string

// Where a program may run.
const (
	Development Environment = "development"
	Staging     Environment = "staging"
	Production  Environment = "production"
)

// Service is what every program reads.
type Service struct {
	Environment Environment `env:"ENVIRONMENT" envDefault:"development" doc:"development, staging or production"`
	TestMode    bool        `env:"TEST_MODE" envDefault:"false" doc:"switches rate limits off; refused in production"`
	LogLevel    slog.Level  `env:"LOG_LEVEL" envDefault:"INFO" doc:"DEBUG, INFO, WARN or ERROR"`
	CORSOrigins []string    `env:"CORS_ORIGINS" doc:"origins that browsers may call from, separated by commas; unset: any"`
	Project     string      `env:"GOOGLE_CLOUD_PROJECT" doc:"the project, for trace names in logs"`
}

// HTTP is what every server reads.
type HTTP struct {
	Port int `env:"PORT" envDefault:"8080" doc:"the port to listen on"`
}

// Database is where the users are.
type Database struct {
	URL              Secret `env:"DATABASE_URL,required" doc:"the users' database, as a postgres URL"`
	CloudSQLInstance string `env:"CLOUD_SQL_INSTANCE" doc:"project:region:instance, dialed with IAM login; the URLs then give user and database only"`
}

// RateLimitDatabase is where the rate limits are: in a database of their own, or with the users.
type RateLimitDatabase struct {
	URL              Secret `env:"RATE_LIMIT_DATABASE_URL" doc:"the rate limits' database; unset: the users'"`
	UsersURL         Secret `env:"DATABASE_URL" doc:"the users' database, as a postgres URL"` // what URL is when it is unset
	CloudSQLInstance string `env:"CLOUD_SQL_INSTANCE" doc:"project:region:instance, dialed with IAM login; the URLs then give user and database only"`
}

// Credentials holds the keys of password tags.
type Credentials struct {
	Keys KeyRing `env:"CREDENTIAL_KEY,required" doc:"keys of password tags, version:base64, separated by commas; the first one signs"`
}

// Option changes how [Load] works.
type Option func(*loader)

type loader struct{ secretManager []option.ClientOption }

// WithSecretManager passes options to the Secret Manager client, such as another endpoint.
func WithSecretManager(options ...option.ClientOption) Option {
	return func(l *loader) { l.secretManager = options }
}

// Load fills dst, a pointer to a struct of components, from environ, which has the form of os.Environ. A variable set
// to nothing counts as unset, and only variables that dst asks for are read. The error names every variable at fault
// and repeats no value.
func Load(ctx context.Context, environ []string, dst any, options ...Option) error {
	var l loader
	for _, o := range options {
		o(&l)
	}
	values := map[string]string{}
	for _, entry := range environ {
		if name, value, _ := strings.Cut(entry, "="); value != "" {
			values[name] = value
		}
	}
	faults := l.resolve(ctx, Describe(dst), values)
	faults = append(faults, parse(values, dst)...)
	unread := len(faults)
	for _, fault := range check(reflect.ValueOf(dst).Elem()) {
		variable, _, _ := strings.Cut(fault.Error(), ":")
		if !slices.ContainsFunc(faults[:unread], func(known error) bool { return strings.HasPrefix(known.Error(), variable+":") }) {
			faults = append(faults, fault) // a value that could not be read looks like one that is missing
		}
	}
	if len(faults) > 0 {
		return fmt.Errorf("load configuration: %w", errors.Join(once(faults, error.Error)...))
	}
	return nil
}

// once returns the first of those with the same name: two components may read the same variable.
func once[T any](all []T, name func(T) string) (each []T) {
	seen := map[string]bool{}
	for _, item := range all {
		if !seen[name(item)] {
			seen[name(item)] = true
			each = append(each, item)
		}
	}
	return each
}

// Require makes those components of dst that are pointers and read one of the variables.
func Require(dst any, variables []string) {
	for _, component := range reflect.ValueOf(dst).Elem().Fields() {
		if component.Kind() != reflect.Pointer || !component.IsNil() {
			continue
		}
		for field := range component.Type().Elem().Fields() {
			if slices.Contains(variables, variableIn(field)) {
				component.Set(reflect.New(component.Type().Elem()))
				break
			}
		}
	}
}

// variableIn is the variable that a component's field holds.
func variableIn(field reflect.StructField) string {
	name, _, _ := strings.Cut(field.Tag.Get("env"), ",")
	return name
}

// parse fills dst and names the variables that could not be read. The library's own text would repeat their values.
func parse(values map[string]string, dst any) (faults []error) {
	err := env.ParseWithOptions(dst, env.Options{Environment: values})
	all, ok := errors.AsType[env.AggregateError](err)
	if err != nil && !ok {
		return []error{errors.New("the configuration's structure cannot be read")}
	}
	for _, err := range all.Errors {
		if e, ok := errors.AsType[env.ParseError](err); ok {
			faults = append(faults, fmt.Errorf("%s: %s", variableOf(dst, e.Name), unreadable(e.Err)))
		} else if e, ok := errors.AsType[env.VarIsNotSetError](err); ok {
			faults = append(faults, fmt.Errorf("%s: is required", e.Key))
		} else {
			faults = append(faults, errors.New("the configuration's structure cannot be read"))
		}
	}
	return faults
}

// unreadable says why a value could not be read, where the reason is known to hold no part of it.
func unreadable(err error) string {
	if e, ok := errors.AsType[*keyRingError](err); ok {
		return e.Error()
	}
	return "is malformed"
}

// checker is a component with rules that its tags cannot say.
type checker interface{ check(Environment) []error }

// check asks every component of the struct for faults, telling it the environment that Service holds.
func check(program reflect.Value) (faults []error) {
	environment := Production // the strictest, for a program that does not say
	var checkers []checker
	for component := range components(program) {
		if service, ok := component.Addr().Interface().(*Service); ok {
			environment = service.Environment
		}
		if c, ok := component.Addr().Interface().(checker); ok {
			checkers = append(checkers, c)
		}
	}
	for _, c := range checkers {
		faults = append(faults, c.check(environment)...)
	}
	return faults
}

var originForm = regexp.MustCompile(`^https?://[a-zA-Z0-9.-]+(:\d{1,5})?$`)

func (s *Service) check(Environment) (faults []error) {
	switch s.Environment {
	case Development, Staging:
	case Production:
		if s.TestMode {
			faults = append(faults, errors.New("TEST_MODE: is not for production"))
		}
	default:
		faults = append(faults, errors.New("ENVIRONMENT: is not development, staging or production"))
	}
	for _, origin := range s.CORSOrigins {
		if !originForm.MatchString(origin) {
			faults = append(faults, errors.New("CORS_ORIGINS: an origin is not scheme://host[:port]"))
		}
	}
	return faults
}

func (h *HTTP) check(Environment) []error {
	if h.Port < 0 || h.Port > 65535 {
		return []error{errors.New("PORT: is out of range")}
	}
	return nil
}

var instanceForm = regexp.MustCompile(`^[a-z0-9.:-]+:[a-z0-9-]+:[a-z0-9-]+$`)

func (d *Database) check(Environment) (faults []error) {
	if d.URL.IsSet() && !isPostgresURL(d.URL.Reveal()) {
		faults = append(faults, errors.New("DATABASE_URL: is not a postgres URL"))
	}
	return append(faults, checkInstance(d.CloudSQLInstance)...)
}

func (d *RateLimitDatabase) check(Environment) (faults []error) {
	name := "RATE_LIMIT_DATABASE_URL"
	if !d.URL.IsSet() && d.UsersURL.IsSet() {
		d.URL, name = d.UsersURL, "DATABASE_URL"
	}
	switch {
	case !d.URL.IsSet():
		faults = append(faults, errors.New("RATE_LIMIT_DATABASE_URL: is required where DATABASE_URL is not set"))
	case !isPostgresURL(d.URL.Reveal()):
		faults = append(faults, fmt.Errorf("%s: is not a postgres URL", name))
	}
	return append(faults, checkInstance(d.CloudSQLInstance)...)
}

func checkInstance(name string) []error {
	if name != "" && !instanceForm.MatchString(name) {
		return []error{errors.New("CLOUD_SQL_INSTANCE: is not project:region:instance")}
	}
	return nil
}

func isPostgresURL(text string) bool {
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "postgres" && u.Scheme != "postgresql" {
		return false
	}
	_, err = pgx.ParseConfig(text)
	return err == nil
}

// Variable describes one variable of the environment.
type Variable struct {
	Name     string
	Default  string
	Required bool
	Doc      string
}

// Describe lists the variables that a program's configuration reads, each once, in the order of its fields.
func Describe(dst any) (variables []Variable) {
	eachField(dst, func(f reflect.StructField) {
		required := strings.HasSuffix(f.Tag.Get("env"), ",required")
		variables = append(variables, Variable{variableIn(f), f.Tag.Get("envDefault"), required, f.Tag.Get("doc")})
	})
	return once(variables, func(v Variable) string { return v.Name })
}

// Usage is a table of these variables for a program's help.
func Usage(dst any) string {
	var text strings.Builder
	table := tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0)
	for _, v := range Describe(dst) {
		note := ""
		switch {
		case v.Required:
			note = " (required)"
		case v.Default != "":
			note = " (default " + v.Default + ")"
		}
		_, _ = fmt.Fprintf(table, "  %s\t%s%s\n", v.Name, v.Doc, note) // a Builder does not fail
	}
	_ = table.Flush()
	return text.String()
}

// variableOf is the variable of the field with this Go name.
func variableOf(dst any, field string) (variable string) {
	eachField(dst, func(f reflect.StructField) {
		if f.Name == field {
			variable = variableIn(f)
		}
	})
	return variable
}

// eachField calls fn for the fields of dst's components.
func eachField(dst any, fn func(reflect.StructField)) {
	for component := range components(reflect.ValueOf(dst).Elem()) {
		for field := range component.Type().Fields() {
			fn(field)
		}
	}
}

// components are the parts of a program's configuration that are there.
func components(program reflect.Value) iter.Seq[reflect.Value] {
	return func(yield func(reflect.Value) bool) {
		for _, component := range program.Fields() {
			if component.Kind() == reflect.Pointer {
				if component.IsNil() {
					continue
				}
				component = component.Elem()
			}
			if !yield(component) {
				return
			}
		}
	}
}
