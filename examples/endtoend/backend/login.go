// SPDX-License-Identifier: Apache-2.0

package backend

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"encoding/json"
	"errors"
	"net/http"
	"time"

	"golang.org/x/oauth2"

	"github.com/agent-identity/agent-identity-go/examples/endtoend/idtoken"
	"github.com/agent-identity/agent-identity-go/examples/endtoend/store"
	"github.com/agent-identity/agent-identity-go/examples/endtoend/web"
	"github.com/agent-identity/agent-identity-go/internal/randid"
)

const (
	// browserCookie ties a sign-in to the browser that began it.
	browserCookie = "agent_login"
	// sessionCookie is the authority of a signed-in user.
	sessionCookie = "agent_session"
	// handleCookie is the original page's cookie; see the package comment.
	handleCookie = "oauthSessionId"
	handleHeader = "SESSION-ID"

	loginLife = 10 * time.Minute

	maxLoginBody = 16 << 10
)

// pendingLogin is a sign-in that has begun, kept under its state.
type pendingLogin struct {
	Browser  string `json:"browser"` // digest of the browser's cookie
	Verifier string `json:"verifier"`
	Nonce    string `json:"nonce"`
}

func digest(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])
}

func same(a, b string) bool { return subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1 }

// setCookie sets a cookie that scripts cannot read. Lax, because sign-in and
// consent come back to us from other sites.
func (s *Server) setCookie(w http.ResponseWriter, name, value string, life time.Duration) {
	http.SetCookie(w, &http.Cookie{
		Name: s.cookie(name), Value: value, Path: "/", MaxAge: int(life.Seconds()), HttpOnly: true, Secure: s.secure, SameSite: http.SameSiteLaxMode,
	})
}

// cookie is a cookie's name. Over HTTPS no other host of the domain can set it.
func (s *Server) cookie(name string) string {
	if s.secure {
		return "__Host-" + name
	}
	return name
}

// auth begins a sign-in: the answer is the address to send the browser to, as
// a JSON text.
func (s *Server) auth(w http.ResponseWriter, r *http.Request) {
	conf, err := s.oauth(r.Context())
	if err != nil {
		s.log(r).Error("beginning a sign-in", "error", err)
		web.Fail(w, http.StatusServiceUnavailable, "sign-in is not available now: the identity provider did not answer")
		return
	}
	browser := randid.Hex(24)
	if c, err := r.Cookie(s.cookie(browserCookie)); err == nil && len(c.Value) == len(browser) {
		browser = c.Value // other tabs may be signing in, too
	}
	state := randid.Hex(24)
	pending := pendingLogin{Browser: digest(browser), Verifier: oauth2.GenerateVerifier(), Nonce: randid.Hex(16)}
	b, err := json.Marshal(pending)
	if err == nil {
		err = s.cfg.Logins.Put(r.Context(), "login/"+digest(state), b, loginLife)
	}
	if err != nil {
		s.storeDown(w, r, err)
		return
	}
	s.setCookie(w, browserCookie, browser, loginLife)
	web.JSON(w, http.StatusOK, conf.AuthCodeURL(state,
		oauth2.S256ChallengeOption(pending.Verifier), oauth2.SetAuthURLParam("nonce", pending.Nonce)))
}

// finishLogin redeems the code that the identity provider sent the browser
// back with.
func (s *Server) finishLogin(w http.ResponseWriter, r *http.Request) {
	var body struct{ Code, State *string }
	if !web.ReadJSON(w, r, maxLoginBody, &body) {
		return
	}
	if body.Code == nil || *body.Code == "" {
		web.Fail(w, http.StatusUnprocessableEntity, "code: required")
		return
	}
	if body.State == nil || *body.State == "" {
		web.Fail(w, http.StatusBadRequest, "state: required; begin the sign-in with GET /auth")
		return
	}
	pending, err := s.takeLogin(r, *body.State)
	if errors.Is(err, errStore) {
		s.storeDown(w, r, err)
		return
	}
	if err != nil {
		s.log(r).Warn("sign-in refused", "error", err)
		web.Fail(w, http.StatusBadRequest, "this sign-in was not begun in this browser, was finished before, or has expired; sign in again")
		return
	}
	raw, refresh, claims, err := s.redeem(r, *body.Code, pending)
	if err != nil {
		status, detail := http.StatusBadGateway, "the identity provider did not complete the sign-in; sign in again"
		if errors.Is(err, idtoken.ErrInvalid) {
			detail = "the identity provider's ID token is not valid; sign in again"
		}
		if _, refused := errors.AsType[*oauth2.RetrieveError](err); refused {
			status, detail = http.StatusBadRequest, "the identity provider did not accept the code; sign in again"
		}
		s.log(r).Warn("sign-in failed", "error", plain(err))
		web.Fail(w, status, detail)
		return
	}
	in, id := newSession(raw, claims, refresh)
	if err := s.keepSession(r.Context(), in); err != nil {
		s.storeDown(w, r, err)
		return
	}
	if old, _ := s.session(r); old != nil {
		_ = s.cfg.Sessions.Delete(r.Context(), sessionKey(old.ID))
	}
	s.setCookie(w, sessionCookie, id, sessionLife)
	s.setCookie(w, browserCookie, "", -time.Second)
	http.SetCookie(w, &http.Cookie{
		Name: handleCookie, Value: in.Handle, Path: "/", MaxAge: int(sessionLife.Seconds()), Secure: s.secure, SameSite: http.SameSiteLaxMode,
	})
	s.log(r).Info("signed in", "subject", in.Subject)
	web.JSON(w, http.StatusOK, map[string]string{"session_id": in.Handle, "user_id": in.Subject})
}

// errStore marks failures of the store, which are nobody's fault here.
var errStore = errors.New("the store failed")

// takeLogin finds a pending sign-in, once, for the browser that began it.
func (s *Server) takeLogin(r *http.Request, state string) (*pendingLogin, error) {
	c, err := r.Cookie(s.cookie(browserCookie))
	if err != nil {
		return nil, errors.New("no cookie of a sign-in")
	}
	key := "login/" + digest(state)
	b, err := s.cfg.Logins.Get(r.Context(), key)
	if errors.Is(err, store.ErrNotFound) {
		return nil, errors.New("unknown state")
	}
	if err != nil {
		return nil, errors.Join(errStore, err)
	}
	var p pendingLogin
	if err := json.Unmarshal(b, &p); err != nil || !same(p.Browser, digest(c.Value)) {
		// Left in place: another browser must not be able to end it.
		return nil, errors.New("state of another browser")
	}
	if _, err := s.cfg.Logins.Take(r.Context(), key); errors.Is(err, store.ErrNotFound) {
		return nil, errors.New("state was used in the meantime")
	} else if err != nil {
		return nil, errors.Join(errStore, err)
	}
	return &p, nil
}

// redeem exchanges the code and verifies the ID token. The access token is not
// needed and not kept.
func (s *Server) redeem(r *http.Request, code string, p *pendingLogin) (raw, refresh string, claims idtoken.Claims, err error) {
	ctx, cancel := context.WithTimeout(r.Context(), 15*time.Second)
	defer cancel()
	conf, err := s.oauth(ctx)
	if err != nil {
		return "", "", claims, err
	}
	token, err := conf.Exchange(ctx, code, oauth2.VerifierOption(p.Verifier))
	if err != nil {
		return "", "", claims, err
	}
	raw, _ = token.Extra("id_token").(string)
	if raw == "" {
		return "", "", claims, errors.New("the token answer has no ID token")
	}
	if claims, err = s.cfg.Verifier.Verify(ctx, raw); err != nil {
		return "", "", claims, err
	}
	// Not documented for Alibaba Cloud, so matched where it is present.
	if claims.Nonce != "" && !same(claims.Nonce, p.Nonce) {
		return "", "", claims, errors.Join(idtoken.ErrInvalid, errors.New("its nonce is another sign-in's"))
	}
	return raw, token.RefreshToken, claims, nil
}

// plain is an error without the answer that x/oauth2 quotes.
func plain(err error) string {
	if e, ok := errors.AsType[*oauth2.RetrieveError](err); ok {
		return "token endpoint: status " + e.Response.Status + ", error " + e.ErrorCode
	}
	return err.Error()
}
