package tests

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/liftlog/liftlog-api/functions/manifest"
)

// service is a Cloud Run service, as far as it is looked at.
type service struct {
	Name      string  `json:"name"`
	Ingress   string  `json:"ingress"`
	NoURI     bool    `json:"default_uri_disabled"`
	NoInvoker bool    `json:"invoker_iam_disabled"`
	Protected bool    `json:"deletion_protection"`
	Scaling   []scale `json:"scaling"`
	Template  []struct {
		Account     string      `json:"service_account"`
		Timeout     string      `json:"timeout"`
		Concurrency int         `json:"max_instance_request_concurrency"`
		Affinity    bool        `json:"session_affinity"`
		Generation  string      `json:"execution_environment"`
		Containers  []container `json:"containers"`
		Network     []struct {
			Egress string `json:"egress"`
		} `json:"vpc_access"`
	} `json:"template"`
}

type scale struct {
	Min int `json:"min_instance_count"`
	Max int `json:"max_instance_count"`
}

type container struct {
	Image     string `json:"image"`
	Resources []struct {
		Limits map[string]string `json:"limits"`
		Idle   bool              `json:"cpu_idle"`
		Boost  bool              `json:"startup_cpu_boost"`
	} `json:"resources"`
	Env []struct {
		Name   string `json:"name"`
		Value  string `json:"value"`
		Source []struct {
			Secret []struct {
				Secret  string `json:"secret"`
				Version string `json:"version"`
			} `json:"secret_key_ref"`
		} `json:"value_source"`
	} `json:"env"`
	Startup  []probe `json:"startup_probe"`
	Liveness []probe `json:"liveness_probe"`
}

type probe struct {
	Period   int `json:"period_seconds"`
	Timeout  int `json:"timeout_seconds"`
	Failures int `json:"failure_threshold"`
	Get      []struct {
		Path string `json:"path"`
	} `json:"http_get"`
}

// variables are the container's, secrets as sm:NAME/VERSION.
func (c container) variables() map[string]string {
	all := map[string]string{}
	for _, e := range c.Env {
		all[e.Name] = e.Value
		for _, source := range e.Source {
			for _, ref := range source.Secret {
				all[e.Name] = "sm:" + ref.Secret + "/" + ref.Version
			}
		}
	}
	return all
}

// secrets are the names of variables that come from Secret Manager.
func (c container) secrets() (names []string) {
	for name, value := range c.variables() {
		if strings.HasPrefix(value, "sm:") {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// checkEntries follows both ports to their maps.
func checkEntries(s state, mainMap string) error {
	type rule struct {
		Scheme  string `json:"load_balancing_scheme"`
		Address string `json:"ip_address"`
		Ports   string `json:"port_range"`
		Target  string `json:"target"`
	}
	type proxy struct {
		ID             string `json:"id"`
		URLMap         string `json:"url_map"`
		SSLPolicy      string `json:"ssl_policy"`
		CertificateMap string `json:"certificate_map"`
	}
	rules, err := each[rule](s, "google_compute_global_forwarding_rule")
	if err != nil {
		return err
	}
	secure, err := one[proxy](s, "google_compute_target_https_proxy.main")
	if err != nil {
		return err
	}
	plain, err := one[proxy](s, "google_compute_target_http_proxy.redirect")
	if err != nil {
		return err
	}
	redirecting, err := one[urlMap](s, "google_compute_url_map.redirect")
	if err != nil {
		return err
	}
	policy, err := one[struct {
		ID      string `json:"id"`
		Minimum string `json:"min_tls_version"`
	}](s, "google_compute_ssl_policy.main")
	if err != nil {
		return err
	}
	https, http := rules["google_compute_global_forwarding_rule.https"], rules["google_compute_global_forwarding_rule.http"]
	switch {
	case len(rules) != 2, https.Scheme != "EXTERNAL_MANAGED", http.Scheme != "EXTERNAL_MANAGED", https.Address != http.Address:
		return fmt.Errorf("the load balancer's entries are %v", rules)
	case https.Ports != "443", https.Target != secure.ID, secure.URLMap != mainMap, secure.CertificateMap == "":
		return errors.New("port 443 does not lead to the map with a certificate")
	case secure.SSLPolicy != policy.ID, policy.Minimum != "TLS_1_2":
		return errors.New("older TLS than 1.2 is taken")
	case http.Ports != "80", http.Target != plain.ID, plain.URLMap != redirecting.ID,
		!slices.Equal(redirecting.Redirect, []redirect{{true, "PERMANENT_REDIRECT"}}):
		return errors.New("port 80 does not lead to https by 308")
	}
	return nil
}

// serves is the function that the service is told to serve; the chat's is told none.
func (s service) serves() string {
	if target := s.Template[0].Containers[0].variables()["FUNCTION_TARGET"]; target != "" {
		return target
	}
	return "chat-service"
}

// checkBackends requires that each backend leads to the whole service of its name, through a group of endpoints, and that
// what anybody may write without proof is behind the stricter policy.
func checkBackends(s state, routes manifest.Manifest) error {
	strict, err := one[struct {
		ID string `json:"id"`
	}](s, `google_compute_security_policy.policy["strict"]`)
	if err != nil {
		return err
	}
	open := map[string]bool{}
	for _, r := range routes {
		open[r.Service()] = r.Auth == manifest.AuthNone && r.Writes
	}
	services, err := each[service](s, "google_cloud_run_v2_service")
	if err != nil {
		return err
	}
	names := map[string]bool{}
	for _, svc := range services {
		names[svc.Name] = true
	}
	groups, err := each[struct {
		ID  string `json:"id"`
		Run []struct {
			Service string `json:"service"`
			Tag     string `json:"tag"`
			Mask    string `json:"url_mask"`
		} `json:"cloud_run"`
	}](s, "google_compute_region_network_endpoint_group")
	if err != nil {
		return err
	}
	inGroup := map[string]string{}
	for address, group := range groups {
		if len(group.Run) != 1 || group.Run[0].Tag != "" || group.Run[0].Mask != "" {
			return fmt.Errorf("%s does not lead to a whole service", address)
		}
		inGroup[group.ID] = group.Run[0].Service
	}
	backends, err := each[struct {
		Name    string   `json:"name"`
		Scheme  string   `json:"load_balancing_scheme"`
		Policy  string   `json:"security_policy"`
		Checks  []string `json:"health_checks"`
		Backend []struct {
			Group string `json:"group"`
		} `json:"backend"`
	}](s, "google_compute_backend_service")
	if err != nil {
		return err
	}
	for address, backend := range backends {
		if backend.Scheme != "EXTERNAL_MANAGED" || len(backend.Checks) > 0 || backend.Policy == "" || len(backend.Backend) != 1 {
			return fmt.Errorf("%s is no backend that the API takes, or has no policy", address)
		}
		if (backend.Policy == strict.ID) != open[backend.Name] {
			return fmt.Errorf("%s is behind the other policy", address)
		}
		if backend.Name == "v1" {
			continue
		}
		if target := inGroup[backend.Backend[0].Group]; target != backend.Name || !names[target] {
			return fmt.Errorf("%s leads to %q", address, target)
		}
		delete(names, backend.Name)
	}
	if len(names) > 0 {
		return fmt.Errorf("nothing leads to %v", slices.Collect(maps.Keys(names)))
	}
	return nil
}

// faultsOfService compares a service with its entry in the list.
func faultsOfService(svc service, name, summary string, want manifest.Program, always bool) (faults []error) {
	template, c := svc.Template[0], svc.Template[0].Containers[0]
	check := func(ok bool, format string, args ...any) {
		if !ok {
			faults = append(faults, fmt.Errorf(svc.Name+": "+format, args...))
		}
	}
	check(svc.Name == name, "its name is not %s: %s", name, summary)
	check(svc.Ingress == "INGRESS_TRAFFIC_INTERNAL_LOAD_BALANCER" && svc.NoURI, "it can be reached past the load balancer")
	check(svc.NoInvoker, "the load balancer may not call it")
	check(svc.Protected, "it can be destroyed by mistake")
	check(slices.Equal(svc.Scaling, []scale{{want.MinInstances, want.MaxInstances}}), "instances %v", svc.Scaling)
	check(template.Timeout == fmt.Sprintf("%ds", want.TimeoutS), "timeout %s", template.Timeout)
	check(c.variables()["CLOUD_RUN_TIMEOUT_SECONDS"] == strconv.Itoa(want.TimeoutS), "CLOUD_RUN_TIMEOUT_SECONDS")
	check(template.Concurrency == want.Concurrency, "concurrency %d", template.Concurrency)
	check(template.Affinity == always, "affinity")
	check(maps.Equal(c.Resources[0].Limits, map[string]string{"cpu": want.CPU, "memory": want.Memory}), "limits %v", c.Resources[0].Limits)
	check(c.Resources[0].Idle == !always, "CPU between requests")
	generation := "EXECUTION_ENVIRONMENT_GEN2"
	if want.Memory == "128Mi" || want.Memory == "256Mi" {
		generation = "EXECUTION_ENVIRONMENT_GEN1"
	}
	check(template.Generation == generation, "generation %s", template.Generation)
	check(len(template.Network) == min(len(want.Databases), 1), "network %v", template.Network)
	check(len(c.Startup) == 1 && c.Startup[0].Period == 1 && c.Startup[0].Failures == 120 && c.Startup[0].Get[0].Path == "/health/ready", "start-up probe")
	check(len(c.Liveness) == 1 && c.Liveness[0].Get[0].Path == "/health/live", "liveness probe")
	for kind, d := range map[string]struct{ variable, name string }{
		manifest.DatabaseUser:      {"DATABASE_URL", "liftlog_user_data"},
		manifest.DatabaseRateLimit: {"RATE_LIMIT_DATABASE_URL", "liftlog_rate_limit"},
	} {
		url := ""
		if slices.Contains(want.Databases, kind) {
			url = "postgres://run-" + name + "%40liftlog-production.iam@localhost/" + d.name + "?sslmode=disable"
		}
		check(c.variables()[d.variable] == url, "%s is %s", d.variable, c.variables()[d.variable])
	}
	known := slices.Concat(want.Secrets, want.Settings, []string{
		"CLOUD_RUN_TIMEOUT_SECONDS", "CLOUD_SQL_INSTANCE", "DATABASE_URL", "ENVIRONMENT", "FUNCTION_TARGET", "GOOGLE_CLOUD_PROJECT", "LOG_LEVEL",
		"RATE_LIMIT_DATABASE_URL",
	})
	for variable := range c.variables() {
		check(slices.Contains(known, variable), "it is told %s, which it does not read", variable)
	}
	return faults
}

// checkServices compares services, accounts, secrets and logins with the lists of programs.
func checkServices(ctx context.Context, w workspace) error {
	routes, err := readManifest()
	if err != nil {
		return err
	}
	states, err := w.test(ctx, "services")
	if err != nil {
		return err
	}
	s := states["production"]
	services, err := each[service](s, "google_cloud_run_v2_service")
	if err != nil {
		return err
	}
	var faults []error
	want := map[string][]string{} // secrets of each program
	if len(services) != len(routes)+1 {
		faults = append(faults, fmt.Errorf("%d services for %d functions and the chat", len(services), len(routes)))
	}
	for _, r := range routes {
		svc := services[fmt.Sprintf("module.function[%q].google_cloud_run_v2_service.service", r.Function)]
		if svc.Name == "" {
			return fmt.Errorf("%s has no service", r.Function)
		}
		faults = append(faults, faultsOfService(svc, r.Service(), r.Summary, manifest.Program{
			Databases: r.Databases, Memory: r.Memory, CPU: r.CPU, Concurrency: r.Concurrency, TimeoutS: r.TimeoutS, MinInstances: r.MinInstances,
			MaxInstances: r.MaxInstances, Secrets: r.Secrets, Settings: r.Settings,
		}, false)...)
		if target := svc.serves(); target != r.Function {
			faults = append(faults, fmt.Errorf("%s serves %s", svc.Name, target))
		}
		want[r.Service()] = r.Secrets
	}
	chat := services["module.chat.google_cloud_run_v2_service.service"]
	faults = append(faults, faultsOfService(chat, "chat-service", "the chat", manifest.ProgramOf("chat-service"), true)...)
	for _, program := range manifest.Programs() {
		want[program.Program] = program.Secrets
	}
	main, err := one[urlMap](s, "google_compute_url_map.main")
	if err != nil {
		return err
	}
	return errors.Join(append(faults, checkBackends(s, routes), checkEntries(s, main.ID), checkAccounts(s, services, want))...)
}

// checkAccounts requires that each program has an account of its own, and that a secret's readers are exactly its programs.
func checkAccounts(s state, services map[string]service, want map[string][]string) error {
	type account struct {
		ID     string `json:"account_id"`
		Email  string `json:"email"`
		Member string `json:"member"`
	}
	accounts, err := each[account](s, "google_service_account")
	if err != nil {
		return err
	}
	var faults []error
	program := map[string]string{} // by member and by address of the account
	for address, a := range accounts {
		name, isProgram := strings.CutPrefix(a.ID, "run-")
		if _, known := want[name]; isProgram != known {
			faults = append(faults, fmt.Errorf("%s is nobody's account", address))
		}
		if program[a.Email] != "" || program[a.Member] != "" {
			return fmt.Errorf("%s is not told from another account", address)
		}
		program[a.Email], program[a.Member] = name, name
	}
	for name := range want {
		if !slices.ContainsFunc(slices.Collect(maps.Values(accounts)), func(a account) bool { return a.ID == "run-"+name }) {
			faults = append(faults, fmt.Errorf("%s has no account", name))
		}
	}
	for address, svc := range services {
		name := program[svc.Template[0].Account]
		if name != svc.Name {
			faults = append(faults, fmt.Errorf("%s runs as %q", address, name))
		}
		wanted := slices.Sorted(slices.Values(want[name]))
		wanted = slices.DeleteFunc(wanted, func(secret string) bool { return secret == "REVENUECAT_API_KEY" }) // not switched on in production
		if got := svc.Template[0].Containers[0].secrets(); !slices.Equal(got, wanted) {
			faults = append(faults, fmt.Errorf("%s is given %v, want %v", svc.Name, got, wanted))
		}
	}
	jobs, err := each[struct {
		Name     string
		Template []struct {
			Template []struct {
				Account    string `json:"service_account"`
				Generation string `json:"execution_environment"`
				Containers []container
			} `json:"template"`
		} `json:"template"`
	}](s, "google_cloud_run_v2_job")
	if err != nil {
		return err
	}
	for address, job := range jobs {
		task := job.Template[0].Template[0]
		if program[task.Account] != job.Name {
			faults = append(faults, fmt.Errorf("%s runs as %q", address, program[task.Account]))
		}
		if limits := task.Containers[0].Resources[0].Limits; limits["memory"] != "512Mi" || task.Generation != "EXECUTION_ENVIRONMENT_GEN2" {
			faults = append(faults, fmt.Errorf("%s has %v: jobs need 512Mi", address, limits))
		}
	}

	// Who may read which secret, by the secrets' own access lists; a right to the whole project would be a right to all.
	grants, err := each[struct {
		Secret string `json:"secret_id"`
		Role   string `json:"role"`
		Member string `json:"member"`
	}](s, "google_secret_manager_secret_iam_member")
	if err != nil {
		return err
	}
	readers := map[string][]string{}
	for address, g := range grants {
		if g.Role != "roles/secretmanager.secretAccessor" {
			faults = append(faults, fmt.Errorf("%s gives %s", address, g.Role))
		}
		readers[g.Secret] = append(readers[g.Secret], program[g.Member])
	}
	for secret, got := range readers {
		var wanted []string
		for name, secrets := range want {
			if slices.Contains(secrets, secret) {
				wanted = append(wanted, name)
			}
		}
		slices.Sort(got)
		slices.Sort(wanted)
		if !slices.Equal(got, wanted) {
			faults = append(faults, fmt.Errorf("%s is read by %v, want %v", secret, got, wanted))
		}
	}
	roles, err := each[struct{ Role, Member string }](s, "google_project_iam_member")
	if err != nil {
		return err
	}
	for address, r := range roles {
		_, isProgram := want[program[r.Member]]
		if isProgram && r.Role != "roles/cloudsql.client" && r.Role != "roles/cloudsql.instanceUser" ||
			slices.Contains([]string{"roles/owner", "roles/editor", "roles/secretmanager.admin", "roles/secretmanager.secretAccessor"}, r.Role) {
			faults = append(faults, fmt.Errorf("%s gives %s to the whole project", address, r.Role))
		}
	}
	versions, err := each[struct{ Secret string }](s, "google_secret_manager_secret_version")
	if err != nil {
		return err
	}
	if len(versions) > 0 {
		faults = append(faults, errors.New("a secret's value is in the state"))
	}
	users, err := each[struct {
		Name   string   `json:"name"`
		Type   string   `json:"type"`
		Policy string   `json:"deletion_policy"`
		Roles  []string `json:"database_roles"`
	}](s, "google_sql_user")
	if err != nil {
		return err
	}
	for address, u := range users {
		name := strings.TrimSuffix(strings.TrimPrefix(u.Name, "run-"), "@liftlog-production.iam")
		if _, known := want[name]; !known || u.Type != "CLOUD_IAM_SERVICE_ACCOUNT" || u.Policy != "ABANDON" {
			faults = append(faults, fmt.Errorf("%s: %+v is no program's login", address, u))
		}
		if (len(u.Roles) > 0) != (name == "migrate") {
			faults = append(faults, fmt.Errorf("%s is given %v", address, u.Roles))
		}
	}
	if len(users) != len(want)-1 { // Health has no database
		faults = append(faults, fmt.Errorf("%d logins for %d programs", len(users), len(want)-1))
	}
	return errors.Join(faults...)
}

func TestServices(t *testing.T) {
	t.Parallel()
	require.NoError(t, checkServices(t.Context(), newWorkspace(t)))
}
