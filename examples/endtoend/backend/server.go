// SPDX-License-Identifier: Apache-2.0

// Package backend is the sample's backend: it signs users in, relays their
// chat to the agent, and takes part in their consent.
//
// Requests, answers, header and cookie names are those of the original sample,
// so that its page and agent work with it. What differs is who is believed:
// authority is an HttpOnly cookie of our own. The original's script-readable
// handle (cookie oauthSessionId, header SESSION-ID) must be there, too, and is
// worth nothing alone.
package backend

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strings"

	"golang.org/x/oauth2"

	"github.com/agent-identity/agent-identity-go/credentials"
	"github.com/agent-identity/agent-identity-go/examples/endtoend/idtoken"
	"github.com/agent-identity/agent-identity-go/examples/endtoend/store"
	"github.com/agent-identity/agent-identity-go/examples/endtoend/web"
	"github.com/agent-identity/agent-identity-go/identity"
	"github.com/agent-identity/agent-identity-go/internal/loopback"
)

// Config configures a [Server].
type Config struct {
	// BaseURL is the address at which browsers reach the backend. Required.
	BaseURL string
	// RedirectURL is where the sign-in returns. Required.
	RedirectURL string
	// ClientID is the OAuth client of the sign-in. Required.
	ClientID string
	// Verifier checks ID tokens and knows the issuer. Required.
	Verifier *idtoken.Verifier
	// AgentURL is the agent's /process. Required.
	AgentURL string
	// AgentToken is sent to the agent as a bearer token, if not empty.
	AgentToken identity.Secret
	// Identity confirms consents. Required.
	Identity *identity.Client
	// Logins keeps sign-ins that have begun. It is apart from Sessions, so
	// that what anybody can fill does not push out what users have. Required.
	Logins store.Store
	// Sessions keeps who is signed in, and consents that are asked for.
	// Required.
	Sessions store.Store
	// Frontend is the built page. Required.
	Frontend fs.FS
	// Simulated lists what is simulated, for the page to say so.
	Simulated []string
	// Log is required.
	Log *slog.Logger
}

// Server is the backend. It is safe for concurrent use.
type Server struct {
	cfg     Config
	secure  bool // the page is served over HTTPS
	host    string
	agent   *http.Client
	handler http.Handler

	consents *credentials.CallbackHandler
}

// New makes a server.
func New(cfg Config) (*Server, error) {
	base, err := url.Parse(cfg.BaseURL)
	if err != nil || base.Host == "" || strings.Trim(base.Path, "/") != "" {
		return nil, fmt.Errorf("backend: base URL %q: want scheme and host alone", cfg.BaseURL)
	}
	agent, err := url.Parse(cfg.AgentURL)
	if err != nil || agent.Host == "" {
		return nil, fmt.Errorf("backend: agent URL %q: want a URL such as http://localhost:8080/process", cfg.AgentURL)
	}
	if agent.Scheme != "https" && !loopback.Is(agent.Hostname()) {
		return nil, errors.New("backend: the agent's URL must be https: requests to it carry users' ID tokens")
	}
	cfg.BaseURL = base.Scheme + "://" + base.Host
	s := &Server{
		cfg: cfg, secure: base.Scheme == "https", host: base.Host,
		// No limit on the whole exchange: streams last as long as they live.
		agent: &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }},
	}
	s.consents, err = credentials.NewCallbackHandler(credentials.CallbackConfig{
		Client: cfg.Identity, Login: s.login, Store: cfg.Sessions, Page: s.callbackPage, Logger: cfg.Log,
	})
	if err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /health", func(w http.ResponseWriter, _ *http.Request) {
		web.JSON(w, http.StatusOK, map[string]string{"status": "healthy"})
	})
	mux.HandleFunc("GET /auth", s.auth)
	mux.HandleFunc("POST /callback_for_oauth", s.finishLogin)
	mux.HandleFunc("POST /logout", s.logout)
	mux.HandleFunc("GET /me", s.me)
	mux.HandleFunc("POST /chat", s.chat)
	mux.HandleFunc("GET /consent/{id}", s.consent)
	mux.Handle("GET /callback", s.consents)
	mux.HandleFunc("GET /", s.page)
	s.handler = web.Handle(cfg.Log, s.secured(http.NewCrossOriginProtection().Handler(mux)))
	return s, nil
}

func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.handler.ServeHTTP(w, r) }

// secured sets the headers that every answer needs, and serves a loopback
// backend to loopback host names only (DNS rebinding).
func (s *Server) secured(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("X-Frame-Options", "DENY")
		h.Set("Cross-Origin-Opener-Policy", "same-origin-allow-popups")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Content-Security-Policy", "default-src 'self'; img-src 'self' data:; object-src 'none'; base-uri 'none'; frame-ancestors 'none'; form-action 'self'")
		if s.secure {
			h.Set("Strict-Transport-Security", "max-age=31536000")
		}
		host := r.Host
		if name, _, err := net.SplitHostPort(r.Host); err == nil {
			host = name
		}
		if name, _, err := net.SplitHostPort(s.host); err == nil && loopback.Is(name) && !loopback.Is(strings.Trim(host, "[]")) {
			web.Fail(w, http.StatusMisdirectedRequest, "this host name is not served here; use "+s.cfg.BaseURL)
			return
		}
		next.ServeHTTP(w, r)
	})
}

func (s *Server) oauth(r *http.Request) (*oauth2.Config, error) {
	endpoint, err := s.cfg.Verifier.Endpoint(r.Context())
	if err != nil {
		return nil, err
	}
	endpoint.AuthStyle = oauth2.AuthStyleInParams // a public client: its id, and no secret
	return &oauth2.Config{ClientID: s.cfg.ClientID, Endpoint: endpoint, RedirectURL: s.cfg.RedirectURL}, nil
}

func (s *Server) log(r *http.Request) *slog.Logger {
	return s.cfg.Log.With("request_id", web.RequestID(r.Context()))
}
