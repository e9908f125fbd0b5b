// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"net/http"
	"sync"

	"golang.org/x/oauth2"

	"github.com/agent-identity/agent-identity-go/credentials"
	"github.com/agent-identity/agent-identity-go/examples/endtoend/idtoken"
	"github.com/agent-identity/agent-identity-go/identity"
	"github.com/agent-identity/agent-identity-go/internal/randid"
)

const (
	sessionCookie = "mcpserver_session"
	signInCookie  = "mcpserver_signin"
	// maxKept bounds what the maps below remember.
	maxKept = 1000
)

// consents makes sure that who opens a link is who was asked: the link that an
// MCP client is given leads here, here the user signs in, and only then does it
// go on to the authorization server. Without that, whoever is sent the link
// could grant access to their own account, for somebody else's agent.
type consents struct {
	base     string
	verifier *idtoken.Verifier
	clientID string
	callback *credentials.CallbackHandler

	mu      sync.Mutex // guards the rest
	asked   map[string]credentials.Authorization
	signIns map[string]signIn            // by state
	logins  map[string]credentials.Login // by cookie
}

// signIn is a sign-in that has begun in a browser.
type signIn struct{ browser, verifier, nonce, consent string }

func newConsents(base string, client *identity.Client, verifier *idtoken.Verifier, clientID string) (*consents, error) {
	c := &consents{
		base: base, verifier: verifier, clientID: clientID,
		asked: map[string]credentials.Authorization{}, signIns: map[string]signIn{}, logins: map[string]credentials.Login{},
	}
	var err error
	c.callback, err = credentials.NewCallbackHandler(credentials.CallbackConfig{Client: client, Login: c.login})
	return c, err
}

// link is what a client is given instead of the service's own link.
func (c *consents) link(_ context.Context, a credentials.Authorization) (string, error) {
	id := randid.Hex(16)
	c.mu.Lock()
	defer c.mu.Unlock()
	keep(c.asked, id, a)
	return c.base + "/consent/" + id, nil
}

func keep[V any](m map[string]V, key string, v V) {
	for old := range m {
		if len(m) < maxKept {
			break
		}
		delete(m, old)
	}
	m[key] = v
}

func (c *consents) routes(mux *http.ServeMux) {
	mux.HandleFunc("GET /consent/{id}", c.open)
	mux.HandleFunc("GET /signed-in", c.signedIn)
	mux.Handle("GET /callback", c.callback)
}

func (c *consents) login(r *http.Request) (credentials.Login, error) {
	cookie, err := r.Cookie(sessionCookie)
	if err != nil {
		return credentials.Login{}, nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.logins[cookie.Value], nil
}

// open is where a link leads.
func (c *consents) open(w http.ResponseWriter, r *http.Request) {
	id := r.PathValue("id")
	c.mu.Lock()
	a, ok := c.asked[id]
	c.mu.Unlock()
	login, _ := c.login(r)
	switch {
	case !ok:
		http.Error(w, "This authorization is not open here.", http.StatusNotFound)
	case login.ID == "":
		c.begin(w, r, id)
	default:
		if _, err := c.callback.Expect(r.Context(), login, a); errors.Is(err, credentials.ErrOtherUser) {
			http.Error(w, "Somebody else was asked. If you were sent this link, do not grant anything.", http.StatusForbidden)
		} else if err != nil {
			http.Error(w, "This authorization cannot be shown now.", http.StatusInternalServerError)
		} else {
			http.Redirect(w, r, a.URL, http.StatusSeeOther)
		}
	}
}

func (c *consents) oauth(ctx context.Context) (*oauth2.Config, error) {
	endpoint, err := c.verifier.Endpoint(ctx)
	if err != nil {
		return nil, err
	}
	endpoint.AuthStyle = oauth2.AuthStyleInParams // a public client
	return &oauth2.Config{ClientID: c.clientID, Endpoint: endpoint, RedirectURL: c.base + "/signed-in"}, nil
}

func (c *consents) begin(w http.ResponseWriter, r *http.Request, consent string) {
	cfg, err := c.oauth(r.Context())
	if err != nil {
		http.Error(w, "Signing in is not possible now.", http.StatusBadGateway)
		return
	}
	state, s := randid.Hex(16), signIn{randid.Hex(16), oauth2.GenerateVerifier(), randid.Hex(16), consent}
	c.mu.Lock()
	keep(c.signIns, state, s)
	c.mu.Unlock()
	setCookie(w, signInCookie, s.browser)
	http.Redirect(w, r, cfg.AuthCodeURL(state, oauth2.S256ChallengeOption(s.verifier), oauth2.SetAuthURLParam("nonce", s.nonce)), http.StatusSeeOther)
}

// signedIn is where the sign-in returns.
func (c *consents) signedIn(w http.ResponseWriter, r *http.Request) {
	state := r.URL.Query().Get("state")
	c.mu.Lock()
	s, ok := c.signIns[state]
	delete(c.signIns, state)
	c.mu.Unlock()
	cookie, err := r.Cookie(signInCookie)
	if !ok || err != nil || cookie.Value != s.browser {
		http.Error(w, "This sign-in was not begun in this browser.", http.StatusBadRequest)
		return
	}
	caller, err := c.exchange(r, s)
	if err != nil {
		http.Error(w, "Signing in did not work. Open the link again.", http.StatusBadGateway)
		return
	}
	session := randid.Hex(16)
	c.mu.Lock()
	keep(c.logins, session, credentials.Login{ID: session, Caller: caller})
	c.mu.Unlock()
	setCookie(w, sessionCookie, session)
	http.Redirect(w, r, "/consent/"+s.consent, http.StatusSeeOther)
}

func (c *consents) exchange(r *http.Request, s signIn) (identity.Caller, error) {
	cfg, err := c.oauth(r.Context())
	if err != nil {
		return identity.Caller{}, err
	}
	token, err := cfg.Exchange(r.Context(), r.URL.Query().Get("code"), oauth2.VerifierOption(s.verifier))
	if err != nil {
		return identity.Caller{}, err
	}
	idToken, _ := token.Extra("id_token").(string)
	claims, err := c.verifier.Verify(r.Context(), idToken)
	if err == nil && claims.Nonce != "" && claims.Nonce != s.nonce {
		err = errors.New("the ID token is of another sign-in")
	}
	return identity.Caller{UserToken: identity.NewSecret(idToken)}, err
}

func setCookie(w http.ResponseWriter, name, value string) {
	http.SetCookie(w, &http.Cookie{Name: name, Value: value, Path: "/", HttpOnly: true, SameSite: http.SameSiteLaxMode})
}
