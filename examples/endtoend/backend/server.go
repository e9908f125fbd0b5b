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
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

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
	// Framework is how the agent is spoken to. If empty, [AgentScope].
	Framework Framework
	// Transport sends requests to the agent. If nil, one that keeps a
	// connection for each open answer.
	Transport http.RoundTripper
	// Logins keeps sign-ins that have begun. It may be apart from Sessions, so
	// that what anybody can fill does not push out what users have. Required.
	Logins store.Store
	// Sessions keeps who is signed in, consents that are asked for, and chats.
	// Required.
	Sessions store.Store
	// SessionIdle is how long a login lives without a request. If zero, two
	// hours. None lives for longer than twelve.
	SessionIdle time.Duration
	// Limits bound how often somebody may do something.
	Limits Limits
	// TrustedProxies are believed to say where requests come from
	// (X-Forwarded-For).
	TrustedProxies []netip.Prefix
	// AllowedOrigins are pages of other origins, such as
	// https://app.example.com, that may use the backend. None by default.
	AllowedOrigins []string
	// Frontend is the built page. Required.
	Frontend fs.FS
	// OtherFrontend says that the page is not ours, such as the original's: it
	// may set styles inline and load icons and fonts from elsewhere, scripts
	// from here alone.
	OtherFrontend bool
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
	policy  string // Content-Security-Policy of the page
	agent   *http.Client
	handler http.Handler

	consents *credentials.CallbackHandler

	signIns, chats, requests *limiter

	gzipped sync.Map // of the page's text files, by name
}

// What pages may load. Ours loads what comes from here alone.
const (
	pagePolicy      = "default-src 'self'; img-src 'self' data:; object-src 'none'; base-uri 'none'; frame-ancestors 'none'; form-action 'self'"
	otherPagePolicy = "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data: https:; font-src 'self' data: https:; object-src 'none'; base-uri 'none'; frame-ancestors 'none'; form-action 'self'"
)

// New makes a server.
func New(cfg Config) (*Server, error) {
	if cfg.ClientID == "" {
		return nil, errors.New("backend: a client id is required; register an application with the identity provider")
	}
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
	if cfg.Framework == "" {
		cfg.Framework = AgentScope
	}
	if cfg.Framework != AgentScope && cfg.Framework != AgentRun {
		return nil, fmt.Errorf("backend: framework %q: want %s or %s", cfg.Framework, AgentScope, AgentRun)
	}
	if cfg.SessionIdle <= 0 {
		cfg.SessionIdle = defaultIdle
	}
	if cfg.Transport == nil {
		// One answer is one connection: keep those of many users.
		t := http.DefaultTransport.(*http.Transport).Clone()
		t.MaxIdleConnsPerHost, t.MaxIdleConns = 256, 256
		cfg.Transport = t
	}
	cfg.BaseURL = base.Scheme + "://" + base.Host
	s := &Server{
		cfg: cfg, secure: base.Scheme == "https", host: base.Host, policy: pagePolicy,
		// No limit on the whole exchange: streams last as long as they live.
		agent: &http.Client{
			Transport:     web.Transport{Base: cfg.Transport},
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		signIns: newLimiter(cfg.Limits.SignIns, 60), chats: newLimiter(cfg.Limits.Chats, 60), requests: newLimiter(cfg.Limits.Requests, 1200),
	}
	if cfg.OtherFrontend {
		s.policy = otherPagePolicy
	}
	s.consents, err = credentials.NewCallbackHandler(credentials.CallbackConfig{
		Client: cfg.Identity, Login: s.login, Store: cfg.Sessions, Page: s.callbackPage, Logger: cfg.Log,
	})
	if err != nil {
		return nil, err
	}
	origins := http.NewCrossOriginProtection()
	for _, o := range cfg.AllowedOrigins {
		if err := origins.AddTrustedOrigin(o); err != nil {
			return nil, fmt.Errorf("backend: allowed origin %q: %w", o, err)
		}
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /health", func(w http.ResponseWriter, _ *http.Request) {
		web.JSON(w, http.StatusOK, map[string]string{"status": "healthy"})
	})
	mux.HandleFunc("GET /readiness", s.ready)
	mux.HandleFunc("GET /auth", s.limitedSignIn(s.auth))
	mux.HandleFunc("POST /callback_for_oauth", s.limitedSignIn(s.finishLogin))
	mux.HandleFunc("POST /logout", s.logout)
	mux.HandleFunc("GET /me", s.me)
	mux.HandleFunc("POST /chat", s.chat)
	mux.HandleFunc("GET /chats", s.listChats)
	mux.HandleFunc("GET /chats/{id}", s.readChat)
	mux.HandleFunc("DELETE /chats/{id}", s.deleteChat)
	mux.HandleFunc("GET /consent/{id}", s.consent)
	mux.HandleFunc("POST /consent/{id}/decline", s.decline)
	mux.Handle("GET /callback", s.consents)
	mux.HandleFunc("GET /", s.page)
	s.handler = web.Handle(cfg.Log, s.secured(s.limited(origins.Handler(s.shared(mux)))))
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
		h.Set("Content-Security-Policy", s.policy)
		h.Set("Permissions-Policy", "camera=(), geolocation=(), microphone=(), payment=()")
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

// limited bounds the requests of an address. Whether the service is alive may
// be asked at any rate.
func (s *Server) limited(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/health" || r.URL.Path == "/readiness" || s.requests.allow(w, s.address(r)) {
			next.ServeHTTP(w, r)
		}
	})
}

func (s *Server) limitedSignIn(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if s.signIns.allow(w, s.address(r)) {
			next(w, r)
		}
	}
}

// shared lets pages of the allowed origins use the backend (CORS).
func (s *Server) shared(next http.Handler) http.Handler {
	if len(s.cfg.AllowedOrigins) == 0 {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Add("Vary", "Origin")
		if origin := r.Header.Get("Origin"); slices.Contains(s.cfg.AllowedOrigins, origin) {
			h.Set("Access-Control-Allow-Origin", origin)
			h.Set("Access-Control-Allow-Credentials", "true")
			h.Set("Access-Control-Expose-Headers", web.RequestIDHeader)
			h.Set("Cross-Origin-Resource-Policy", "cross-origin")
			if r.Method == http.MethodOptions && r.Header.Get("Access-Control-Request-Method") != "" {
				h.Set("Access-Control-Allow-Methods", "GET, POST, DELETE")
				h.Set("Access-Control-Allow-Headers", "Content-Type, "+handleHeader)
				h.Set("Access-Control-Max-Age", "600")
				w.WriteHeader(http.StatusNoContent)
				return
			}
		}
		next.ServeHTTP(w, r)
	})
}

// ready says whether users can be signed in and their logins be read.
func (s *Server) ready(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), 5*time.Second)
	defer cancel()
	_, err := s.cfg.Sessions.Get(ctx, "readiness")
	if errors.Is(err, store.ErrNotFound) {
		_, err = s.cfg.Verifier.Provider(ctx)
	}
	if err != nil {
		s.log(r).Warn("not ready", "error", err)
		web.JSON(w, http.StatusServiceUnavailable, map[string]string{"status": "not ready"})
		return
	}
	web.JSON(w, http.StatusOK, map[string]string{"status": "ready"})
}

func (s *Server) oauth(ctx context.Context) (*oauth2.Config, error) {
	endpoint, err := s.cfg.Verifier.Endpoint(ctx)
	if err != nil {
		return nil, err
	}
	endpoint.AuthStyle = oauth2.AuthStyleInParams // a public client: its id, and no secret
	return &oauth2.Config{ClientID: s.cfg.ClientID, Endpoint: endpoint, RedirectURL: s.cfg.RedirectURL}, nil
}

func (s *Server) log(r *http.Request) *slog.Logger {
	return web.Logger(r.Context(), s.cfg.Log)
}
