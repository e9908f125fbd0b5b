// SPDX-License-Identifier: Apache-2.0

package identity

import (
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/agent-identity/agent-identity-go/internal/emulator/core"
	"github.com/agent-identity/agent-identity-go/internal/randid"
)

// States of a consent session. IN_PROGRESS is documented; the others are this
// simulation's, named after what rivals document.
const (
	statusInProgress = "IN_PROGRESS"
	statusCompleted  = "COMPLETED"
	statusFailed     = "FAILED"
	statusExpired    = "EXPIRED"
)

// consent is one session in which a user is asked.
type consent struct {
	uri         string
	workload    *Workload
	provider    *OAuth2Provider
	user        Subject
	scopes      []string
	returnURL   string
	customState string
	custom      map[string]string
	forced      bool // ask again for what was granted before
	expires     time.Time

	browser  string // the one that opened the link
	state    string // sent to the authorization server
	verifier string // PKCE
	answered bool   // the authorization server's answer came
	failed   bool
	token    *storedGrant // granted, and waiting for confirmation
	done     bool         // confirmed
}

func (s *Service) beginSession(want *consent) map[string]any {
	now := s.Clock.Now()
	for uri, old := range s.consents {
		if now.After(old.expires.Add(time.Hour)) {
			delete(s.consents, uri)
			delete(s.states, old.state)
		}
	}
	want.uri = "urn:ietf:params:oauth:request_uri:" + randid.UUID()
	want.expires = now.Add(sessionLife)
	s.consents[want.uri] = want
	if s.OnSession != nil {
		s.OnSession(want.user.Label(), want.uri, s.link(want))
	}
	return s.describe(want)
}

func (s *Service) describe(c *consent) map[string]any {
	return map[string]any{
		"AuthorizationURL": s.link(c),
		"SessionURI":       c.uri,
		"SessionStatus":    s.status(c),
	}
}

func (s *Service) link(c *consent) string {
	return s.URL + "/oauth2/authorize?request_uri=" + url.QueryEscape(c.uri)
}

func (s *Service) status(c *consent) string {
	switch {
	case c.done:
		return statusCompleted
	case c.failed:
		return statusFailed
	case s.Clock.Now().After(c.expires):
		return statusExpired
	}
	return statusInProgress
}

// continueSession answers a poll. The session must be the same user's, for the
// same grant.
func (s *Service) continueSession(uri string, want *consent) (map[string]any, *Refusal) {
	c, ok := s.consents[uri]
	if !ok {
		return nil, &Refusal{404, "EntityNotExists.Session", "there is no such session"}
	}
	if c.user.key() != want.user.key() || c.workload.Name != want.workload.Name || c.provider.Name != want.provider.Name {
		return nil, &Refusal{403, "Forbidden.SessionMismatch", "the session belongs to another user, workload identity or provider"}
	}
	if c.returnURL != want.returnURL || !containsAll(c.scopes, want.scopes) {
		return nil, &Refusal{400, "InvalidParameter.SessionURI", "a poll must repeat the request that began the session"}
	}
	if c.done {
		return map[string]any{"AccessToken": c.token.accessToken}, nil
	}
	return s.describe(c), nil
}

// openLink is where the user's browser starts.
func (s *Service) openLink(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c, ok := s.consents[r.URL.Query().Get("request_uri")]
	if !ok || s.status(c) == statusExpired {
		core.WriteProblem(w, http.StatusBadRequest, "Link expired", "This authorization link is not valid any more. Ask the agent again.")
		return
	}
	const cookie = "local_cloud_consent"
	browser := randid.Hex(16)
	if have, err := r.Cookie(cookie); err == nil && len(have.Value) == len(browser) {
		browser = have.Value
	}
	if c.answered || c.done || c.browser != "" && c.browser != browser {
		core.WriteProblem(w, http.StatusBadRequest, "Link used", "An authorization link works once, in one browser. Ask the agent again.")
		return
	}
	http.SetCookie(w, &http.Cookie{Name: cookie, Value: browser, Path: "/oauth2/", HttpOnly: true, SameSite: http.SameSiteLaxMode})
	c.browser = browser
	delete(s.states, c.state)
	c.state, c.verifier = randid.Hex(24), randid.Hex(32)
	s.states[c.state] = c
	challenge := sha256.Sum256([]byte(c.verifier))
	q := url.Values{}
	for name, value := range c.custom {
		q.Set(name, value)
	}
	q.Set("response_type", "code")
	q.Set("client_id", c.provider.ClientID)
	q.Set("redirect_uri", s.callbackURL(c.provider))
	q.Set("state", c.state)
	q.Set("code_challenge", base64.RawURLEncoding.EncodeToString(challenge[:]))
	q.Set("code_challenge_method", "S256")
	// The vault keeps one grant for each provider: what was granted before
	// stays part of it, and the authorization server asks for the rest.
	scopes := c.scopes
	if g := s.grants[grantKey{c.workload.Name, c.user.key(), c.provider.Name}]; g != nil && len(scopes) > 0 {
		scopes = slices.Compact(slices.Sorted(slices.Values(slices.Concat(g.scopes, scopes))))
	}
	if len(scopes) > 0 {
		q.Set("scope", strings.Join(scopes, " "))
	}
	if c.forced {
		q.Set("prompt", "consent")
	}
	s.record("OpenAuthorizationLink", c, http.StatusFound, "")
	w.Header().Set("Cache-Control", "no-store")
	http.Redirect(w, r, c.provider.AuthorizationEndpoint+"?"+q.Encode(), http.StatusFound)
}

// callback is where the authorization server sends the browser back to.
func (s *Service) callback(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	s.mu.Lock()
	c, ok := s.states[q.Get("state")]
	if ok {
		delete(s.states, q.Get("state"))
	}
	cookie, err := r.Cookie("local_cloud_consent")
	if !ok || c.answered || c.provider.CallbackID != r.PathValue("id") || s.status(c) != statusInProgress || err != nil || cookie.Value != c.browser {
		s.mu.Unlock()
		core.WriteProblem(w, http.StatusBadRequest, "Not expected here", "This answer belongs to no open authorization of this browser. Ask the agent again.")
		return
	}
	c.answered = true
	provider, verifier := c.provider, c.verifier
	s.mu.Unlock()

	var token *storedGrant
	failure := q.Get("error")
	if failure == "" {
		token, failure = s.exchange(r.Context(), provider, url.Values{
			"grant_type": {"authorization_code"}, "code": {q.Get("code")},
			"redirect_uri": {s.callbackURL(provider)}, "code_verifier": {verifier},
		}, c.scopes)
	}

	s.mu.Lock()
	defer s.mu.Unlock()
	c.token, c.failed = token, failure != ""
	if !c.failed && !c.workload.SessionBinding {
		s.complete(c)
	}
	s.record("AuthorizationCallback", c, http.StatusFound, failure)
	if c.returnURL == "" {
		core.WriteProblem(w, http.StatusOK, "Done", "You can close this page and go back to the agent.")
		return
	}
	u, err := url.Parse(c.returnURL)
	if err != nil {
		core.WriteProblem(w, http.StatusInternalServerError, "Wrong return address", "The return URL cannot be read.")
		return
	}
	back := u.Query()
	back.Set("session_uri", c.uri)
	if c.customState != "" {
		back.Set("state", c.customState)
	}
	if c.failed {
		back.Set("error", failure)
	}
	u.RawQuery = back.Encode()
	w.Header().Set("Cache-Control", "no-store")
	http.Redirect(w, r, u.String(), http.StatusFound)
}

func (s *Service) complete(c *consent) {
	c.done = true
	s.grants[grantKey{c.workload.Name, c.user.key(), c.provider.Name}] = c.token
}

func (s *Service) completeResourceTokenAuth(c *call) (map[string]any, *Refusal) {
	var id struct{ UserID, UserJWT string }
	if ref := jsonParam(c, "UserIdentifier", &id); ref != nil {
		return nil, ref
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	session, ok := s.consents[c.params["SessionURI"]]
	if !ok {
		return nil, &Refusal{404, "EntityNotExists.Session", "there is no such session"}
	}
	c.target = session.provider.Name
	c.user = session.user
	switch {
	case id.UserJWT != session.user.Token || id.UserID != session.user.UserID:
		c.user = Subject{UserID: id.UserID}
		return nil, &Refusal{403, "Forbidden.UserMismatch", "UserIdentifier is not the very token or user id that the workload access token was made with"}
	case session.done:
		return nil, &Refusal{409, "InvalidParameter.SessionURI", "the session was confirmed before"}
	case s.status(session) != statusInProgress || session.token == nil:
		return nil, &Refusal{400, "InvalidParameter.SessionURI", "the session has no grant to confirm"}
	}
	s.complete(session)
	return map[string]any{}, nil
}

// Open yields the consent sessions of a user, by label, that nobody has answered
// yet.
func (s *Service) Open(user string) map[string]string {
	s.mu.Lock()
	defer s.mu.Unlock()
	links := map[string]string{}
	for uri, c := range s.consents {
		if c.user.Label() == user && !c.answered && s.status(c) == statusInProgress {
			links[uri] = s.link(c)
		}
	}
	return links
}

// Confirm confirms a session that the user has granted, as the application's
// callback does with CompleteResourceTokenAuth. Without session binding there
// is nothing to confirm.
func (s *Service) Confirm(uri string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	c, ok := s.consents[uri]
	if !ok || s.status(c) != statusInProgress || c.token == nil {
		return ok && c.done
	}
	s.complete(c)
	s.record("CompleteResourceTokenAuth", c, http.StatusOK, "")
	return true
}

// Revoke forgets what a user granted to a provider; the user is asked again.
func (s *Service) Revoke(user, provider string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for key, c := range s.consents {
		if c.user.Label() == user && c.provider.Name == provider && c.done {
			delete(s.consents, key)
		}
	}
	for key := range s.grants {
		if key.provider == provider && (key.user == "id:"+user || strings.HasPrefix(key.user, "jwt:") && strings.HasSuffix(key.user, s.URL+"/oauth"+user)) {
			delete(s.grants, key)
		}
	}
}

// FailSession lets an open session fail, as if the authorization server had.
func (s *Service) FailSession(uri string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	c, ok := s.consents[uri]
	if ok {
		c.answered, c.failed = true, true
	}
	return ok
}

func (s *Service) record(op string, c *consent, status int, code string) {
	s.Calls.Add(core.Call{
		Time: s.Clock.Now(), Service: "identity", Op: op, User: c.user.Label(), Target: c.provider.Name, Status: status, Code: code,
	})
}
