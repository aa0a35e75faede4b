package config_test

import (
	"context"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"log/slog"
	"net"
	"strings"
	"sync/atomic"
	"testing"

	"cloud.google.com/go/secretmanager/apiv1/secretmanagerpb"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/api/option"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"github.com/liftlog/liftlog-api/shared/config"
)

// program has all components, one of them only sometimes.
type program struct {
	Service     config.Service
	HTTP        config.HTTP
	Database    config.Database
	RateLimit   config.RateLimitDatabase
	Credentials *config.Credentials
}

const (
	key32  = "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="
	secret = "hunter2"
)

// minimal is what a program needs at least.
func minimal(more ...string) []string {
	return append([]string{"DATABASE_URL=postgres://u:" + secret + "@h/d", "CREDENTIAL_KEY=2:" + key32 + ",1:" + key32}, more...)
}

func TestDefaultsAndValues(t *testing.T) {
	t.Parallel()
	p := program{Credentials: &config.Credentials{}}
	require.NoError(t, config.Load(t.Context(), minimal("PORT=", "LOG_LEVEL=warn", "CORS_ORIGINS=https://a.example,http://b.example:81", "OTHER=x"), &p))
	assert.Equal(t, config.Service{
		Environment: config.Development, LogLevel: slog.LevelWarn, CORSOrigins: []string{"https://a.example", "http://b.example:81"},
	}, p.Service)
	assert.Equal(t, 8080, p.HTTP.Port)
	assert.Equal(t, "postgres://u:hunter2@h/d", p.Database.URL.Reveal())
	assert.Equal(t, p.Database.URL, p.RateLimit.URL, "it defaults to the users'")
	version, key := p.Credentials.Keys.Signing()
	assert.Equal(t, 2, version)
	assert.Len(t, key, 32)
	_, ok := p.Credentials.Keys.Key(1)
	assert.True(t, ok)
	_, ok = p.Credentials.Keys.Key(3)
	assert.False(t, ok)
}

func TestAPartThatIsNilIsNotAskedFor(t *testing.T) {
	t.Parallel()
	var p program
	require.NoError(t, config.Load(t.Context(), []string{"DATABASE_URL=postgres://h/d"}, &p))
	assert.NotContains(t, config.Usage(&p), "CREDENTIAL_KEY")
	assert.Contains(t, config.Usage(&program{Credentials: &config.Credentials{}}), "CREDENTIAL_KEY")
}

func TestEveryFaultIsReportedAndNoValue(t *testing.T) {
	t.Parallel()
	err := config.Load(t.Context(), []string{
		"ENVIRONMENT=" + secret, "TEST_MODE=" + secret, "LOG_LEVEL=" + secret, "CORS_ORIGINS=https://a/" + secret, "PORT=" + secret,
		"DATABASE_URL=mysql://" + secret, "RATE_LIMIT_DATABASE_URL=postgres://u:" + secret + "@h:x/d", "CLOUD_SQL_INSTANCE=" + secret,
		"CREDENTIAL_KEY=1:" + secret,
	}, &program{Credentials: &config.Credentials{}})
	require.Error(t, err)
	for _, want := range []string{
		"ENVIRONMENT: is not development, staging or production", "TEST_MODE: is malformed", "LOG_LEVEL: is malformed",
		"CORS_ORIGINS: an origin is not", "PORT: is malformed", "\nDATABASE_URL: is not a postgres URL",
		"RATE_LIMIT_DATABASE_URL: is not a postgres URL", "CLOUD_SQL_INSTANCE: is not", "CREDENTIAL_KEY: key 1 is",
	} {
		assert.ErrorContains(t, err, want)
	}
	assert.NotContains(t, err.Error(), secret)

	err = config.Load(t.Context(), []string{"MODEL_TOKENS_PER_DAY=" + secret}, &struct{ config.Limits }{})
	assert.EqualError(t, err, "load configuration: MODEL_TOKENS_PER_DAY: is malformed", "and nothing else, which would not be true")
}

func TestRules(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		environ []string
		want    string
	}{
		"required":                {[]string{}, "DATABASE_URL: is required"},
		"test mode in production": {minimal("ENVIRONMENT=production", "TEST_MODE=True"), "TEST_MODE: is not for production"},
		"a port out of range":     {minimal("PORT=65536"), "PORT: is out of range"},
		"a key without version":   {minimal("CREDENTIAL_KEY=" + key32), "key 1 does not begin with a positive version and a colon"},
		"a short key":             {minimal("CREDENTIAL_KEY=1:QUJD"), "key 1 is shorter than 32 bytes"},
		"a version twice":         {minimal("CREDENTIAL_KEY=1:" + key32 + ",1:" + key32), "two keys have the same version"},
		"version zero":            {minimal("CREDENTIAL_KEY=0:" + key32), "positive version"},
		"a bad reference":         {minimal("DATABASE_URL=sm://Nope/"), "DATABASE_URL: is not sm://project/secret[/version]"},
	}
	for name, c := range cases {
		assert.ErrorContains(t, config.Load(t.Context(), c.environ, &program{Credentials: &config.Credentials{}}), c.want, name)
	}
	require.NoError(t, config.Load(t.Context(), minimal("TEST_MODE=True", "CLOUD_SQL_INSTANCE=p:r:i"), &program{}))
}

func TestSecretsPrintAsNothing(t *testing.T) {
	t.Parallel()
	p := program{Credentials: &config.Credentials{}}
	require.NoError(t, config.Load(t.Context(), minimal(), &p))
	var log strings.Builder
	slog.New(slog.NewTextHandler(&log, nil)).Info("p", "all", p, "one", p.Database.URL, "keys", p.Credentials.Keys) //nolint:sloglint // a test
	encoded, err := json.Marshal(p)
	require.NoError(t, err)
	inEveryWay := []any{p, p, p, p, p, p, p}
	for _, shown := range []string{
		fmt.Sprintf("%v %+v %#v %s %q %x %d", inEveryWay...), fmt.Sprintf("%x %#v", p.Database.URL, p.Credentials.Keys), log.String(), string(encoded),
		p.Database.URL.String(),
	} {
		assert.NotContains(t, shown, secret)
		assert.NotContains(t, shown, fmt.Sprintf("%x", secret))
		assert.NotContains(t, shown, key32[:10])
		assert.Contains(t, shown, "(secret)")
	}
	assert.True(t, config.NewSecret("x").IsSet())
	assert.False(t, config.Secret{}.IsSet())
}

// secretManager is Secret Manager as far as this package uses it, with faults.
type secretManager struct {
	secretmanagerpb.UnimplementedSecretManagerServiceServer

	calls atomic.Int32
}

func (s *secretManager) AccessSecretVersion(
	_ context.Context, r *secretmanagerpb.AccessSecretVersionRequest,
) (*secretmanagerpb.AccessSecretVersionResponse, error) {
	payload := &secretmanagerpb.SecretPayload{Data: []byte("postgres://u:" + secret + "@h/d")}
	sum := int64(crc32.Checksum(payload.GetData(), crc32.MakeTable(crc32.Castagnoli)))
	switch r.GetName() {
	case "projects/p/secrets/good/versions/latest", "projects/p/secrets/good/versions/7":
	case "projects/p/secrets/shaky/versions/latest":
		if s.calls.Add(1) == 1 {
			return nil, status.Error(codes.Unavailable, secret)
		}
	case "projects/p/secrets/damaged/versions/latest":
		sum++
	case "projects/p/secrets/denied/versions/latest":
		return nil, status.Error(codes.PermissionDenied, secret)
	default:
		return nil, status.Error(codes.NotFound, secret)
	}
	payload.DataCrc32C = &sum
	return &secretmanagerpb.AccessSecretVersionResponse{Name: r.GetName(), Payload: payload}, nil
}

// startSecretManager serves on loopback and returns the option that reaches it.
func startSecretManager(t *testing.T) config.Option {
	t.Helper()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	server := grpc.NewServer()
	secretmanagerpb.RegisterSecretManagerServiceServer(server, &secretManager{})
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(server.Stop)
	return config.WithSecretManager(option.WithEndpoint(listener.Addr().String()), option.WithoutAuthentication(),
		option.WithGRPCDialOption(grpc.WithTransportCredentials(insecure.NewCredentials())))
}

func TestReferencesAreReadFromSecretManager(t *testing.T) {
	t.Parallel()
	at := startSecretManager(t)
	for _, name := range []string{"good", "good/7", "good/latest", "shaky"} {
		var p program
		require.NoError(t, config.Load(t.Context(), []string{"DATABASE_URL=sm://p/" + name, "NOT_ASKED_FOR=sm://p/missing"}, &p, at), name)
		assert.Equal(t, "postgres://u:hunter2@h/d", p.Database.URL.Reveal())
	}
	err := config.Load(t.Context(), []string{"DATABASE_URL=sm://p/denied", "RATE_LIMIT_DATABASE_URL=sm://p/missing", "CREDENTIAL_KEY=sm://p/damaged"},
		&program{Credentials: &config.Credentials{}}, at)
	require.Error(t, err)
	for _, want := range []string{"DATABASE_URL: read secret: PermissionDenied", "RATE_LIMIT_DATABASE_URL: read secret: NotFound",
		"CREDENTIAL_KEY: read secret: it arrived damaged"} {
		assert.ErrorContains(t, err, want)
	}
	assert.NotContains(t, err.Error(), secret)
}

func TestASilentSecretManagerIsNotWaitedForForever(t *testing.T) {
	t.Parallel()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0") // accepts and says nothing
	require.NoError(t, err)
	t.Cleanup(func() { _ = listener.Close() })
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	at := config.WithSecretManager(option.WithEndpoint(listener.Addr().String()), option.WithoutAuthentication(),
		option.WithGRPCDialOption(grpc.WithTransportCredentials(insecure.NewCredentials())))
	require.ErrorContains(t, config.Load(ctx, []string{"DATABASE_URL=sm://p/good"}, &program{}, at), "DATABASE_URL: read secret: Canceled")
}
