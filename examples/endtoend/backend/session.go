// SPDX-License-Identifier: Apache-2.0

package backend

import (
	"context"
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

// How long a login lives, and when its ID token is renewed.
const (
	defaultIdle = 2 * time.Hour
	sessionLife = 12 * time.Hour
	// touchEvery is how exactly idleness is known: not every request writes.
	touchEvery = time.Minute
	// renewBefore is how long before its end an ID token is renewed: the agent
	// needs it for as long as an answer may take.
	renewBefore = 5 * time.Minute
)

// session is a signed-in user, kept under the digest of the cookie.
type session struct {
	ID           string    `json:"id"` // digest of the cookie
	Handle       string    `json:"handle"`
	Issuer       string    `json:"issuer"`
	Subject      string    `json:"subject"`
	Name         string    `json:"name"`
	IDToken      string    `json:"id_token"`
	TokenEnd     time.Time `json:"token_end"`
	RefreshToken string    `json:"refresh_token,omitempty"`
	Begun        time.Time `json:"begun"`
	Seen         time.Time `json:"seen"`
}

func sessionKey(id string) string { return "session/" + id }

// left is how long a session may still be kept: until it idles for too long, or
// its time is over.
func (s *Server) left(in *session) time.Duration {
	return min(s.cfg.SessionIdle, time.Until(in.Begun.Add(sessionLife)))
}

// keepSession begins a session.
func (s *Server) keepSession(ctx context.Context, in *session) error {
	b, err := json.Marshal(in)
	if err != nil {
		return err
	}
	return s.cfg.Sessions.Put(ctx, sessionKey(in.ID), b, s.left(in))
}

// session finds the signed-in user of a request; nil if there is none.
func (s *Server) session(r *http.Request) (*session, error) {
	c, err := r.Cookie(s.cookie(sessionCookie))
	if err != nil {
		return nil, nil
	}
	in, err := s.readSession(r.Context(), digest(c.Value))
	if in == nil || err != nil {
		return nil, err
	}
	if time.Since(in.Seen) > min(touchEvery, s.cfg.SessionIdle/4) {
		in, err = s.changeSession(r.Context(), in.ID, func(in *session) { in.Seen = time.Now() })
	}
	return in, err
}

func (s *Server) readSession(ctx context.Context, id string) (*session, error) {
	b, err := s.cfg.Sessions.Get(ctx, sessionKey(id))
	if errors.Is(err, store.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	in := new(session)
	if err := json.Unmarshal(b, in); err != nil {
		return nil, err
	}
	// One of another identity provider, before the settings were changed or the
	// local cloud was started anew, is worth nothing to the agent.
	if s.left(in) <= 0 || in.Issuer != s.cfg.Verifier.Issuer() {
		return nil, nil
	}
	return in, nil
}

// changeSession changes a session where it is kept; one that has been ended in
// the meantime stays ended, and is nil.
func (s *Server) changeSession(ctx context.Context, id string, change func(*session)) (in *session, err error) {
	now, err := s.readSession(ctx, id)
	if now == nil || err != nil {
		return nil, err
	}
	err = s.cfg.Sessions.Update(ctx, sessionKey(id), s.left(now), func(old []byte) ([]byte, error) {
		in = nil
		if old == nil {
			return nil, nil
		}
		in = new(session)
		if err := json.Unmarshal(old, in); err != nil {
			return nil, err
		}
		change(in)
		return json.Marshal(in)
	})
	return in, err
}

// signedIn finds the user of an API request, with an ID token that lives long
// enough to be passed on, or answers why there is none. The handle must be in
// the header, as the original page sends it: that no other site can do.
func (s *Server) signedIn(w http.ResponseWriter, r *http.Request) *session {
	in, err := s.session(r)
	switch {
	case err != nil:
		s.storeDown(w, r, err)
		return nil
	case in == nil || r.Header.Get(handleHeader) == "":
		web.Fail(w, http.StatusUnauthorized, "User not logged in")
		return nil
	case !same(in.Handle, r.Header.Get(handleHeader)):
		web.Fail(w, http.StatusUnauthorized, "Invalid session")
		return nil
	}
	return s.fresh(w, r, in)
}

// fresh renews a session's ID token where it ends soon, or answers that the
// login has expired.
func (s *Server) fresh(w http.ResponseWriter, r *http.Request, in *session) *session {
	if time.Until(in.TokenEnd) < renewBefore && in.RefreshToken != "" {
		renewed, err := s.renew(r.Context(), in)
		if err != nil {
			s.log(r).Warn("renewing the login", "error", plain(err))
		}
		if renewed != nil {
			in = renewed
		}
	}
	if time.Now().Before(in.TokenEnd) {
		return in
	}
	_ = s.cfg.Sessions.Delete(r.Context(), sessionKey(in.ID)) // it ends by itself, too
	web.Fail(w, http.StatusUnauthorized, "Login expired; sign in again")
	return nil
}

// storeDown answers that the store of logins cannot be reached.
func (s *Server) storeDown(w http.ResponseWriter, r *http.Request, err error) {
	s.log(r).Error("the store of logins", "error", err)
	w.Header().Set("Retry-After", "5")
	web.Fail(w, http.StatusServiceUnavailable, "Logins are not available now. Please try again in a moment.")
}

// renewing bounds a renewal.
const renewing = 15 * time.Second

// renew gets a new ID token with the refresh token. That works once, so of all
// requests of a session, over all replicas, one renews and the others wait.
func (s *Server) renew(ctx context.Context, in *session) (*session, error) {
	ctx, cancel := context.WithTimeout(ctx, renewing)
	defer cancel()
	for {
		release, _, err := store.Acquire(ctx, s.cfg.Sessions, "renew/"+in.ID, renewing)
		if err == nil {
			defer release()
			break
		}
		if !errors.Is(err, store.ErrHeld) {
			return nil, err
		}
		select {
		case <-time.After(100 * time.Millisecond):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	now, err := s.readSession(ctx, in.ID)
	if now == nil || err != nil || now.IDToken != in.IDToken || now.RefreshToken == "" {
		return now, err // ended, or renewed by another
	}
	conf, err := s.oauth(ctx)
	if err != nil {
		return nil, err
	}
	token, err := conf.TokenSource(ctx, &oauth2.Token{RefreshToken: now.RefreshToken}).Token()
	if refused, ok := errors.AsType[*oauth2.RetrieveError](err); ok && refused.Response.StatusCode < 500 {
		// It will never work again: do not ask each time.
		in, changeErr := s.changeSession(context.WithoutCancel(ctx), now.ID, func(in *session) { in.RefreshToken = "" })
		return in, errors.Join(err, changeErr)
	}
	if err != nil {
		return nil, err
	}
	raw, _ := token.Extra("id_token").(string)
	claims, err := s.cfg.Verifier.Verify(ctx, raw)
	if err == nil && (claims.Subject != now.Subject || claims.Issuer != now.Issuer) {
		err = errors.Join(idtoken.ErrInvalid, errors.New("it is another user's")) // OpenID Connect Core 12.2
	}
	// The refresh token may have been replaced, whatever the ID token is.
	renewed, changeErr := s.changeSession(context.WithoutCancel(ctx), now.ID, func(in *session) {
		in.RefreshToken = token.RefreshToken
		if err == nil {
			in.IDToken, in.TokenEnd = raw, claims.Expiry
		}
	})
	return renewed, errors.Join(err, changeErr)
}

// me tells the page who is signed in.
func (s *Server) me(w http.ResponseWriter, r *http.Request) {
	in, err := s.session(r)
	if err != nil {
		s.storeDown(w, r, err)
		return
	}
	if in == nil {
		web.Fail(w, http.StatusUnauthorized, "User not logged in")
		return
	}
	if in = s.fresh(w, r, in); in == nil {
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

// logout ends the login here, and what it could renew itself with at the
// identity provider (RFC 7009).
func (s *Server) logout(w http.ResponseWriter, r *http.Request) {
	in, err := s.session(r)
	if err != nil {
		s.storeDown(w, r, err)
		return
	}
	if in == nil || !same(in.Handle, r.Header.Get(handleHeader)) {
		web.Fail(w, http.StatusUnauthorized, "User not logged in")
		return
	}
	if err := s.cfg.Sessions.Delete(r.Context(), sessionKey(in.ID)); err != nil {
		s.storeDown(w, r, err)
		return
	}
	s.setCookie(w, sessionCookie, "", -time.Second)
	http.SetCookie(w, &http.Cookie{Name: handleCookie, Path: "/", MaxAge: -1, Secure: s.secure, SameSite: http.SameSiteLaxMode})
	if in.RefreshToken != "" {
		if err := s.cfg.Verifier.Revoke(r.Context(), s.cfg.ClientID, in.RefreshToken); err != nil {
			s.log(r).Warn("revoking the login at the identity provider; it ends there by itself", "error", err)
		}
	}
	s.log(r).Info("signed out", "subject", in.Subject)
	web.JSON(w, http.StatusOK, map[string]string{"status": "signed out"})
}

// newSession is a login that has just been made. Its cookie and its id are new:
// one planted before is worth nothing.
func newSession(raw string, claims idtoken.Claims, refreshToken string) (in *session, cookie string) {
	cookie = randid.Hex(32)
	now := time.Now()
	return &session{
		ID: digest(cookie), Handle: randid.Hex(16), Issuer: claims.Issuer, Subject: claims.Subject, Name: claims.Name,
		IDToken: raw, TokenEnd: claims.Expiry, RefreshToken: refreshToken, Begun: now, Seen: now,
	}, cookie
}
