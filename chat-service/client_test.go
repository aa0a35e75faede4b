package main

import (
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/liftlog/liftlog-api/shared/purchase/purchasetest"
)

// TestTheAppsClient drives the service with SignalR's own client, as client/client.test.mjs says.
func TestTheAppsClient(t *testing.T) {
	t.Parallel()
	for _, program := range []string{"node", "npm"} {
		if _, err := exec.LookPath(program); err != nil {
			skip(t, program+" is not installed")
		}
	}
	if _, err := os.Stat(filepath.Join("client", "node_modules", ".package-lock.json")); err != nil {
		install := exec.CommandContext(t.Context(), "npm", "ci", "--no-audit", "--no-fund")
		install.Dir = "client"
		if said, err := install.CombinedOutput(); err != nil {
			skip(t, "the client cannot be installed: "+string(said))
		}
	}
	store := purchasetest.RevenueCat("project", "key")
	entitled := purchasetest.RevenueCatPage(nil, purchasetest.RevenueCatEntitlement("entl1", nil))
	const buyer = "buyer"
	for _, hub := range []string{"ai-chat", "ai-chat-v2"} {
		store.On(buyer+"-"+hub, purchasetest.RevenueCatCustomer(buyer+"-"+hub, entitled))
	}
	stores := httptest.NewServer(store)
	t.Cleanup(stores.Close)
	s, model := start(t, "REVENUECAT_BASE_URL="+stores.URL, "REVENUECAT_API_KEY=key", "REVENUECAT_PROJECT_ID=project", "REVENUECAT_ENTITLEMENT_ID=entl1")
	play := exec.CommandContext(t.Context(), "node", "--test", "client.test.mjs")
	play.Dir = "client"
	play.Env = append(os.Environ(), "CHAT_URL=http://"+s.Address, "CHAT_KEY="+webKey, "CHAT_BUYER=RevenueCat "+buyer)
	said, err := play.CombinedOutput()
	require.NoError(t, err, "%s", said)
	recalled := 0
	for _, request := range model.Requests() {
		if n := len(request.Messages); *request.Messages[n-1].Content == "recall" {
			recalled++
			assert.Equal(t, 4, n, "of the conversation before the loss its message and answer are there")
		}
	}
	assert.Equal(t, 2, recalled, "at both hubs")
}

// skip leaves a test out on a machine that lacks something, but never where CI runs.
func skip(t *testing.T, reason string) {
	t.Helper()
	if os.Getenv("CI") != "" {
		t.Fatal(reason)
	}
	t.Skip(reason)
}
