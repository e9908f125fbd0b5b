// SPDX-License-Identifier: Apache-2.0

package oauth

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"html/template"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/agent-identity/agent-identity-go/internal/emulator/core"
	"github.com/agent-identity/agent-identity-go/internal/randid"
)

// Cookies of the server's own origin. They hold random handles only.
const (
	browserCookie = "local_cloud_browser"
	signInCookie  = "local_cloud_signin"
)

var signInPage = template.Must(template.New("signin").Parse(`
<h1>Sign in · 登录</h1>
<p>to continue to <strong>{{.Client}}</strong></p>
<form method="post" action="/oauth/v1/signin">
<input type="hidden" name="request" value="{{.Request}}">
<input type="hidden" name="csrf" value="{{.CSRF}}">
{{range .Users}}<button name="user" value="{{.Subject}}">{{.Name}}<small>{{.Email}}</small></button>
{{end}}</form>`))

var consentPage = template.Must(template.New("consent").Parse(`
<h1>Allow access? · 是否授权？</h1>
<p><strong>{{.Client}}</strong> asks to act for <strong>{{.User.Name}}</strong> ({{.User.Email}}):</p>
<ul>{{range .Scopes}}<li><code>{{.}}</code></li>{{end}}</ul>
{{if .Allowed}}<p><small>Allowed before · 已授权：{{range .Allowed}} <code>{{.}}</code>{{end}}</small></p>{{end}}
<form method="post" action="/oauth/v1/consent">
<input type="hidden" name="request" value="{{.Request}}">
<input type="hidden" name="csrf" value="{{.CSRF}}">
<button class="primary" name="decision" value="allow">Allow · 允许</button>
<button class="plain" name="decision" value="deny">Deny · 拒绝</button>
<button class="plain" name="decision" value="switch">Use another account · 换个账号</button>
</form>`))

// authorize begins at the browser: RFC 6749 4.1.1 with PKCE.
func (s *Server) authorize(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	for name, values := range q {
		if len(values) > 1 {
			core.WriteProblem(w, http.StatusBadRequest, "Bad request", "The parameter "+name+" was sent more than once.")
			return
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	client, ok := s.clients[q.Get("client_id")]
	if !ok {
		core.WriteProblem(w, http.StatusBadRequest, "Unknown application", "No application with this client_id is registered here.")
		return
	}
	redirectURI := q.Get("redirect_uri")
	if !slices.Contains(client.RedirectURIs, redirectURI) {
		// Not sent there: it may be an attacker's.
		core.WriteProblem(w, http.StatusBadRequest, "Wrong return address",
			"The redirect_uri is not one that the application registered. It must be equal to the letter.")
		return
	}
	req := &authRequest{
		id: randid.Hex(16), client: client, redirectURI: redirectURI, state: q.Get("state"),
		scopes: strings.Fields(q.Get("scope")), nonce: q.Get("nonce"), challenge: q.Get("code_challenge"),
		expires: s.Clock.Now().Add(requestLife), forceSignIn: client.FirstParty || strings.Contains(q.Get("prompt"), "login"),
		askAll: strings.Contains(q.Get("prompt"), "consent"),
	}
	if len(req.scopes) == 0 {
		req.scopes = client.Scopes // all scopes of the application, as Alibaba Cloud documents
	}
	challenge, err := base64.RawURLEncoding.DecodeString(req.challenge)
	switch {
	case q.Get("response_type") != "code":
		s.deny(w, r, req, "unsupported_response_type", "response_type must be code")
		return
	case q.Get("code_challenge_method") != "S256" || err != nil || len(challenge) != sha256.Size:
		s.deny(w, r, req, "invalid_request", "PKCE with code_challenge_method S256 is required")
		return
	case len(req.state) > 2048 || len(req.nonce) > 512:
		s.deny(w, r, req, "invalid_request", "state or nonce is too long")
		return
	}
	for _, scope := range req.scopes {
		if !slices.Contains(client.Scopes, scope) {
			s.deny(w, r, req, "invalid_scope", "the application may not ask for "+scope)
			return
		}
	}
	req.browser = s.browser(w, r)
	s.sweep()
	if len(s.requests) >= maxPending {
		core.WriteProblem(w, http.StatusServiceUnavailable, "Too busy", "Too many sign-ins are open. Try again in some minutes.")
		return
	}
	s.requests[req.id] = req
	s.show(w, r, req)
}

// show answers with the page that the request needs next.
func (s *Server) show(w http.ResponseWriter, r *http.Request, req *authRequest) {
	user := req.user
	if user == "" && !req.forceSignIn {
		if c, err := r.Cookie(signInCookie); err == nil {
			if in, ok := s.signIns[c.Value]; ok && s.Clock.Now().Before(in.expires) {
				user = in.user
			}
		}
	}
	u, known := s.User(user)
	switch {
	case !known:
		core.WritePage(w, http.StatusOK, "Sign in", signInPage, map[string]any{
			"Client": req.client.Name, "Request": req.id, "CSRF": csrf(req), "Users": s.Users,
		})
	case req.client.FirstParty:
		s.grantCode(w, r, req, u.Subject)
	default:
		req.user = u.Subject
		missing, allowed := s.missing(req)
		core.WritePage(w, http.StatusOK, "Allow access?", consentPage, map[string]any{
			"Client": req.client.Name, "Request": req.id, "CSRF": csrf(req), "User": u, "Scopes": missing, "Allowed": allowed,
		})
	}
}

// missing divides the scopes of a request into those that the user is asked for
// and those that they have allowed before.
func (s *Server) missing(req *authRequest) (missing, allowed []string) {
	before := s.allowed[allowance{req.client.ID, req.user}]
	for _, scope := range req.scopes {
		if slices.Contains(before, scope) && !req.askAll {
			allowed = append(allowed, scope)
		} else {
			missing = append(missing, scope)
		}
	}
	if missing == nil { // nothing new: then it is asked once more
		return allowed, nil
	}
	return missing, allowed
}

func (s *Server) chooseUser(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	req := s.formRequest(w, r)
	if req == nil {
		return
	}
	u, ok := s.User(r.PostForm.Get("user"))
	if !ok {
		core.WriteProblem(w, http.StatusBadRequest, "Unknown user", "Choose one of the users shown.")
		return
	}
	req.user = u.Subject
	handle := randid.Hex(16)
	s.signIns[handle] = signIn{u.Subject, s.Clock.Now().Add(signInLife)}
	http.SetCookie(w, &http.Cookie{Name: signInCookie, Value: handle, Path: "/oauth/", HttpOnly: true, SameSite: http.SameSiteLaxMode})
	s.record("signin", u.Subject, req.client.ID, http.StatusOK, "")
	s.show(w, r, req)
}

func (s *Server) decide(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	req := s.formRequest(w, r)
	if req == nil {
		return
	}
	switch r.PostForm.Get("decision") {
	case "allow":
		if req.user == "" {
			core.WriteProblem(w, http.StatusBadRequest, "Sign in first", "Nobody is signed in for this request.")
			return
		}
		s.record("consent", req.user, req.client.ID, http.StatusOK, "")
		who := allowance{req.client.ID, req.user}
		s.allowed[who] = slices.Compact(slices.Sorted(slices.Values(slices.Concat(s.allowed[who], req.scopes))))
		s.grantCode(w, r, req, req.user)
	case "deny":
		s.record("consent", req.user, req.client.ID, http.StatusOK, "access_denied")
		delete(s.requests, req.id)
		s.deny(w, r, req, "access_denied", "the user refused")
	case "switch":
		req.user, req.forceSignIn = "", true
		s.show(w, r, req)
	default:
		core.WriteProblem(w, http.StatusBadRequest, "No decision", "Choose Allow or Deny.")
	}
}

// formRequest finds the request that a form belongs to, in the browser that
// it was shown in, or answers with what is wrong.
func (s *Server) formRequest(w http.ResponseWriter, r *http.Request) *authRequest {
	if err := r.ParseForm(); err != nil {
		core.WriteProblem(w, http.StatusBadRequest, "Bad request", "The form could not be read.")
		return nil
	}
	req, ok := s.requests[r.PostForm.Get("request")]
	if !ok || s.Clock.Now().After(req.expires) {
		core.WriteProblem(w, http.StatusBadRequest, "Request expired",
			"This sign-in is not open any more. Go back to the application and begin again.")
		return nil
	}
	c, err := r.Cookie(browserCookie)
	if err != nil || c.Value != req.browser || !hmac.Equal([]byte(csrf(req)), []byte(r.PostForm.Get("csrf"))) {
		core.WriteProblem(w, http.StatusForbidden, "Another browser", "This form was not made for this browser.")
		return nil
	}
	return req
}

// csrf ties a form to its request and browser.
func csrf(req *authRequest) string {
	mac := hmac.New(sha256.New, []byte(req.browser))
	mac.Write([]byte(req.id))
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

// browser returns the handle of the browser, a new one if it has none.
func (s *Server) browser(w http.ResponseWriter, r *http.Request) string {
	if c, err := r.Cookie(browserCookie); err == nil && len(c.Value) == 32 {
		return c.Value
	}
	handle := randid.Hex(16)
	http.SetCookie(w, &http.Cookie{Name: browserCookie, Value: handle, Path: "/oauth/", HttpOnly: true, SameSite: http.SameSiteLaxMode})
	return handle
}

func (s *Server) grantCode(w http.ResponseWriter, r *http.Request, req *authRequest, user string) {
	delete(s.requests, req.id)
	code := "code-" + randid.Hex(24)
	s.codes[code] = &grant{
		client: req.client, redirectURI: req.redirectURI, challenge: req.challenge,
		user: user, nonce: req.nonce, scopes: req.scopes, expires: s.Clock.Now().Add(codeLife),
	}
	s.redirect(w, r, req, url.Values{"code": {code}})
}

func (s *Server) deny(w http.ResponseWriter, r *http.Request, req *authRequest, code, description string) {
	s.redirect(w, r, req, url.Values{"error": {code}, "error_description": {description}})
}

func (s *Server) redirect(w http.ResponseWriter, r *http.Request, req *authRequest, params url.Values) {
	u, err := url.Parse(req.redirectURI)
	if err != nil {
		core.WriteProblem(w, http.StatusInternalServerError, "Wrong return address", "The registered redirect_uri cannot be read.")
		return
	}
	q := u.Query()
	maps.Copy(q, params)
	if req.state != "" {
		q.Set("state", req.state)
	}
	q.Set("iss", s.Issuer()) // RFC 9207
	u.RawQuery = q.Encode()
	w.Header().Set("Cache-Control", "no-store")
	http.Redirect(w, r, u.String(), http.StatusFound)
}

// sweep drops what has ended.
func (s *Server) sweep() {
	now := s.Clock.Now()
	for id, req := range s.requests {
		if now.After(req.expires) {
			delete(s.requests, id)
		}
	}
	for code, g := range s.codes {
		if now.After(g.expires.Add(requestLife)) { // later than its end, to notice a second use
			delete(s.codes, code)
		}
	}
	for token, g := range s.refresh {
		if now.After(g.expires) {
			delete(s.refresh, token)
		}
	}
	for handle, in := range s.signIns {
		if now.After(in.expires) {
			delete(s.signIns, handle)
		}
	}
}
