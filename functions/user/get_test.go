package user_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/liftlog/liftlog-api/functions/functionstest"
	"github.com/liftlog/liftlog-api/shared/postgres"
	"github.com/liftlog/liftlog-api/shared/postgres/pgtest"
)

func TestAUserIsFoundByEveryFormOfTheID(t *testing.T) {
	t.Parallel()
	handler := functionstest.Handler(functionstest.NewDeps(t, postgres.Options{URL: pgtest.URL(t), MaxConns: 1}))
	user := functionstest.NewAccount(t, handler)
	id := user.ID.String()
	for _, path := range []string{
		id, strings.ToUpper(id), strings.ReplaceAll(id, "-", ""), "%20" + id + "%20", "%7B" + id + "%7D", "(" + id + ")", "%09(" + id + ")%0A",
		strings.Repeat("%20", 100) + id,
	} {
		assert.Equal(t, http.StatusOK, functionstest.Call(t, handler, http.MethodGet, "/v2/user/"+path, "").Code, path)
	}
	for _, path := range []string{"(" + strings.ReplaceAll(id, "-", "") + ")", "(" + id + "%7D", "(%20" + id + ")", "%20" + user.Lookup} {
		assert.Equal(t, http.StatusNotFound, functionstest.Call(t, handler, http.MethodGet, "/v2/user/"+path, "").Code, path)
	}
}
