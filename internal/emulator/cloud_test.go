// SPDX-License-Identifier: Apache-2.0

package emulator_test

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/agent-identity/agent-identity-go/internal/acs"
	"github.com/agent-identity/agent-identity-go/internal/emulator"
	"github.com/agent-identity/agent-identity-go/internal/emulator/core"
	"github.com/agent-identity/agent-identity-go/internal/emulator/identity"
	"github.com/agent-identity/agent-identity-go/internal/emulator/oauth"
)

const redirectURI = "http://localhost/cb"

func start(t *testing.T) *emulator.Cloud {
	t.Helper()
	cloud, err := emulator.Start(emulator.Config{
		Addr: "127.0.0.1:0", Users: []core.User{{Subject: "alice", Name: "Alice"}, {Subject: "bob", Name: "Bob"}},
	})
	require.NoError(t, err)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		require.NoError(t, cloud.Close(ctx))
	})
	cloud.OAuth.Register(oauth.Client{ID: "login", Name: "App", FirstParty: true, RedirectURIs: []string{redirectURI}, Scopes: []string{"openid", "profile"}})
	cloud.OAuth.Register(oauth.Client{ID: "other", Name: "Other", Secret: "s3", FirstParty: true, RedirectURIs: []string{redirectURI}, Scopes: []string{"openid"}})
	cloud.Identity.AddAccessKey("LTAI-test", "secret")
	cloud.Identity.AddIdentityProvider(identity.IdentityProvider{Name: "idp", Issuer: cloud.OAuth.Issuer(), Audiences: []string{"login"}})
	cloud.Identity.AddWorkload(identity.Workload{Name: "agent", RoleArn: "acs:ram::1:role/r", IdentityProvider: "idp", SessionBinding: true, ReturnURLs: []string{redirectURI}})
	cloud.Identity.AddWorkload(identity.Workload{Name: "roleless", IdentityProvider: "idp"})
	cloud.Identity.AddAPIKeyProvider("key", "k")
	return cloud
}

func newBrowser(t *testing.T) *http.Client {
	t.Helper()
	jar, err := cookiejar.New(nil)
	require.NoError(t, err)
	return &http.Client{Jar: jar, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

func get(t *testing.T, b *http.Client, address string) (*http.Response, string) {
	t.Helper()
	resp, err := b.Get(address)
	require.NoError(t, err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	return resp, string(body)
}

func post(t *testing.T, b *http.Client, address string, form url.Values) (*http.Response, string) {
	t.Helper()
	resp, err := b.PostForm(address, form)
	require.NoError(t, err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	return resp, string(body)
}

const verifier = "a-verifier-that-is-long-enough-for-the-standard"

func authorizeQuery() url.Values {
	return url.Values{
		"response_type": {"code"}, "client_id": {"login"}, "redirect_uri": {redirectURI}, "state": {"st"}, "nonce": {"no"},
		"scope": {"openid"}, "code_challenge_method": {"S256"}, "code_challenge": {challenge()},
	}
}

var hidden = regexp.MustCompile(`name="([a-z]+)" value="([^"]*)"`)

// signIn goes through the sign-in page and returns the code.
func signIn(t *testing.T, cloud *emulator.Cloud, b *http.Client, query url.Values, user string) string {
	t.Helper()
	_, page := get(t, b, cloud.URL+"/oauth/v1/auth?"+query.Encode())
	form := url.Values{"user": {user}}
	for _, m := range hidden.FindAllStringSubmatch(page, -1) {
		if m[1] != "user" {
			form.Set(m[1], m[2])
		}
	}
	resp, body := post(t, b, cloud.URL+"/oauth/v1/signin", form)
	require.Equal(t, http.StatusFound, resp.StatusCode, body)
	back, err := resp.Location()
	require.NoError(t, err)
	require.Equal(t, "st", back.Query().Get("state"))
	require.Equal(t, cloud.OAuth.Issuer(), back.Query().Get("iss"))
	return back.Query().Get("code")
}

func TestAuthorizationRequestsAreChecked(t *testing.T) {
	cloud := start(t)
	b := newBrowser(t)
	for name, tt := range map[string]struct {
		change func(url.Values)
		page   int    // status of a page, or
		code   string // error sent back
	}{
		"unknown client":       {func(q url.Values) { q.Set("client_id", "x") }, 400, ""},
		"redirect to another":  {func(q url.Values) { q.Set("redirect_uri", "https://evil.example.com/") }, 400, ""},
		"redirect with suffix": {func(q url.Values) { q.Set("redirect_uri", redirectURI+"/") }, 400, ""},
		"parameter twice":      {func(q url.Values) { q.Add("state", "b") }, 400, ""},
		"token flow":           {func(q url.Values) { q.Set("response_type", "token") }, 0, "unsupported_response_type"},
		"no PKCE":              {func(q url.Values) { q.Del("code_challenge") }, 0, "invalid_request"},
		"plain PKCE":           {func(q url.Values) { q.Set("code_challenge_method", "plain") }, 0, "invalid_request"},
		"scope too wide":       {func(q url.Values) { q.Set("scope", "openid admin") }, 0, "invalid_scope"},
	} {
		t.Run(name, func(t *testing.T) {
			q := authorizeQuery()
			tt.change(q)
			resp, body := get(t, b, cloud.URL+"/oauth/v1/auth?"+q.Encode())
			if tt.page != 0 {
				require.Equal(t, tt.page, resp.StatusCode)
				require.Contains(t, body, "Simulation")
				return
			}
			back, err := resp.Location()
			require.NoError(t, err)
			require.Equal(t, tt.code, back.Query().Get("error"))
			require.Equal(t, "st", back.Query().Get("state"))
		})
	}
}

func challenge() string {
	sum := sha256.Sum256([]byte(verifier))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

func TestCodes(t *testing.T) {
	cloud := start(t)
	q := authorizeQuery()
	redeem := func(change func(url.Values)) (int, map[string]any) {
		form := url.Values{
			"grant_type": {"authorization_code"}, "client_id": {"login"}, "redirect_uri": {redirectURI}, "code_verifier": {verifier},
			"code": {signIn(t, cloud, newBrowser(t), q, "alice")},
		}
		change(form)
		resp, body := post(t, http.DefaultClient, cloud.URL+"/oauth/v1/token", form)
		var out map[string]any
		require.NoError(t, json.Unmarshal([]byte(body), &out))
		return resp.StatusCode, out
	}
	for name, change := range map[string]func(url.Values){
		"wrong verifier":    func(f url.Values) { f.Set("code_verifier", strings.Repeat("x", 43)) },
		"no verifier":       func(f url.Values) { f.Del("code_verifier") },
		"another redirect":  func(f url.Values) { f.Set("redirect_uri", "http://localhost/other") },
		"another client":    func(f url.Values) { f.Set("client_id", "other"); f.Set("client_secret", "s3") },
		"wrong secret":      func(f url.Values) { f.Set("client_id", "other"); f.Set("client_secret", "guess") },
		"unknown code":      func(f url.Values) { f.Set("code", "x") },
		"unknown grant":     func(f url.Values) { f.Set("grant_type", "password") },
		"after one minute":  func(url.Values) { cloud.Clock.Advance(2 * time.Minute) },
		"a secret too many": func(f url.Values) { f.Set("client_secret", "x") },
	} {
		status, out := redeem(change)
		require.GreaterOrEqual(t, status, 400, name)
		require.NotEmpty(t, out["error"], name)
	}
	var code string
	status, out := redeem(func(f url.Values) { code = f.Get("code") })
	require.Equal(t, 200, status)
	require.NotEmpty(t, out["id_token"])
	refresh := func(token any) int {
		resp, _ := post(t, http.DefaultClient, cloud.URL+"/oauth/v1/token", url.Values{"grant_type": {"refresh_token"}, "client_id": {"login"}, "refresh_token": {token.(string)}})
		return resp.StatusCode
	}
	require.Equal(t, 200, refresh(out["refresh_token"]))
	require.Equal(t, 400, refresh(out["refresh_token"]), "a refresh token works once")

	// A second use of a code revokes what the first one got.
	_, out = redeem(func(f url.Values) { code = f.Get("code") })
	status, _ = redeem(func(f url.Values) { f.Set("code", code) })
	require.Equal(t, 400, status)
	require.Equal(t, 400, refresh(out["refresh_token"]))
}

func TestFormsBelongToTheirBrowser(t *testing.T) {
	cloud := start(t)
	q := authorizeQuery()
	b, other := newBrowser(t), newBrowser(t)
	_, page := get(t, b, cloud.URL+"/oauth/v1/auth?"+q.Encode())
	form := url.Values{"user": {"alice"}}
	for _, m := range hidden.FindAllStringSubmatch(page, -1) {
		if m[1] != "user" {
			form.Set(m[1], m[2])
		}
	}
	get(t, other, cloud.URL+"/oauth/v1/auth?"+q.Encode()) // a cookie of its own
	resp, _ := post(t, other, cloud.URL+"/oauth/v1/signin", form)
	require.Equal(t, 403, resp.StatusCode)
	wrong := url.Values{"user": {"alice"}, "request": form["request"], "csrf": {"x"}}
	resp, _ = post(t, b, cloud.URL+"/oauth/v1/signin", wrong)
	require.Equal(t, 403, resp.StatusCode)
	resp, _ = post(t, b, cloud.URL+"/oauth/v1/signin", url.Values{"user": {"mallory"}, "request": form["request"], "csrf": form["csrf"]})
	require.Equal(t, 400, resp.StatusCode)
	resp, _ = post(t, b, cloud.URL+"/oauth/v1/signin", form)
	require.Equal(t, 302, resp.StatusCode)
	resp, _ = post(t, b, cloud.URL+"/oauth/v1/signin", form)
	require.Equal(t, 400, resp.StatusCode, "once")
	require.NotContains(t, page, "<script")
}

func TestServiceIsStrict(t *testing.T) {
	cloud := start(t)
	client, err := acs.New(acs.Config{Endpoint: cloud.URL, Attempts: 1})
	require.NoError(t, err)
	key := func(id, secret, token string) func(context.Context) (acs.Credential, error) {
		return func(context.Context) (acs.Credential, error) {
			return acs.Credential{AccessKeyID: id, AccessKeySecret: secret, SecurityToken: token}, nil
		}
	}
	own := key("LTAI-test", "secret", "")
	call := func(action string, form acs.Params, cred func(context.Context) (acs.Credential, error)) (map[string]any, string) {
		var out map[string]any
		_, err := client.Call(t.Context(), &acs.Request{Action: action, Version: "2025-11-27", Form: form, Anonymous: cred == nil}, cred, &out)
		if e, ok := errors.AsType[*acs.Error](err); ok {
			return out, e.Code
		}
		require.NoError(t, err)
		return out, ""
	}
	token := func(user string) string {
		out, code := call("GetWorkloadAccessTokenForUserId", acs.Params{"WorkloadIdentityName": "agent", "UserId": user}, own)
		require.Empty(t, code)
		return out["WorkloadAccessToken"].(string)
	}
	alice, bob := token("alice"), token("bob")
	out, code := call("AssumeRoleForWorkloadIdentity", acs.Params{"WorkloadAccessToken": alice, "RoleSessionName": "s1"}, nil)
	require.Empty(t, code)
	sts := out["Credentials"].(map[string]any)
	role := key(sts["AccessKeyId"].(string), sts["AccessKeySecret"].(string), sts["SecurityToken"].(string))
	roleless, _ := call("GetWorkloadAccessToken", acs.Params{"WorkloadIdentityName": "roleless"}, own)

	apiKey := func(wat string) acs.Params {
		return acs.Params{"WorkloadAccessToken": wat, "ResourceCredentialProviderName": "key"}
	}
	for _, tt := range []struct {
		name, action string
		form         acs.Params
		cred         func(context.Context) (acs.Credential, error)
		code         string
	}{
		{"good", "GetResourceAPIKey", apiKey(alice), role, ""},
		{"by the account's key", "GetResourceAPIKey", apiKey(alice), own, ""},
		{"another user's token", "GetResourceAPIKey", apiKey(bob), role, "NoPermission"},
		{"wrong secret", "GetResourceAPIKey", apiKey(alice), key("LTAI-test", "x", ""), "SignatureDoesNotMatch"},
		{"unknown key", "GetResourceAPIKey", apiKey(alice), key("LTAI-x", "x", ""), "InvalidAccessKeyId.NotFound"},
		{"wrong security token", "GetResourceAPIKey", apiKey(alice), key(sts["AccessKeyId"].(string), sts["AccessKeySecret"].(string), "x"), "InvalidSecurityToken.MismatchWithAccessKey"},
		{"the role may not", "GetWorkloadAccessToken", acs.Params{"WorkloadIdentityName": "agent"}, role, "NoPermission"},
		{"unsigned", "GetResourceAPIKey", apiKey(alice), nil, "IncompleteSignature"},
		{"signed though anonymous", "AssumeRoleForWorkloadIdentity", acs.Params{"WorkloadAccessToken": alice, "RoleSessionName": "s1"}, own, "InvalidParameter"},
		{"unknown parameter", "GetResourceAPIKey", acs.Params{"WorkloadAccessToken": alice, "ResourceCredentialProviderName": "key", "X": "1"}, own, "UnknownParameter"},
		{"missing parameter", "GetResourceAPIKey", acs.Params{"WorkloadAccessToken": alice}, own, "MissingParameter.ResourceCredentialProviderName"},
		{"unknown provider", "GetResourceAPIKey", acs.Params{"WorkloadAccessToken": alice, "ResourceCredentialProviderName": "x"}, own, "EntityNotExists.APIKeyCredentialProvider"},
		{"unknown token", "GetResourceAPIKey", apiKey("x"), own, "InvalidParameter.WorkloadAccessToken"},
		{"unknown workload identity", "GetWorkloadAccessToken", acs.Params{"WorkloadIdentityName": "x"}, own, "EntityNotExists.WorkloadIdentity"},
		{"unknown operation", "DropEverything", acs.Params{}, own, "InvalidAction.NotFound"},
		{"session name", "AssumeRoleForWorkloadIdentity", acs.Params{"WorkloadAccessToken": alice, "RoleSessionName": "a b"}, nil, "InvalidParameter.RoleSessionName"},
		{"no role", "AssumeRoleForWorkloadIdentity", acs.Params{"WorkloadAccessToken": roleless["WorkloadAccessToken"].(string), "RoleSessionName": "s1"}, nil, "MissingRoleArn"},
		{"flattened list", "GetResourceOAuth2Token", acs.Params{"WorkloadAccessToken": alice, "ResourceCredentialProviderName": "key", "OAuth2Flow": "USER_FEDERATION", "Scopes.1": "a"}, own, "UnknownParameter"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, code := call(tt.action, tt.form, tt.cred)
			require.Equal(t, tt.code, code)
		})
	}
	t.Run("time", func(t *testing.T) {
		cloud.Clock.Advance(6 * time.Minute)
		_, code := call("GetResourceAPIKey", apiKey(alice), own)
		require.Equal(t, "InvalidParameter.WorkloadAccessToken", code)
		cloud.Clock.Advance(time.Hour)
		_, code = call("GetResourceAPIKey", apiKey(alice), role)
		require.Equal(t, "InvalidSecurityToken.Expired", code)
	})
	for _, c := range cloud.Calls.Calls() {
		b, err := json.Marshal(c)
		require.NoError(t, err)
		require.NotContains(t, string(b), alice, "the record holds no secret")
	}
}

func TestReplayedRequestIsRefused(t *testing.T) {
	cloud := start(t)
	var saved *http.Request
	var body []byte
	client, err := acs.New(acs.Config{Endpoint: cloud.URL, HTTPClient: &http.Client{Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
		body, _ = io.ReadAll(r.Body)
		saved = r.Clone(context.Background())
		r.Body = io.NopCloser(strings.NewReader(string(body)))
		return http.DefaultTransport.RoundTrip(r)
	})}})
	require.NoError(t, err)
	_, err = client.Call(t.Context(), &acs.Request{Action: "GetWorkloadAccessToken", Version: "2025-11-27", Form: acs.Params{"WorkloadIdentityName": "agent"}},
		func(context.Context) (acs.Credential, error) {
			return acs.Credential{AccessKeyID: "LTAI-test", AccessKeySecret: "secret"}, nil
		}, nil)
	require.NoError(t, err)
	saved.Body = io.NopCloser(strings.NewReader(string(body)))
	resp, err := http.DefaultTransport.RoundTrip(saved)
	require.NoError(t, err)
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	require.Contains(t, string(answer), "SignatureNonceUsed")
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func TestOnlyLoopback(t *testing.T) {
	for _, addr := range []string{"0.0.0.0:0", ":0", "192.0.2.1:80", "nonsense"} {
		_, err := emulator.Start(emulator.Config{Addr: addr})
		require.Error(t, err, addr)
	}
}
