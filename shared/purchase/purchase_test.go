package purchase

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/liftlog/liftlog-api/shared/apierr"
	"github.com/liftlog/liftlog-api/shared/clientaddr"
	"github.com/liftlog/liftlog-api/shared/config"
	"github.com/liftlog/liftlog-api/shared/postgres"
	"github.com/liftlog/liftlog-api/shared/postgres/pgtest"
	"github.com/liftlog/liftlog-api/shared/programtest"
	"github.com/liftlog/liftlog-api/shared/purchase/outbound"
	"github.com/liftlog/liftlog-api/shared/purchase/purchasetest"
)

func TestMain(m *testing.M) { os.Exit(pgtest.Run(m)) }

const webKey = "web-key"

// fake is a store that answers by what verify says.
type fake struct {
	calls  atomic.Int32
	verify func(ctx context.Context, token string) (subject string, valid bool, err error)
}

func (f *fake) Plausible(token string) bool { return token != "nonsense" }

func (f *fake) Verify(ctx context.Context, token string) (subject string, valid bool, err error) {
	f.calls.Add(1)
	return f.verify(ctx, token)
}

// answers always says the same.
func answers(subject string, valid bool, err error) *fake {
	return &fake{verify: func(context.Context, string) (string, bool, error) { return subject, valid, err }}
}

// lines is a log to look into.
type lines struct{ programtest.Log }

// take returns the lines since the last time, without their times.
func (l *lines) take(t *testing.T) (all []map[string]any) {
	t.Helper()
	for decoder := json.NewDecoder(strings.NewReader(l.Take())); decoder.More(); {
		var line map[string]any
		require.NoError(t, decoder.Decode(&line))
		delete(line, "time")
		all = append(all, line)
	}
	return all
}

// instance is a Verifier with Apple as its only store, and a clock that stands still.
type instance struct {
	*Verifier
	log *lines
	at  time.Time
}

func start(db *postgres.DB, apple *fake) *instance {
	log := &lines{}
	i := &instance{log: log, at: time.Now()}
	i.Verifier = newVerifier(config.NewSecret(webKey), map[Store]backend{Apple: apple}, table{db}, slog.New(slog.NewJSONHandler(log, nil)))
	i.now = func() time.Time { return i.at }
	return i
}

var (
	errAway = outbound.Unknown(outbound.Failed, time.Time{})
	buyer   = Buyer{Apple, "apple 1"}
)

func warning(level, message, fault string) map[string]any {
	return map[string]any{"level": level, "msg": message, "store": "Apple", "fault": fault}
}

func stored(t *testing.T, db *postgres.DB) (count int) {
	t.Helper()
	require.NoError(t, db.QueryRow(t.Context(), `SELECT count(*) FROM v2_purchase_verdicts`).Scan(&count))
	return count
}

func TestTheHeadersForms(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("a", maxTokenLength)
	for header, want := range map[string]Buyer{
		"Web key": {Web, "key"}, "web key": {Web, "key"}, "Bearer Web key": {Web, "key"}, "Bearer WEB key": {Web, "key"}, "0 key": {Web, "key"},
		"Bearer 0 key": {Web, "key"}, "Google t": {Google, "t"}, "1 t": {Google, "t"}, "APPLE t": {Apple, "t"}, "2 t": {Apple, "t"},
		"Revenuecat t": {RevenueCat, "t"}, "3 t": {RevenueCat, "t"}, "Web Bearer": {Web, "Bearer"}, "Apple " + long: {Apple, long},
		"": {}, "Web": {}, "Web ": {}, " Web key": {}, "Web  key": {}, "Web key ": {}, "Web a b": {}, "Nokia abc": {}, "Basic YTpi": {}, "4 key": {}, "-1 key": {}, "00 key": {},
		"bearer Web key": {}, "BEARER Web key": {}, "Bearer": {}, "Bearer ": {}, "Bearer Web": {}, "Bearer  Web key": {}, "Bearer Web  key": {},
		"Bearer Bearer Web key": {}, "Bearer key": {}, "Web\tkey": {}, "Apple a" + long: {},
	} {
		store, token, ok := parse(header)
		assert.Equal(t, want.Subject != "", ok, header)
		assert.Equal(t, want, Buyer{store, token}, header)
	}
}

func FuzzParse(f *testing.F) {
	f.Add("Bearer Web key")
	f.Add("2 a")
	f.Fuzz(func(t *testing.T, header string) {
		store, token, ok := parse(header)
		if !ok {
			assert.Empty(t, string(store)+token)
			return
		}
		assert.True(t, strings.HasSuffix(header, " "+token))
		again, same, ok := parse(string(store) + " " + token)
		assert.True(t, ok && again == store && same == token)
	})
}

func TestTheWebsKey(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	i := start(db, answers("", false, nil))
	got, err := i.Authorize(t.Context(), "Bearer Web "+webKey)
	require.NoError(t, err)
	assert.Equal(t, Buyer{Web, webKey}, got)
	for _, header := range []string{"Web wrong", "Web " + webKey + "x", "Web web-ke", "Web", "", "Google t"} {
		_, err = i.Authorize(t.Context(), header)
		assert.Equal(t, apierr.Unauthenticated, apierr.KindOf(err), header)
	}
	assert.Zero(t, stored(t, db))

	i.webKey = config.Secret{}
	_, err = i.Authorize(t.Context(), "Web "+webKey)
	assert.Equal(t, apierr.Unauthenticated, apierr.KindOf(err), "without a key nothing is valid")
}

func TestVerdictsAreKeptForAWhile(t *testing.T) {
	t.Parallel()
	apple := answers("apple 1", true, nil)
	i := start(pgtest.New(t), apple)
	for range 3 {
		got, err := i.Authorize(t.Context(), "Apple token")
		require.NoError(t, err)
		assert.Equal(t, buyer, got)
	}
	i.at = i.at.Add(validFor - time.Second)
	_, err := i.Authorize(t.Context(), "2 token")
	require.NoError(t, err)
	assert.EqualValues(t, 1, apple.calls.Load())
	i.at = i.at.Add(time.Second)
	apple.verify = answers("", false, nil).verify
	for range 3 {
		_, err = i.Authorize(t.Context(), "Apple token")
		assert.Equal(t, apierr.Unauthenticated, apierr.KindOf(err))
	}
	assert.EqualValues(t, 2, apple.calls.Load())
	i.at = i.at.Add(invalidFor)
	apple.verify = answers("apple 1", true, nil).verify
	_, err = i.Authorize(t.Context(), "Apple token")
	require.NoError(t, err)
	assert.EqualValues(t, 3, apple.calls.Load())
	assert.Empty(t, i.log.take(t))
}

func TestNonsenseIsNotAskedAbout(t *testing.T) {
	t.Parallel()
	apple := answers("apple 1", true, nil)
	i := start(pgtest.New(t), apple)
	_, err := i.Authorize(t.Context(), "Apple nonsense")
	assert.Equal(t, apierr.Unauthenticated, apierr.KindOf(err))
	assert.Zero(t, apple.calls.Load())
}

func TestASubjectIsTheTokenUnlessTheStoreNamesOne(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	apple := answers("", true, nil)
	i := start(db, apple)
	got, err := i.Authorize(t.Context(), "Apple token")
	require.NoError(t, err)
	assert.Equal(t, Buyer{Apple, "token"}, got)
	var subject string
	require.NoError(t, db.QueryRow(t.Context(), `SELECT subject FROM v2_purchase_verdicts`).Scan(&subject))
	assert.Empty(t, subject, "the table holds no token")

	other := start(db, answers("", false, errAway))
	got, err = other.Authorize(t.Context(), "Apple token")
	require.NoError(t, err)
	assert.Equal(t, Buyer{Apple, "token"}, got)
}

func TestAConfirmedTokenStaysValidWhileItsStoreIsAway(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	first := start(db, answers("apple 1", true, nil))
	_, err := first.Authorize(t.Context(), "Apple token")
	require.NoError(t, err)

	apple := answers("", false, errAway)
	other := start(db, apple) // another instance, later
	other.at = first.at.Add(rememberedFor - 2*time.Second)
	for range 3 {
		got, err := other.Authorize(t.Context(), "Apple token")
		require.NoError(t, err)
		assert.Equal(t, buyer, got)
	}
	assert.EqualValues(t, 1, apple.calls.Load(), "an outage does not slow down every call")
	assert.Equal(t, []map[string]any{warning("WARN", "purchase not verified", "failed")}, other.log.take(t))

	other.at = first.at.Add(rememberedFor + time.Second)
	_, err = other.Authorize(t.Context(), "Apple token")
	assert.Equal(t, apierr.Unavailable, apierr.KindOf(err), "not longer than a day, however it was recalled")
	_, err = other.Authorize(t.Context(), "Apple another")
	assert.Equal(t, apierr.Unavailable, apierr.KindOf(err))
}

func TestARefundEndsWhatIsRemembered(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	apple := answers("apple 1", true, nil)
	i := start(db, apple)
	_, err := i.Authorize(t.Context(), "Apple token")
	require.NoError(t, err)
	assert.Equal(t, 1, stored(t, db))
	i.at = i.at.Add(validFor)
	apple.verify = answers("", false, nil).verify
	_, err = i.Authorize(t.Context(), "Apple token")
	assert.Equal(t, apierr.Unauthenticated, apierr.KindOf(err))
	assert.Zero(t, stored(t, db))
	i.at = i.at.Add(invalidFor)
	apple.verify = answers("", false, errAway).verify
	_, err = i.Authorize(t.Context(), "Apple token")
	assert.Equal(t, apierr.Unavailable, apierr.KindOf(err))
}

func TestAConfirmationIsRenewed(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	i := start(db, answers("apple 1", true, nil))
	_, err := i.Authorize(t.Context(), "Apple token")
	require.NoError(t, err)
	i.at = i.at.Add(time.Hour)
	_, err = i.Authorize(t.Context(), "Apple token")
	require.NoError(t, err)
	var at time.Time
	require.NoError(t, db.QueryRow(t.Context(), `SELECT verified_at FROM v2_purchase_verdicts`).Scan(&at))
	assert.WithinDuration(t, i.at, at, time.Millisecond)
}

func TestUnknownIsUnavailable(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	now := time.Now()
	cases := map[string]struct {
		err   error
		at    time.Time // zero: in a while that the store did not name
		level string
		fault string
	}{
		"down":        {errAway, time.Time{}, "WARN", "failed"},
		"come back":   {outbound.Unknown(outbound.Limited, now.Add(time.Minute)), now.Add(time.Minute), "WARN", "limited"},
		"past":        {outbound.Unknown(outbound.Limited, now.Add(-time.Minute)), time.Time{}, "WARN", "limited"},
		"our key":     {outbound.Unknown(outbound.Refused, time.Time{}), time.Time{}, "ERROR", "refused"},
		"of any kind": {errors.New("secret"), time.Time{}, "WARN", "unreadable"},
	}
	for name, c := range cases {
		i := start(db, answers("", false, c.err))
		_, err := i.Authorize(t.Context(), "Apple token")
		var e *apierr.Error
		require.ErrorAs(t, err, &e, name)
		assert.Equal(t, apierr.Unavailable, e.Kind, name)
		if c.at.IsZero() {
			c.at = i.at.Add(defaultRetry)
		}
		assert.Equal(t, c.at, e.RetryAt, name)
		assert.NotContains(t, err.Error(), "secret", name)
		assert.NotContains(t, err.Error(), "token", name)
		assert.Equal(t, []map[string]any{warning(c.level, "purchase not verified", c.fault)}, i.log.take(t), name)
	}
}

func TestAPanicIsContained(t *testing.T) {
	t.Parallel()
	i := start(pgtest.New(t), &fake{verify: func(context.Context, string) (string, bool, error) { panic("secret of a panic") }})
	for range maxVerifying + 1 {
		_, err := i.Authorize(t.Context(), "Apple token")
		assert.ErrorIs(t, err, outbound.Panicked)
	}
	log := i.log.take(t)
	require.Len(t, log, 2*(maxVerifying+1))
	assert.Contains(t, log[0]["msg"], "purchase_test.go")
	assert.NotContains(t, log[0]["msg"], "secret of a panic")
	assert.Equal(t, warning("ERROR", "purchase not verified", "programming"), log[1])
}

func TestADatabaseThatIsAwayStopsNobody(t *testing.T) {
	t.Parallel()
	db := pgtest.Pool(t, postgres.Options{URL: "postgres://nobody@127.0.0.1:1/none", MaxConns: 1})
	i := start(db, answers("apple 1", true, nil))
	got, err := i.Authorize(t.Context(), "Apple token")
	require.NoError(t, err)
	assert.Equal(t, buyer, got)
	assert.Equal(t, []map[string]any{warning("WARN", "purchase verdict not stored", "table")}, i.log.take(t))

	i = start(db, answers("", false, nil))
	_, err = i.Authorize(t.Context(), "Apple token")
	assert.Equal(t, apierr.Unauthenticated, apierr.KindOf(err))

	i = start(db, answers("", false, errAway))
	_, err = i.Authorize(t.Context(), "Apple token")
	assert.Equal(t, apierr.Unavailable, apierr.KindOf(err))
	assert.Equal(t, []map[string]any{
		warning("WARN", "purchase not verified", "failed"), warning("WARN", "purchase verdict not read", "table"),
	}, i.log.take(t))
}

func TestOneVerificationForEachToken(t *testing.T) {
	t.Parallel()
	begun, end := make(chan struct{}, 100), make(chan struct{})
	apple := &fake{verify: func(context.Context, string) (string, bool, error) {
		begun <- struct{}{}
		<-end
		return "apple 1", true, nil
	}}
	i := start(pgtest.New(t), apple)
	hurried, leave := context.WithCancel(t.Context())
	left := make(chan error)
	go func() {
		_, err := i.Authorize(hurried, "Apple token")
		left <- err
	}()
	<-begun
	var group sync.WaitGroup
	for range 20 {
		group.Go(func() {
			got, err := i.Authorize(t.Context(), "Apple token")
			assert.NoError(t, err)
			assert.Equal(t, buyer, got)
		})
	}
	leave()
	require.ErrorIs(t, <-left, context.Canceled)
	close(end)
	group.Wait()
	assert.EqualValues(t, 1, apple.calls.Load(), "who leaves does not stop it for the others")
}

func TestVerificationsAreBounded(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	begun, end := make(chan struct{}, 100), make(chan struct{})
	apple := &fake{verify: func(context.Context, string) (string, bool, error) {
		begun <- struct{}{}
		<-end
		return "apple 1", true, nil
	}}
	_, err := start(db, answers("apple 1", true, nil)).Authorize(t.Context(), "Apple known")
	require.NoError(t, err)
	i := start(db, apple)
	var group sync.WaitGroup
	for n := range maxVerifying {
		group.Go(func() {
			_, err := i.Authorize(t.Context(), "Apple token"+string(rune('A'+n)))
			assert.NoError(t, err)
		})
	}
	for range maxVerifying {
		<-begun
	}
	_, err = i.Authorize(t.Context(), "Apple onemore")
	assert.ErrorIs(t, err, outbound.Overloaded)
	assert.Equal(t, apierr.Unavailable, apierr.KindOf(err))
	got, err := i.Authorize(t.Context(), "Apple known")
	require.NoError(t, err, "what was confirmed stays valid")
	assert.Equal(t, buyer, got)
	close(end)
	group.Wait()
	_, err = i.Authorize(t.Context(), "Apple onemore")
	assert.NoError(t, err)
}

// from is a context of the client at the address.
func from(t *testing.T, address string) context.Context {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/", http.NoBody)
	r.RemoteAddr = address + ":1234"
	return clientaddr.With(t.Context(), r)
}

func TestStrangersLeaveRoomForBuyers(t *testing.T) {
	t.Parallel()
	begun, end := make(chan string, 100), make(chan struct{})
	i := start(pgtest.New(t), &fake{verify: func(_ context.Context, token string) (string, bool, error) {
		begun <- token
		<-end
		return "", !strings.HasPrefix(token, "made-up"), nil
	}})
	var strangers, buyers sync.WaitGroup
	for n := range 50 {
		strangers.Go(func() {
			_, err := i.Authorize(from(t, "192.0.2.6"), fmt.Sprint("Apple made-up", n))
			assert.Error(t, err)
		})
	}
	for range maxVerifying / 4 {
		<-begun
	}
	for n := range 9 {
		buyers.Go(func() {
			_, err := i.Authorize(from(t, fmt.Sprint("198.51.100.", n)), fmt.Sprint("Apple genuine", n))
			assert.NoError(t, err)
		})
	}
	for range 9 {
		assert.Contains(t, <-begun, "genuine", "there is room at once")
	}
	close(end)
	buyers.Wait()
	strangers.Wait()
}

func TestBuyersWhomAStoreHasConfirmedGoFirst(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	_, err := start(db, answers("apple 1", true, nil)).Authorize(t.Context(), "Apple known")
	require.NoError(t, err)
	i := start(db, answers("", false, nil))
	i.at = i.at.Add(5 * rememberedFor) // longer ago than it would count in place of the store
	var last func()
	for range maxVerifying {
		leave, err := i.enter(t.Context(), Apple, digest{})
		require.NoError(t, err)
		last = leave
	}
	order := make(chan string, 2)
	var group sync.WaitGroup
	wait := func(name string, key digest, places int) {
		group.Go(func() {
			leave, err := i.enter(from(t, "192.0.2.6"), Apple, key)
			assert.NoError(t, err)
			order <- name
			leave()
		})
		require.Eventually(t, func() bool { return i.queues[Apple].Waiting() == places }, time.Minute, time.Millisecond)
	}
	wait("a stranger", sha256.Sum256([]byte("Apple\x00unknown")), 1)
	wait("a buyer", sha256.Sum256([]byte("Apple\x00known")), 2)
	last()
	group.Wait()
	assert.Equal(t, "a buyer", <-order)
}

func TestASlowStoreIsNotWaitedForLong(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	slow := &fake{verify: func(ctx context.Context, _ string) (string, bool, error) {
		<-ctx.Done()
		return "", false, outbound.Unknown(outbound.FaultOf(ctx.Err()), time.Time{})
	}}
	_, err := start(db, answers("apple 1", true, nil)).Authorize(t.Context(), "Apple known")
	require.NoError(t, err)
	i := start(db, slow)
	begin := time.Now()
	var group sync.WaitGroup
	group.Go(func() {
		_, err := i.Authorize(t.Context(), "Apple token")
		assert.ErrorIs(t, err, outbound.Timeout)
	})
	_, err = i.Authorize(t.Context(), "Apple known")
	require.NoError(t, err, "there is time left to look into the table")
	group.Wait()
	assert.Less(t, time.Since(begin), totalTime+30*time.Second)
}

func TestACacheIsBounded(t *testing.T) {
	t.Parallel()
	c, now := newCache(3), time.Now()
	until := now.Add(time.Second)
	key := func(n byte) digest { return digest{n} }
	for n := range byte(3) {
		c.put(key(n), "s", until)
	}
	c.put(key(0), "again", until.Add(time.Second))
	subject, ok := c.get(key(0), until)
	assert.True(t, ok)
	assert.Equal(t, "again", subject)
	_, ok = c.get(key(1), until)
	assert.False(t, ok, "its time is up")
	for n := range byte(100) {
		c.put(key(n), "s", until)
		assert.LessOrEqual(t, len(c.entries), 3)
		assert.Len(t, c.ring, 3)
	}
	for n := range byte(100) {
		_, ok = c.get(key(n), now)
		assert.Equal(t, n >= 97, ok, n)
	}
}

// TestAllStores runs the whole against stand-ins that speak the stores' protocols.
func TestAllStores(t *testing.T) {
	t.Parallel()
	play, production, sandbox := purchasetest.Play("com.limajuice.liftlog", "pro", ""), purchasetest.Apple(), purchasetest.Apple()
	revenueCat := purchasetest.RevenueCat("proj1", "sk_key")
	serve := func(handler http.Handler) string {
		server := httptest.NewServer(handler)
		t.Cleanup(server.Close)
		return server.URL
	}
	program := struct{ Purchases config.Purchases }{}
	require.NoError(t, config.Load(t.Context(), []string{
		"WEB_AUTH_API_KEY=" + webKey, "GOOGLE_PLAY_BASE_URL=" + serve(play), "APPLE_RECEIPT_URL=" + serve(production), "APPLE_SANDBOX_RECEIPT_URL=" + serve(sandbox),
		"REVENUECAT_BASE_URL=" + serve(revenueCat), "REVENUECAT_API_KEY=sk_key", "REVENUECAT_PROJECT_ID=proj1", "REVENUECAT_ENTITLEMENT_ID=entl1",
	}, &struct {
		Service   config.Service
		Purchases *config.Purchases
	}{Purchases: &program.Purchases}))
	receipt := purchasetest.AppleReceipt("com.limajuice.liftlog", purchasetest.AppleTransaction("pro", "1000", nil))
	play.On("good", purchasetest.PlayPurchase(0))
	play.On("away", purchasetest.Answer{Status: http.StatusBadGateway})
	production.On("good", receipt)
	production.On("good=", receipt)
	production.On("tester", purchasetest.AppleStatus(21007))
	sandbox.On("tester", receipt)
	production.On("away", purchasetest.Answer{Cut: true})
	customer := purchasetest.RevenueCatCustomer("$good:1", purchasetest.RevenueCatPage(nil, purchasetest.RevenueCatEntitlement("entl1", nil)))
	for _, alias := range []string{"$good:1", "alias", "$RCAnonymousID:0a"} {
		revenueCat.On(alias, customer)
	}
	revenueCat.On("away", purchasetest.RevenueCatError(http.StatusUnauthorized, "authentication_error"))

	log := &lines{}
	db := pgtest.New(t)
	v := New(program.Purchases, db, slog.New(slog.NewJSONHandler(log, nil)))
	for header, want := range map[string]Buyer{
		"Web web-key": {Web, "web-key"}, "Google good": {Google, "good"}, "Apple good": {Apple, "apple 1000"}, "Apple good=": {Apple, "apple 1000"},
		"Apple tester": {Apple, "apple 1000"}, "Bearer RevenueCat $good:1": {RevenueCat, "$good:1"},
		"RevenueCat alias": {RevenueCat, "$good:1"}, "RevenueCat $RCAnonymousID:0a": {RevenueCat, "$good:1"},
	} {
		got, err := v.Authorize(t.Context(), header)
		require.NoError(t, err, header)
		assert.Equal(t, want, got)
	}
	assert.Equal(t, 7, stored(t, db), "all but the web's")
	for _, header := range []string{"Google bad", "Google a/b", "Apple bad", "Apple $", "RevenueCat bad"} {
		_, err := v.Authorize(t.Context(), header)
		assert.Equal(t, apierr.Unauthenticated, apierr.KindOf(err), header)
	}
	for _, header := range []string{"Google away", "Apple away", "RevenueCat away"} {
		_, err := v.Authorize(t.Context(), header)
		assert.Equal(t, apierr.Unavailable, apierr.KindOf(err), header)
	}
	assert.ElementsMatch(t, []map[string]any{
		{"level": "WARN", "msg": "purchase not verified", "store": "Google", "fault": "failed"},
		{"level": "WARN", "msg": "purchase not verified", "store": "Apple", "fault": "connection"},
		{"level": "ERROR", "msg": "purchase not verified", "store": "RevenueCat", "fault": "refused"},
	}, log.take(t))

	program.Purchases.GooglePackage = "com.example.mistaken"
	mistaken := New(program.Purchases, db, slog.New(slog.NewJSONHandler(log, nil)))
	_, err := mistaken.Authorize(t.Context(), "Google good")
	require.NoError(t, err, "Google does not know the application, which says nothing of what it confirmed before")
	_, err = mistaken.Authorize(t.Context(), "Google another")
	assert.Equal(t, apierr.Unavailable, apierr.KindOf(err))
	assert.Equal(t, 7, stored(t, db))
	refused := map[string]any{"level": "ERROR", "msg": "purchase not verified", "store": "Google", "fault": "refused"}
	assert.Equal(t, []map[string]any{refused, refused}, log.take(t))

	program.Purchases.RevenueCatKey = config.Secret{}
	_, err = New(program.Purchases, db, slog.New(slog.DiscardHandler)).Authorize(t.Context(), "RevenueCat $good:1")
	assert.Equal(t, apierr.Unauthenticated, apierr.KindOf(err), "without a key nothing was sold there")
}
