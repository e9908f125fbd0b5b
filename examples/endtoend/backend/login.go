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

	loginLife   = 10 * time.Minute
	sessionLife = 12 * time.Hour

	maxLoginBody = 16 << 10
)

// pendingLogin is a sign-in that has begun, kept under its state.
type pendingLogin struct {
	Browser  string `json:"browser"` // digest of the browser's cookie
	Verifier string `json:"verifier"`
	Nonce    string `json:"nonce"`
}

// session is a signed-in user, kept under the digest of the cookie.
type session struct {
	ID       string    `json:"id"` // digest of the cookie
	Handle   string    `json:"handle"`
	Issuer   string    `json:"issuer"`
	Subject  string    `json:"subject"`
	Name     string    `json:"name"`
	IDToken  string    `json:"id_token"`
	TokenEnd time.Time `json:"token_end"`
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
		Name: name, Value: value, Path: "/", MaxAge: int(life.Seconds()), HttpOnly: true, Secure: s.secure, SameSite: http.SameSiteLaxMode,
	})
}

// auth begins a sign-in: the answer is the address to send the browser to, as
// a JSON text.
func (s *Server) auth(w http.ResponseWriter, r *http.Request) {
	conf, err := s.oauth(r)
	if err != nil {
		s.log(r).Error("beginning a sign-in", "error", err)
		web.Fail(w, http.StatusServiceUnavailable, "sign-in is not available now: the identity provider did not answer")
		return
	}
	browser := randid.Hex(24)
	if c, err := r.Cookie(browserCookie); err == nil && len(c.Value) == len(browser) {
		browser = c.Value // other tabs may be signing in, too
	}
	state := randid.Hex(24)
	pending := pendingLogin{Browser: digest(browser), Verifier: oauth2.GenerateVerifier(), Nonce: randid.Hex(16)}
	b, err := json.Marshal(pending)
	if err == nil {
		err = s.cfg.Logins.Put(r.Context(), "login/"+digest(state), b, loginLife)
	}
	if err != nil {
		s.log(r).Error("beginning a sign-in", "error", err)
		web.Fail(w, http.StatusServiceUnavailable, "sign-in is not available now")
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
	if err != nil {
		s.log(r).Warn("sign-in refused", "error", err)
		web.Fail(w, http.StatusBadRequest, "this sign-in was not begun in this browser, was finished before, or has expired; sign in again")
		return
	}
	raw, claims, err := s.redeem(r, *body.Code, pending)
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
	// A new id at every sign-in: one planted before is worth nothing.
	id := randid.Hex(32)
	in := session{
		ID: digest(id), Handle: randid.Hex(16), Issuer: claims.Issuer, Subject: claims.Subject, Name: claims.Name,
		IDToken: raw, TokenEnd: claims.Expiry,
	}
	b, err := json.Marshal(in)
	if err == nil {
		err = s.cfg.Sessions.Put(r.Context(), "session/"+in.ID, b, sessionLife)
	}
	if err != nil {
		s.log(r).Error("keeping the session", "error", err)
		web.Fail(w, http.StatusServiceUnavailable, "sign-in is not available now")
		return
	}
	if old, _ := s.session(r); old != nil {
		_ = s.cfg.Sessions.Delete(r.Context(), "session/"+old.ID)
	}
	s.setCookie(w, sessionCookie, id, sessionLife)
	s.setCookie(w, browserCookie, "", -time.Second)
	http.SetCookie(w, &http.Cookie{
		Name: handleCookie, Value: in.Handle, Path: "/", MaxAge: int(sessionLife.Seconds()), Secure: s.secure, SameSite: http.SameSiteLaxMode,
	})
	s.log(r).Info("signed in", "subject", in.Subject)
	web.JSON(w, http.StatusOK, map[string]string{"session_id": in.Handle, "user_id": in.Subject})
}

// takeLogin finds a pending sign-in, once, for the browser that began it.
func (s *Server) takeLogin(r *http.Request, state string) (*pendingLogin, error) {
	c, err := r.Cookie(browserCookie)
	if err != nil {
		return nil, errors.New("no cookie of a sign-in")
	}
	key := "login/" + digest(state)
	b, err := s.cfg.Logins.Get(r.Context(), key)
	if err != nil {
		return nil, errors.New("unknown state")
	}
	var p pendingLogin
	if err := json.Unmarshal(b, &p); err != nil || !same(p.Browser, digest(c.Value)) {
		// Left in place: another browser must not be able to end it.
		return nil, errors.New("state of another browser")
	}
	if _, err := s.cfg.Logins.Take(r.Context(), key); err != nil {
		return nil, errors.New("state was used in the meantime")
	}
	return &p, nil
}

// redeem exchanges the code and verifies the ID token. Access and refresh
// token are not needed and not kept.
func (s *Server) redeem(r *http.Request, code string, p *pendingLogin) (string, idtoken.Claims, error) {
	conf, err := s.oauth(r)
	if err != nil {
		return "", idtoken.Claims{}, err
	}
	ctx, cancel := context.WithTimeout(r.Context(), 15*time.Second)
	defer cancel()
	token, err := conf.Exchange(ctx, code, oauth2.VerifierOption(p.Verifier))
	if err != nil {
		return "", idtoken.Claims{}, err
	}
	raw, _ := token.Extra("id_token").(string)
	if raw == "" {
		return "", idtoken.Claims{}, errors.New("the token answer has no ID token")
	}
	claims, err := s.cfg.Verifier.Verify(ctx, raw)
	if err != nil {
		return "", idtoken.Claims{}, err
	}
	// Not documented for Alibaba Cloud, so matched where it is present.
	if claims.Nonce != "" && !same(claims.Nonce, p.Nonce) {
		return "", idtoken.Claims{}, errors.Join(idtoken.ErrInvalid, errors.New("its nonce is another sign-in's"))
	}
	return raw, claims, nil
}

// plain is an error without the answer that x/oauth2 quotes.
func plain(err error) string {
	if e, ok := errors.AsType[*oauth2.RetrieveError](err); ok {
		return "token endpoint: status " + e.Response.Status + ", error " + e.ErrorCode
	}
	return err.Error()
}

// session finds the signed-in user of a request; nil if there is none.
func (s *Server) session(r *http.Request) (*session, error) {
	id := ""
	if c, err := r.Cookie(sessionCookie); err == nil {
		id = digest(c.Value)
	}
	b, err := s.cfg.Sessions.Get(r.Context(), "session/"+id)
	if errors.Is(err, store.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var in session
	if err := json.Unmarshal(b, &in); err != nil {
		return nil, err
	}
	return &in, nil
}

// signedIn finds the user of an API request, or answers why there is none. The
// handle must be in the header, as the original page sends it: that no other
// site can do.
func (s *Server) signedIn(w http.ResponseWriter, r *http.Request) *session {
	in, err := s.session(r)
	switch {
	case err != nil:
		s.log(r).Error("reading the session", "error", err)
		web.Fail(w, http.StatusServiceUnavailable, "sessions are not available now")
	case in == nil || r.Header.Get(handleHeader) == "":
		web.Fail(w, http.StatusUnauthorized, "User not logged in")
	case !same(in.Handle, r.Header.Get(handleHeader)):
		web.Fail(w, http.StatusUnauthorized, "Invalid session")
	case !time.Now().Before(in.TokenEnd):
		_ = s.cfg.Sessions.Delete(r.Context(), "session/"+in.ID)
		web.Fail(w, http.StatusUnauthorized, "Login expired; sign in again")
	default:
		return in
	}
	return nil
}

// me tells the page who is signed in.
func (s *Server) me(w http.ResponseWriter, r *http.Request) {
	in, err := s.session(r)
	if err != nil {
		web.Fail(w, http.StatusServiceUnavailable, "sessions are not available now")
		return
	}
	if in == nil || !time.Now().Before(in.TokenEnd) {
		web.Fail(w, http.StatusUnauthorized, "User not logged in")
		return
	}
	simulated := s.cfg.Simulated
	if simulated == nil {
		simulated = []string{}
	}
	web.JSON(w, http.StatusOK, map[string]any{
		"user_id": in.Subject, "name": in.Name, "session_id": in.Handle, "simulated": simulated,
	})
}

func (s *Server) logout(w http.ResponseWriter, r *http.Request) {
	in := s.signedIn(w, r)
	if in == nil {
		return
	}
	if err := s.cfg.Sessions.Delete(r.Context(), "session/"+in.ID); err != nil {
		web.Fail(w, http.StatusServiceUnavailable, "sessions are not available now")
		return
	}
	s.setCookie(w, sessionCookie, "", -time.Second)
	http.SetCookie(w, &http.Cookie{Name: handleCookie, Path: "/", MaxAge: -1})
	s.log(r).Info("signed out", "subject", in.Subject)
	web.JSON(w, http.StatusOK, map[string]string{"status": "signed out"})
}
