// SPDX-License-Identifier: Apache-2.0

package identitytest_test

import (
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/agent-identity/agent-identity-go/credentials"
	"github.com/agent-identity/agent-identity-go/identity"
	"github.com/agent-identity/agent-identity-go/identity/identitytest"
)

func TestControl(t *testing.T) {
	cloud := identitytest.NewServer(t)
	agent := newAgent(t, cloud)
	send := func(method, token, path, body string) (int, map[string]any) {
		req, err := http.NewRequestWithContext(t.Context(), method, cloud.URL()+path, strings.NewReader(body))
		require.NoError(t, err)
		req.Header.Set("Authorization", "Bearer "+token)
		resp, err := http.DefaultClient.Do(req)
		require.NoError(t, err)
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		var out map[string]any
		require.NoError(t, json.Unmarshal(b, &out), "%s", b)
		return resp.StatusCode, out
	}
	token := cloud.ControlToken().Reveal()
	post := func(path, body string) (int, map[string]any) { return send(http.MethodPost, token, path, body) }

	status, out := post("/control/id-token", `{"User":"alice"}`)
	require.Equal(t, 200, status)
	alice := identity.NewContext(t.Context(), identity.Caller{UserToken: identity.NewSecret(out["id_token"].(string))})
	key := credentials.NewAPIKeySource(agent, credentials.APIKeyConfig{Provider: identitytest.APIKeyProvider})

	status, _ = post("/control/fault", `{"Op":"GetResourceAPIKey","Fault":"error","Status":403,"Code":"NoPermission","Times":1}`)
	require.Equal(t, 200, status)
	_, err := key.Credential(alice)
	require.ErrorIs(t, err, identity.ErrAccessDenied)
	post("/control/fault", `{"Fault":"hang"}`)
	status, _ = post("/control/clear-faults", `{}`)
	require.Equal(t, 200, status)
	agent.Purge()
	_, err = key.Credential(alice)
	require.NoError(t, err)
	status, _ = post("/control/advance", `{"Duration":"2h"}`)
	require.Equal(t, 200, status)
	agent.Purge()
	_, err = key.Credential(alice)
	require.ErrorIs(t, err, identity.ErrInvalidUserToken, "her ID token has ended")
	for path, body := range map[string]string{
		"/control/script": `{"User":"bob","Decision":"allow"}`, "/control/revoke": `{"User":"bob","Provider":"test-oauth2"}`,
	} {
		status, _ = post(path, body)
		require.Equal(t, 200, status, path)
	}
	status, out = post("/control/calls", `{}`)
	require.Equal(t, 200, status)
	require.NotEmpty(t, out["calls"])

	for name, c := range map[string]struct {
		method, token, path, body string
		want                      int
	}{
		"no token":         {"POST", "", "/control/advance", `{}`, 401},
		"wrong token":      {"POST", token + "x", "/control/advance", `{}`, 401},
		"GET":              {"GET", token, "/control/calls", ``, 405},
		"no JSON":          {"POST", token, "/control/advance", `x`, 400},
		"unknown field":    {"POST", token, "/control/advance", `{"Time":"1s"}`, 400},
		"bad duration":     {"POST", token, "/control/advance", `{"Duration":"soon"}`, 400},
		"unknown fault":    {"POST", token, "/control/fault", `{"Fault":"flood"}`, 400},
		"unknown user":     {"POST", token, "/control/script", `{"User":"nobody","Decision":"allow"}`, 404},
		"unknown decision": {"POST", token, "/control/script", `{"User":"alice","Decision":"maybe"}`, 400},
		"no user":          {"POST", token, "/control/id-token", `{}`, 400},
		"unknown session":  {"POST", token, "/control/fail-session", `{"SessionURI":"urn:x"}`, 404},
		"unknown path":     {"POST", token, "/control/x", `{}`, 404},
	} {
		status, out := send(c.method, c.token, c.path, c.body)
		require.Equal(t, c.want, status, name)
		require.NotEmpty(t, out["error"], name)
	}
}
