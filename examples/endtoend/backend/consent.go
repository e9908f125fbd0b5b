// SPDX-License-Identifier: Apache-2.0

package backend

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"html/template"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/agent-identity/agent-identity-go/credentials"
	"github.com/agent-identity/agent-identity-go/examples/endtoend/protocol"
	"github.com/agent-identity/agent-identity-go/examples/endtoend/store"
	"github.com/agent-identity/agent-identity-go/examples/endtoend/web"
	"github.com/agent-identity/agent-identity-go/identity"
	"github.com/agent-identity/agent-identity-go/internal/loopback"
)

// consentLife is how long a consent that was asked for can be given.
const consentLife = 15 * time.Minute

// pendingConsent is a consent that a tool waits for, kept under its session
// URI. Only a login session that was asked can give it. Usually that is one;
// when a user chats in two browsers, tools of both may wait for the same.
type pendingConsent struct {
	Subject  string   `json:"subject"` // digest of issuer and subject
	URL      string   `json:"url"`
	Tool     string   `json:"tool"`
	Provider string   `json:"provider"`
	Scopes   []string `json:"scopes"`
	Asked    []asked  `json:"asked"`
}

// asked is one chat that was asked.
type asked struct {
	Login  string `json:"login"` // id of the login session
	ChatID string `json:"chat_id"`
	// IDToken is what the agent was called with: to confirm, the service
	// takes the very token that began the session and no other.
	IDToken string `json:"id_token"`
}

// maxAsked bounds how many chats one consent remembers.
const maxAsked = 8

func (p *pendingConsent) asks(login string) bool {
	return slices.ContainsFunc(p.Asked, func(a asked) bool { return same(a.Login, login) })
}

func (p *pendingConsent) knowsChat(id string) bool {
	return slices.ContainsFunc(p.Asked, func(a asked) bool { return same(a.ChatID, id) })
}

func consentKey(sessionURI string) string { return "consent/" + digest(sessionURI) }

// keepConsent remembers that a user was asked, and returns the id of our page
// about it.
func (s *Server) keepConsent(ctx context.Context, in *session, chatID string, event *protocol.Authorization) (string, error) {
	link, err := url.Parse(event.URL)
	if err != nil || event.SessionURI == "" || link.Scheme != "https" && (link.Scheme != "http" || !loopback.Is(link.Hostname())) {
		return "", &agentError{"AGENT_ERROR", "The agent asked for an authorization without a usable link."}
	}
	s.consents.Lock() // one change at a time
	defer s.consents.Unlock()
	key, who := consentKey(event.SessionURI), digest(digest(in.Issuer)+digest(in.Subject))
	p, err := s.findConsent(ctx, key)
	switch {
	case errors.Is(err, store.ErrNotFound):
		p = &pendingConsent{Subject: who, URL: event.URL, Tool: event.ToolName, Provider: event.Provider, Scopes: event.Scopes}
	case err != nil:
		return "", err
	case !same(p.Subject, who):
		return "", &agentError{"AGENT_ERROR", "The agent asked for an authorization that belongs to somebody else."}
	}
	ask := asked{Login: in.ID, ChatID: chatID, IDToken: in.IDToken}
	if !slices.Contains(p.Asked, ask) && len(p.Asked) < maxAsked {
		p.Asked = append(p.Asked, ask)
	}
	b, err := json.Marshal(p)
	if err != nil {
		return "", err
	}
	return digest(event.SessionURI), s.cfg.Sessions.Put(ctx, key, b, consentLife)
}

func (s *Server) findConsent(ctx context.Context, key string) (*pendingConsent, error) {
	b, err := s.cfg.Sessions.Get(ctx, key)
	if err != nil {
		return nil, err
	}
	var p pendingConsent
	if err := json.Unmarshal(b, &p); err != nil {
		return nil, err
	}
	return &p, nil
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
	p, err := s.findConsent(r.Context(), "consent/"+r.PathValue("id"))
	if err != nil || !p.asks(in.ID) {
		// The same for both: whether it exists is nobody else's business.
		s.problem(w, r, http.StatusNotFound, "This authorization request is not open in this login. Ask the agent again.")
		return
	}
	s.html(w, http.StatusOK, consentPage, p, "")
}

// callback is where the browser comes back to after the user decided. It
// confirms, for the one who was asked alone, and once.
func (s *Server) callback(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	sessionURI, state := q.Get("session_uri"), q.Get("state")
	if sessionURI == "" || state == "" {
		s.problem(w, r, http.StatusUnprocessableEntity, "session_uri and state are required")
		return
	}
	in, err := s.session(r)
	if err != nil {
		s.problem(w, r, http.StatusServiceUnavailable, "sessions are not available now")
		return
	}
	if in == nil {
		s.problem(w, r, http.StatusBadRequest, "Missing login_session_id cookie")
		return
	}
	key := consentKey(sessionURI)
	p, err := s.findConsent(r.Context(), key)
	switch {
	case errors.Is(err, store.ErrNotFound), err == nil && !p.knowsChat(state):
		s.problem(w, r, http.StatusBadRequest, "Invalid state")
		return
	case err != nil:
		s.problem(w, r, http.StatusServiceUnavailable, "sessions are not available now")
		return
	case !p.asks(in.ID):
		s.log(r).Warn("consent of another login refused", "subject", in.Subject)
		s.problem(w, r, http.StatusBadRequest, "Invalid login_session_id")
		return
	}
	kept, err := s.cfg.Sessions.Take(r.Context(), key)
	if err != nil {
		s.problem(w, r, http.StatusBadRequest, "Invalid state")
		return
	}
	log := s.log(r).With("subject", in.Subject, "provider", p.Provider)
	if q.Get("error") != "" {
		log.Info("consent refused")
		credentials.NotifyAuthorization(sessionURI)
		s.html(w, http.StatusOK, refusedPage, p, closeScript)
		return
	}
	for _, a := range p.Asked {
		err = s.cfg.Identity.CompleteResourceTokenAuth(r.Context(), sessionURI, identity.UserIdentifier{UserToken: identity.NewSecret(a.IDToken)})
		if !errors.Is(err, identity.ErrAccessDenied) {
			break // else another of this user's tokens began the session
		}
	}
	if err != nil {
		log.Error("confirming the consent", "error", err)
		if apiErr, ok := errors.AsType[*identity.APIError](err); !ok || apiErr.Temporary() {
			// Nothing was confirmed: the same link may try again.
			_ = s.cfg.Sessions.Put(context.WithoutCancel(r.Context()), key, kept, consentLife)
			s.problem(w, r, http.StatusBadGateway, "The authorization could not be confirmed now. Reload this page to try again.")
			return
		}
		s.problem(w, r, http.StatusBadGateway, "The authorization was not accepted. Ask the agent again.")
		return
	}
	log.Info("consent granted")
	credentials.NotifyAuthorization(sessionURI)
	s.html(w, http.StatusOK, successPage, p, closeScript)
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

const pageHead = `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1"><title>{{template "title" .}}</title>
<style>
:root { color-scheme: light dark; }
body { font: 16px/1.5 system-ui, "Noto Sans SC", sans-serif; max-width: 28rem; margin: 4rem auto; padding: 0 1rem; }
h1 { font-size: 1.375rem; }
a.button { display: block; text-align: center; padding: .75rem 1rem; border-radius: .5rem; background: #1664d9; color: #fff; font-weight: 600; text-decoration: none; margin: 1.5rem 0 .75rem; }
a.button:focus-visible { outline: 3px solid #7fb0ff; outline-offset: 2px; }
code { overflow-wrap: anywhere; }
small { opacity: .75; }
</style></head><body>{{template "body" .}}`

var (
	consentPage = newPage(`Authorize access`, `<h1>Authorize access? · 是否授权？</h1>
<p>The tool <code>{{.Tool}}</code> wants to use <strong>{{.Provider}}</strong> on your behalf · 工具希望代表你访问：</p>
<ul>{{range .Scopes}}<li><code>{{.}}</code></li>{{end}}</ul>
<a class="button" href="{{.URL}}" rel="noreferrer">Continue · 继续</a>
<p><small>You decide on the next page. To refuse, deny there or close this page. · 在下一页做出决定；关闭本页即为暂不授权。</small></p>`)
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
	policy := "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; frame-ancestors 'none'; form-action 'none'"
	if script != "" {
		sum := sha256.Sum256([]byte(script))
		policy += "; script-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
		b.WriteString("<script>" + script + "</script>")
	}
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Security-Policy", policy)
	h.Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = w.Write(b.Bytes())
}
