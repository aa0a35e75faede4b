package main

import (
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/liftlog/liftlog-api/functions"
)

// own is an address that the page loads something from.
var own = regexp.MustCompile(`(?:src|href)="([^"]+)"`)

func TestTheDocsNeedNobodyElse(t *testing.T) {
	t.Parallel()
	handler := testHandler(t)
	document := get(t, handler, openAPIPath)
	assert.Equal(t, http.StatusOK, document.Code)
	assert.JSONEq(t, string(functions.OpenAPI()), document.Body.String())

	page := get(t, handler, docsPath)
	require.Equal(t, http.StatusOK, page.Code)
	assert.Contains(t, page.Body.String(), openAPIPath)
	loaded := own.FindAllStringSubmatch(page.Body.String(), -1)
	require.NotEmpty(t, loaded)
	for _, address := range loaded {
		require.True(t, strings.HasPrefix(address[1], docsPath+"/"), address[1])
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, address[1], nil)
		r.Header.Set("Accept-Encoding", "gzip") // as every browser does
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, r)
		assert.Equal(t, http.StatusOK, w.Code, address[1])
		assert.NotZero(t, w.Body.Len(), address[1])
	}
}
