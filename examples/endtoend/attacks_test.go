// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/agent-identity/agent-identity-go/examples/endtoend/protocol"
	"github.com/agent-identity/agent-identity-go/identity"
	"github.com/agent-identity/agent-identity-go/identity/identitytest"
)

func TestSignInIsBoundToTheBrowser(t *testing.T) {
	a, _ := newApp(t)
	attacker, victim := newBrowser(t, a), newBrowser(t, a)
	attacker.user = "bob"

	// What the link carries.
	link := attacker.authorizeURL()
	u, err := url.Parse(link)
	require.NoError(t, err)
	q := u.Query()
	require.Equal(t, "S256", q.Get("code_challenge_method"))
	require.NotEmpty(t, q.Get("nonce"))
	require.Equal(t, a.backendURL, q.Get("redirect_uri"))
	require.Equal(t, identitytest.LoginClientID, q.Get("client_id"))

	// Login CSRF: the attacker's code and state in the victim's browser.
	back := attacker.signInPage(link)
	victim.authorizeURL() // the victim has begun a sign-in of their own
	status, body := victim.finishSignIn(back)
	require.Equal(t, 400, status, body)
	status, _ = victim.do(http.MethodGet, "/me", nil)
	require.Equal(t, 401, status)

	// The attempt did not spoil the attacker's own sign-in, which works once.
	status, body = attacker.finishSignIn(back)
	require.Equal(t, 200, status, body)
	status, _ = attacker.finishSignIn(back)
	require.Equal(t, 400, status, "a state works once")
	for name, form := range map[string]any{
		"unknown state": map[string]string{"code": "c", "state": "unknown"}, "no state": map[string]string{"code": "c"},
		"null state": map[string]any{"code": "c", "state": nil},
	} {
		status, body := attacker.do(http.MethodPost, "/callback_for_oauth", form)
		require.Equal(t, 400, status, name)
		require.NotContains(t, body, "goroutine")
	}
	status, _ = attacker.do(http.MethodPost, "/callback_for_oauth", map[string]string{"state": "s"})
	require.Equal(t, 422, status)

	// A code that is not the identity provider's.
	other := newBrowser(t, a)
	other.user = "alice"
	back = other.signInPage(other.authorizeURL())
	back.Set("code", "forged")
	status, body = other.finishSignIn(back)
	require.Equal(t, 400, status, body)
	require.NotContains(t, body, "unknown authorization code", "the provider's words stay inside")
}

func TestSessionsCannotBePlanted(t *testing.T) {
	a, _ := newApp(t)
	b := newBrowser(t, a)
	base, err := url.Parse(a.backendURL)
	require.NoError(t, err)
	b.http.Jar.SetCookies(base, []*http.Cookie{{Name: "agent_session", Value: strings.Repeat("a", 64), Path: "/"}})
	b.signIn("alice")
	cookies := map[string]*http.Cookie{}
	for _, c := range b.http.Jar.Cookies(base) {
		cookies[c.Name] = c
	}
	require.NotEqual(t, strings.Repeat("a", 64), cookies["agent_session"].Value)
	require.Equal(t, b.handle, cookies["oauthSessionId"].Value)

	// The handle alone is worth nothing: neither as header nor as cookie.
	thief := newBrowser(t, a)
	thief.http.Jar.SetCookies(base, []*http.Cookie{
		{Name: "oauthSessionId", Value: b.handle, Path: "/"}, {Name: "agent_session", Value: b.handle, Path: "/"},
	})
	thief.handle = b.handle
	resp := thief.chat(t.Context(), "hi")
	defer resp.Body.Close()
	require.Equal(t, 401, resp.StatusCode)

	// The cookies' attributes.
	again := newBrowser(t, a)
	again.user = "alice"
	back := again.signInPage(again.authorizeURL())
	encoded, err := json.Marshal(map[string]string{"code": back.Get("code"), "state": back.Get("state")})
	require.NoError(t, err)
	answer := again.open(t.Context(), http.MethodPost, "/callback_for_oauth", string(encoded))
	defer answer.Body.Close()
	for _, c := range answer.Cookies() {
		require.Equal(t, http.SameSiteLaxMode, c.SameSite, c.Name)
		require.Equal(t, c.Name != "oauthSessionId", c.HttpOnly, c.Name)
	}

	// After signing out the old cookie is worth nothing.
	status, _ := b.do(http.MethodPost, "/logout", nil, "SESSION-ID", b.handle)
	require.Equal(t, 200, status)
	b.http.Jar.SetCookies(base, []*http.Cookie{cookies["agent_session"]})
	status, _ = b.do(http.MethodGet, "/me", nil)
	require.Equal(t, 401, status)
}

func TestAnExpiredLoginIsTold(t *testing.T) {
	a, _ := newApp(t)
	a.cloud.Advance(-2 * time.Hour) // the cloud's tokens are two hours old when they are made
	b := newBrowser(t, a)
	b.user = "alice"
	status, body := b.finishSignIn(b.signInPage(b.authorizeURL()))
	require.Equal(t, 502, status)
	require.Contains(t, body, "not valid")

	a, _ = newApp(t)
	a.cloud.Advance(-time.Hour + 3*time.Second)
	b = newBrowser(t, a)
	b.signIn("alice")
	a.cloud.Advance(26 * time.Hour) // the refresh token has ended, too
	require.Eventually(t, func() bool {
		resp := b.chat(t.Context(), "hi")
		defer resp.Body.Close()
		return resp.StatusCode == 401
	}, 20*time.Second, 100*time.Millisecond)
}

// askForConsent lets b's chat wait for consent and returns the event; done is
// closed when the answer has ended.
func askForConsent(t *testing.T, b *browser) (auth protocol.Authorization, got *answer, done chan struct{}) {
	t.Helper()
	asked := make(chan protocol.Authorization, 4)
	done = make(chan struct{})
	got = &answer{}
	go func() {
		defer close(done)
		*got = b.say("What time is it now?", func(a protocol.Authorization) { asked <- a })
	}()
	select {
	case auth = <-asked:
	case <-time.After(10 * time.Second):
		t.Fatal("nobody was asked")
	}
	return auth, got, done
}

func TestAStolenConsentLinkIsWorthNothing(t *testing.T) {
	a, logs := newApp(t)
	victim := newBrowser(t, a)
	victim.signIn("alice")
	auth, got, done := askForConsent(t, victim)
	require.Empty(t, auth.SessionURI, "the page never has the session")
	require.NotContains(t, victim.seen.String(), "urn:ietf")

	another, sameUser, anonymous := newBrowser(t, a), newBrowser(t, a), newBrowser(t, a)
	another.signIn("bob")
	sameUser.signIn("alice")
	for name, b := range map[string]*browser{"another user": another, "another browser of the same user": sameUser} {
		status, _ := b.do(http.MethodGet, auth.URL, nil)
		require.Equal(t, 404, status, name)
	}
	status, _ := anonymous.do(http.MethodGet, auth.URL, nil)
	require.Equal(t, 401, status)

	// Bob grants with his own account at the service's link, which he got
	// hold of somehow; what comes back is worth nothing in his browser …
	link := victim.consentLink(auth)
	back := another.walk(link, "allow")
	for name, b := range map[string]*browser{"another user": another, "another browser of the same user": sameUser} {
		status, body := b.do(http.MethodGet, back.String(), nil)
		require.Equal(t, 400, status, name)
		require.Contains(t, body, "Invalid login_session_id", name)
	}
	status, body := anonymous.do(http.MethodGet, back.String(), nil)
	require.Equal(t, 400, status)
	require.Contains(t, body, "Missing login_session_id cookie")
	require.Zero(t, a.cloud.Count("CompleteResourceTokenAuth"))
	require.Contains(t, logs.String(), "outcome=other_login")
	// … and the victim's own browser is told that the link was used.
	resp := victim.open(t.Context(), http.MethodGet, link, nil)
	require.NoError(t, resp.Body.Close())
	require.Equal(t, 400, resp.StatusCode)
	require.NoError(t, a.stop())
	<-done
	require.Equal(t, "SHUTTING_DOWN", got.failure.Code)
}

func TestTheCallbackWorksOnceAndForItsChatOnly(t *testing.T) {
	a, _ := newApp(t)
	b := newBrowser(t, a)
	b.signIn("alice")
	auth, got, done := askForConsent(t, b)
	back := b.walk(b.consentLink(auth), "allow")
	require.Equal(t, "chat-1", back.Query().Get("state"))

	for name, change := range map[string]func(url.Values){
		"another state":   func(q url.Values) { q.Set("state", "chat-2") },
		"another session": func(q url.Values) { q.Set("session_uri", "urn:ietf:params:oauth:request_uri:x") },
	} {
		forged := *back
		q := forged.Query()
		change(q)
		forged.RawQuery = q.Encode()
		status, body := b.do(http.MethodGet, forged.String(), nil)
		require.Equal(t, 400, status, name)
		require.JSONEq(t, `{"detail":"Invalid state"}`, body, name)
	}
	status, _ := b.do(http.MethodGet, "/callback", nil)
	require.Equal(t, 422, status)

	status, page := b.do(http.MethodGet, back.String(), nil, "Accept", "text/html")
	require.Equal(t, 200, status)
	require.Contains(t, page, "Success")
	<-done
	require.Contains(t, got.text, "Asia/Shanghai")
	status, _ = b.do(http.MethodGet, back.String(), nil)
	require.Equal(t, 400, status, "once")
	require.Equal(t, 1, a.cloud.Count("CompleteResourceTokenAuth"))
}

// A user with two browsers: tools of both wait for one consent, and either
// browser may give it.
func TestTwoBrowsersOfOneUser(t *testing.T) {
	a, _ := newApp(t)
	one, two := newBrowser(t, a), newBrowser(t, a)
	one.signIn("alice")
	two.signIn("alice")
	two.chatID = "chat-2"
	first, _, firstDone := askForConsent(t, one)
	second, got, secondDone := askForConsent(t, two)
	require.Equal(t, first.URL, second.URL)
	status, page := two.consent(second, "allow")
	require.Equal(t, 200, status, page)
	<-firstDone
	<-secondDone
	require.Contains(t, got.text, "Asia/Shanghai")
}

func TestHostsAndOrigins(t *testing.T) {
	a, _ := newApp(t)
	b := newBrowser(t, a)
	for _, base := range []string{a.backendURL, a.cloud.URL()} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, base+"/", nil)
		require.NoError(t, err)
		req.Host = "rebound.example.com"
		resp, err := b.http.Do(req)
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
		require.Equal(t, http.StatusMisdirectedRequest, resp.StatusCode, base)
	}
	status, _ := b.do(http.MethodGet, a.cloud.URL()+"/oauth/v1/keys", nil, "Origin", "https://evil.example.com")
	require.Equal(t, 403, status)
	status, _ = b.do(http.MethodPost, "/logout", nil, "Origin", "https://evil.example.com")
	require.Equal(t, 403, status)

	// The page lives under one name.
	port := a.backendURL[strings.LastIndexByte(a.backendURL, ':'):]
	resp := b.open(t.Context(), http.MethodGet, "http://127.0.0.1"+port+"/?code=c", nil)
	require.NoError(t, resp.Body.Close())
	require.Equal(t, a.backendURL+"/?code=c", resp.Header.Get("Location"))
	resp = b.open(t.Context(), http.MethodGet, "/login", nil)
	require.NoError(t, resp.Body.Close())
	require.Equal(t, 200, resp.StatusCode, "routes of the page survive a reload")
	require.Contains(t, resp.Header.Get("Content-Security-Policy"), "default-src 'self'")
	require.NotContains(t, resp.Header.Get("Content-Security-Policy"), "unsafe-inline")
	for _, missing := range []string{"/assets/missing.js", "/index.htm", "/favicon.png"} {
		status, _ := b.do(http.MethodGet, missing, nil)
		require.Equal(t, 404, status, missing)
	}
}

// TestNoSecretShows plants marked secrets, goes every way, and searches
// everything that was produced: logs at the lowest level, events, pages, error
// answers, and what the model was shown.
func TestNoSecretShows(t *testing.T) {
	t.Setenv("ALIBABA_CLOUD_ACCESS_KEY_SECRET", "planted-environment-secret")
	t.Setenv("AGENT_IDENTITY_WORKLOAD_ACCESS_TOKEN", "planted-workload-token")
	shown := &lockedBuffer{}
	model, use := spy(t, func(body []byte) { _, _ = shown.Write(body) })
	a, logs := newApp(t, "-consent-timeout", "5s", "-model", model)
	use(a)
	a.cloud.AddAPIKeyProvider(identitytest.APIKeyProvider, identity.NewSecret("planted-api-key"))
	b := newBrowser(t, a)
	b.user = "alice"
	back := b.signInPage(b.authorizeURL())
	status, body := b.finishSignIn(back)
	require.Equal(t, 200, status)
	var in struct {
		SessionID string `json:"session_id"`
	}
	require.NoError(t, json.Unmarshal([]byte(body), &in))
	b.handle = in.SessionID
	base, err := url.Parse(a.backendURL)
	require.NoError(t, err)
	secrets := map[string]string{
		"environment": "planted-environment-secret", "workload token": "planted-workload-token", "API key": "planted-api-key",
		"model key": "sk-planted-model-key", "code": back.Get("code"),
	}
	cred, err := a.cloud.ClientConfig().Credential.GetCredential()
	require.NoError(t, err)
	secrets["access key secret"] = *cred.AccessKeySecret
	for _, c := range b.http.Jar.Cookies(base) {
		if c.Name != "oauthSessionId" {
			secrets["cookie "+c.Name] = c.Value
		}
	}
	b.say("How's the weather today?", nil)
	b.say("What's my schedule for today?", nil)
	var session string
	b.say("What time is it now?", func(auth protocol.Authorization) {
		if auth.Status == protocol.StatusInProgress {
			backURL := b.walk(b.consentLink(auth), "allow")
			session = backURL.Query().Get("session_uri")
			b.do(http.MethodGet, backURL.String(), nil)
		}
	})
	require.NotEmpty(t, session)
	secrets["session URI"] = session
	b.do(http.MethodPost, "/chat", `{"input":`, "SESSION-ID", b.handle)
	b.do(http.MethodPost, a.agentURL+"/process", `{"session_id":"s","user_id":"planted.user.token","input":[{"role":"user","content":[{"type":"text","text":"x"}]}]}`)
	secrets["user token"] = "planted.user.token"
	b.do(http.MethodGet, a.backendURL+"/callback?session_uri=planted-session&state=planted-state", nil)
	secrets["forged session"] = "planted-session"

	// The ways in which a token could hide.
	produced := logs.String()
	for name, secret := range secrets {
		for form, text := range map[string]string{
			"plain": secret, "hex": hex.EncodeToString([]byte(secret)), "base64": base64.StdEncoding.EncodeToString([]byte(secret)), "escaped": url.QueryEscape(secret),
		} {
			require.NotContains(t, produced, text, "%s (%s) in the log", name, form)
			require.NotContains(t, shown.String(), text, "%s (%s) shown to the model", name, form)
			if name != "session URI" && name != "user token" {
				require.NotContains(t, b.seen.String(), text, "%s (%s) in the browser", name, form)
			}
		}
	}
	// Any JWT at all: ID tokens, access tokens.
	require.NotContains(t, produced, "eyJ")
	require.NotContains(t, b.seen.String(), "eyJ")
	require.NotContains(t, shown.String(), "eyJ")
	require.Contains(t, shown.String(), "get_current_time", "the model was shown the tools")
	require.NotContains(t, produced, "STS.LOCAL", "not even ids of temporary keys")
	require.Contains(t, produced, "GetResourceAPIKey", "the log was at its lowest level")
}
