// SPDX-License-Identifier: Apache-2.0

package backend

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"html/template"
	"net/http"
	"strings"

	"github.com/agent-identity/agent-identity-go/credentials"
	"github.com/agent-identity/agent-identity-go/examples/endtoend/protocol"
	"github.com/agent-identity/agent-identity-go/examples/endtoend/web"
	"github.com/agent-identity/agent-identity-go/identity"
)

// keepConsent remembers that a user was asked, and returns the id of our page
// about it.
func (s *Server) keepConsent(ctx context.Context, in *session, chatID string, event *protocol.Authorization) (string, error) {
	id, err := s.consents.Expect(ctx, in.login(), credentials.Authorization{
		Provider: event.Provider, Scopes: event.Scopes, URL: event.URL, SessionURI: event.SessionURI, Tool: event.ToolName,
		// What the agent was called with: to confirm, the service takes the
		// very token that began the session and no other.
		Caller: identity.Caller{UserToken: identity.NewSecret(in.IDToken), State: chatID},
	})
	if err != nil {
		return "", errors.Join(&agentError{"AGENT_ERROR", "The agent asked for an authorization that cannot be shown."}, err)
	}
	return id, nil
}

// login is the session as the callback handler sees it: the id binds a consent
// to this browser.
func (in *session) login() credentials.Login {
	return credentials.Login{ID: in.ID, Caller: identity.Caller{UserToken: identity.NewSecret(in.IDToken)}}
}

func (s *Server) login(r *http.Request) (credentials.Login, error) {
	in, err := s.session(r)
	if err != nil || in == nil {
		return credentials.Login{}, err
	}
	return in.login(), nil
}

// consent is our own page about a consent: it checks that the one who opens it
// is the one who was asked, and says what they are asked for.
func (s *Server) consent(w http.ResponseWriter, r *http.Request) {
	in, err := s.session(r)
	if err != nil {
		s.problem(w, r, http.StatusServiceUnavailable, "sessions are not available now")
		return
	}
	if in == nil {
		s.problem(w, r, http.StatusUnauthorized, "User not logged in")
		return
	}
	asked, err := s.consents.Asked(r, r.PathValue("id"))
	if err != nil {
		// The same for all: whether it exists is nobody else's business.
		s.problem(w, r, http.StatusNotFound, "This authorization request is not open in this login. Ask the agent again.")
		return
	}
	s.html(w, http.StatusOK, consentPage, struct {
		credentials.Authorization
		ID string
	}{asked, r.PathValue("id")}, "")
}

// decline is the user's "not now", of our own page or of the chat's.
func (s *Server) decline(w http.ResponseWriter, r *http.Request) {
	in, err := s.session(r)
	if err != nil {
		s.storeDown(w, r, err)
		return
	}
	asked, err := s.consents.Decline(r, r.PathValue("id"))
	switch {
	case errors.Is(err, credentials.ErrNotPending):
		s.problem(w, r, http.StatusNotFound, "This authorization request is not open in this login.")
		return
	case err != nil:
		s.log(r).Error("declining an authorization", "error", err)
		s.problem(w, r, http.StatusServiceUnavailable, "This is not possible now. Please try again in a moment.")
		return
	}
	// Agents that share our store know already; one that does not is told.
	if err := s.tell(r.Context(), in, http.MethodPost, "/consents/"+r.PathValue("id")+"/decline"); err != nil {
		s.log(r).Warn("telling the agent that an authorization was declined; the tool waits for its time limit", "error", err)
	}
	if strings.Contains(r.Header.Get("Accept"), "text/html") {
		s.html(w, http.StatusOK, declinedPage, asked, closeScript)
		return
	}
	web.JSON(w, http.StatusOK, map[string]string{"status": "declined"})
}

// callbackPage answers the browser that comes back after the user decided, in
// the original's words where it has some.
func (s *Server) callbackPage(w http.ResponseWriter, r *http.Request, result credentials.CallbackResult) {
	switch result.Outcome {
	case credentials.CallbackGranted:
		s.html(w, http.StatusOK, successPage, result.Authorization, closeScript)
	case credentials.CallbackRefused:
		s.html(w, http.StatusOK, refusedPage, result.Authorization, closeScript)
	case credentials.CallbackMalformed:
		s.problem(w, r, http.StatusUnprocessableEntity, "session_uri and state are required")
	case credentials.CallbackSignedOut:
		s.problem(w, r, http.StatusBadRequest, "Missing login_session_id cookie")
	case credentials.CallbackUnknown:
		s.problem(w, r, http.StatusBadRequest, "Invalid state")
	case credentials.CallbackOtherLogin:
		s.problem(w, r, http.StatusBadRequest, "Invalid login_session_id")
	case credentials.CallbackUnavailable:
		s.problem(w, r, http.StatusBadGateway, "The authorization could not be confirmed now. Reload this page to try again.")
	case credentials.CallbackNotAccepted:
		s.problem(w, r, http.StatusBadGateway, "The authorization was not accepted. Ask the agent again.")
	}
}

// closeScript closes the window of a finished consent after three seconds.
const closeScript = `setTimeout(function(){window.close()},3000)`

// problem answers a person with a page, and a program with JSON.
func (s *Server) problem(w http.ResponseWriter, r *http.Request, status int, detail string) {
	if !strings.Contains(r.Header.Get("Accept"), "text/html") {
		web.Fail(w, status, detail)
		return
	}
	s.html(w, status, problemPage, detail, "")
}

// pageStyle is allowed by its hash.
const pageStyle = `
:root { color-scheme: light dark; }
body { font: 16px/1.5 system-ui, "Noto Sans SC", sans-serif; max-width: 28rem; margin: 4rem auto; padding: 0 1rem; }
h1 { font-size: 1.375rem; }
a.button { display: block; text-align: center; padding: .75rem 1rem; border-radius: .5rem; background: #1664d9; color: #fff; font-weight: 600; text-decoration: none; margin: 1.5rem 0 .75rem; }
a.button:focus-visible { outline: 3px solid #7fb0ff; outline-offset: 2px; }
button { width: 100%; font: inherit; padding: .75rem 1rem; border-radius: .5rem; border: 1px solid; background: none; color: inherit; cursor: pointer; }
code { overflow-wrap: anywhere; }
small { opacity: .75; }
`

const pageHead = `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1"><title>{{template "title" .}}</title>
<style>` + pageStyle + `</style></head><body>{{template "body" .}}`

var (
	consentPage = newPage(`Authorize access`, `<h1>Authorize access? · 是否授权？</h1>
<p>The tool <code>{{.Tool}}</code> wants to use <strong>{{.Provider}}</strong> on your behalf · 工具希望代表你访问：</p>
<ul>{{range .Scopes}}<li><code>{{.}}</code></li>{{end}}</ul>
<a class="button" href="{{.URL}}" rel="noreferrer">Continue · 继续</a>
<form method="post" action="/consent/{{.ID}}/decline"><button>Not now · 暂不授权</button></form>
<p><small>You decide on the next page, which belongs to the provider. · 您将在提供方的页面上做出决定。</small></p>`)
	declinedPage = newPage(`Not now`, `<h1>Not now · 暂不授权</h1>
<p>Nothing was authorized. Go back to the chat; the agent goes on without <strong>{{.Provider}}</strong>. · 未授予任何权限，请返回聊天页面。</p>`)
	successPage = newPage(`Success`, `<h1>Success · 授权成功</h1>
<p><strong>{{.Provider}}</strong> is authorized. Go back to the chat; the answer goes on there. · 请返回聊天页面。</p>
<p><small>This page closes itself. · 本页面将自动关闭。</small></p>`)
	refusedPage = newPage(`Refused`, `<h1>Refused · 已拒绝</h1>
<p>Nothing was authorized. Go back to the chat. · 未授予任何权限，请返回聊天页面。</p>`)
	problemPage = newPage(`Not possible`, `<h1>This did not work · 操作未成功</h1><p>{{.}}</p>`)
)

func newPage(title, body string) *template.Template {
	return template.Must(template.New("page").Parse(pageHead + `{{define "title"}}` + title + `{{end}}{{define "body"}}` + body + `{{end}}`))
}

// html answers with a page. Its policy allows the one script given.
func (s *Server) html(w http.ResponseWriter, status int, page *template.Template, data any, script string) {
	var b bytes.Buffer
	if err := page.Execute(&b, data); err != nil {
		web.Fail(w, http.StatusInternalServerError, "the page could not be made")
		return
	}
	policy := "default-src 'none'; style-src " + hashSource(pageStyle) + "; base-uri 'none'; frame-ancestors 'none'; form-action 'self'"
	if script != "" {
		policy += "; script-src " + hashSource(script)
		b.WriteString("<script>" + script + "</script>")
	}
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Security-Policy", policy)
	h.Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = w.Write(b.Bytes())
}

// hashSource lets a policy allow one inline text.
func hashSource(text string) string {
	sum := sha256.Sum256([]byte(text))
	return "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
}
