// SPDX-License-Identifier: Apache-2.0

package backend

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/stretchr/testify/require"

	"github.com/agent-identity/agent-identity-go/examples/endtoend/idtoken"
	"github.com/agent-identity/agent-identity-go/examples/endtoend/store"
	"github.com/agent-identity/agent-identity-go/examples/endtoend/web"
	"github.com/agent-identity/agent-identity-go/identity"
)

var signingKey = sync.OnceValue(func() *rsa.PrivateKey {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return key
})

// provider is an identity provider that does what a test tells it.
type provider struct {
	*httptest.Server
	t *testing.T

	mu      sync.Mutex
	token   func(form url.Values) (status int, answer map[string]any) // the token endpoint
	forms   []url.Values                                              // that it was sent
	revoked []string
}

func newProvider(t *testing.T) *provider {
	p := &provider{t: t}
	mux := http.NewServeMux()
	answer := func(w http.ResponseWriter, status int, v any) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_ = json.NewEncoder(w).Encode(v)
	}
	mux.HandleFunc("/.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, 200, map[string]any{
			"issuer": p.URL, "authorization_endpoint": p.URL + "/auth", "token_endpoint": p.URL + "/token", "jwks_uri": p.URL + "/keys",
			"revocation_endpoint": p.URL + "/revoke", "id_token_signing_alg_values_supported": []string{"RS256"},
		})
	})
	mux.HandleFunc("/keys", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, 200, jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: signingKey().Public(), KeyID: "k", Algorithm: "RS256", Use: "sig"}}})
	})
	mux.HandleFunc("POST /token", func(w http.ResponseWriter, r *http.Request) {
		_ = r.ParseForm()
		p.mu.Lock()
		defer p.mu.Unlock()
		p.forms = append(p.forms, r.PostForm)
		status, body := p.token(r.PostForm)
		answer(w, status, body)
	})
	mux.HandleFunc("POST /revoke", func(_ http.ResponseWriter, r *http.Request) {
		_ = r.ParseForm()
		p.mu.Lock()
		defer p.mu.Unlock()
		p.revoked = append(p.revoked, r.PostForm.Get("client_id")+" "+r.PostForm.Get("token"))
	})
	p.Server = httptest.NewServer(mux)
	t.Cleanup(p.Close)
	return p
}

// claims are those of a good ID token, changed.
func (p *provider) claims(change map[string]any) map[string]any {
	now := time.Now()
	c := map[string]any{"iss": p.URL, "aud": "client", "sub": "alice", "name": "Alice", "iat": now.Unix(), "exp": now.Add(time.Hour).Unix()}
	for k, v := range change {
		if c[k] = v; v == nil {
			delete(c, k)
		}
	}
	return c
}

// sign makes a JWT.
func sign(t *testing.T, claims map[string]any) string {
	t.Helper()
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.RS256, Key: jose.JSONWebKey{Key: signingKey(), KeyID: "k"}}, nil)
	require.NoError(t, err)
	b, err := json.Marshal(claims)
	require.NoError(t, err)
	signed, err := signer.Sign(b)
	require.NoError(t, err)
	raw, err := signed.CompactSerialize()
	require.NoError(t, err)
	return raw
}

// gives lets the token endpoint answer with an ID token and a refresh token.
func (p *provider) gives(idToken, refresh string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.token = func(url.Values) (int, map[string]any) {
		return 200, map[string]any{"access_token": "a", "token_type": "Bearer", "id_token": idToken, "refresh_token": refresh}
	}
}

// site is a backend alone, with a provider and an agent that tests script.
type site struct {
	t        *testing.T
	provider *provider
	sessions store.Store
	server   *httptest.Server
	backend  *Server
	logs     *logBuffer

	mu    sync.Mutex
	agent http.HandlerFunc
}

type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) String() string { l.mu.Lock(); defer l.mu.Unlock(); return l.b.String() }

// says is an agent's answer of one message.
func says(text string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		fmt.Fprintf(w, "data: {\"object\":\"message\",\"status\":\"in_progress\",\"type\":\"message\",\"id\":\"m\"}\n\n"+
			"data: {\"object\":\"content\",\"type\":\"text\",\"delta\":true,\"msg_id\":\"m\",\"text\":%q}\n\ndata: {\"object\":\"response\",\"status\":\"completed\"}\n\n", text)
	}
}

func newSite(t *testing.T, change func(*Config)) *site {
	t.Helper()
	s := &site{t: t, provider: newProvider(t), sessions: store.NewMemory(1000), logs: &logBuffer{}, agent: says("hello")}
	agent := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		answer := s.agent
		s.mu.Unlock()
		answer(w, r)
	}))
	t.Cleanup(agent.Close)
	verifier, err := idtoken.New(s.provider.URL, "client")
	require.NoError(t, err)
	client, err := identity.New(identity.Config{Endpoint: s.provider.URL, ControlEndpoint: s.provider.URL})
	require.NoError(t, err)
	s.server = httptest.NewServer(nil)
	t.Cleanup(s.server.Close)
	cfg := Config{
		BaseURL: s.server.URL, RedirectURL: s.server.URL, ClientID: "client", Verifier: verifier, AgentURL: agent.URL + "/process",
		Identity: client, Logins: store.NewMemory(1000), Sessions: s.sessions,
		Frontend: fstest.MapFS{"index.html": {Data: []byte("<!doctype html><title>page</title>")}, "assets/x.js": {Data: []byte("1")}},
		Log:      slog.New(web.LogHandler{Handler: slog.NewTextHandler(s.logs, &slog.HandlerOptions{Level: slog.LevelDebug})}),
	}
	if change != nil {
		change(&cfg)
	}
	s.sessions = cfg.Sessions
	s.backend, err = New(cfg)
	require.NoError(t, err)
	s.server.Config.Handler = s.backend
	return s
}

func (s *site) answers(agent http.HandlerFunc) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.agent = agent
}

// browser is somebody's.
type browser struct {
	site   *site
	http   *http.Client
	handle string
}

func (s *site) browser() *browser {
	jar, err := cookiejar.New(nil)
	require.NoError(s.t, err)
	return &browser{site: s, http: &http.Client{Jar: jar, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}}
}

// do sends a request; header is names and values.
func (b *browser) do(method, path, body string, header ...string) (int, http.Header, string) {
	t := b.site.t
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, b.site.server.URL+path, strings.NewReader(body))
	require.NoError(t, err)
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	if b.handle != "" {
		req.Header.Set("SESSION-ID", b.handle)
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := b.http.Do(req)
	require.NoError(t, err)
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	return resp.StatusCode, resp.Header, string(text)
}

// begin begins a sign-in and returns the query of its link.
func (b *browser) begin() url.Values {
	status, _, body := b.do(http.MethodGet, "/auth", "")
	require.Equal(b.site.t, 200, status, body)
	var link string
	require.NoError(b.site.t, json.Unmarshal([]byte(body), &link))
	u, err := url.Parse(link)
	require.NoError(b.site.t, err)
	return u.Query()
}

func (b *browser) finish(code, state string) (int, string) {
	text, err := json.Marshal(map[string]string{"code": code, "state": state})
	require.NoError(b.site.t, err)
	status, _, body := b.do(http.MethodPost, "/callback_for_oauth", string(text))
	return status, body
}

// signIn signs in with an ID token of these claims.
func (b *browser) signIn(change map[string]any, refresh string) {
	t := b.site.t
	t.Helper()
	q := b.begin()
	b.site.provider.gives(sign(t, b.site.provider.claims(change)), refresh)
	status, body := b.finish("code", q.Get("state"))
	require.Equal(t, 200, status, body)
	var in struct {
		SessionID string `json:"session_id"`
	}
	require.NoError(t, json.Unmarshal([]byte(body), &in))
	b.handle = in.SessionID
}

const hi = `{"session_id":"chat-1","input":[{"role":"user","content":[{"type":"text","text":"hi"}]}]}`

func (b *browser) cookie(name string) *http.Cookie {
	u, err := url.Parse(b.site.server.URL)
	require.NoError(b.site.t, err)
	for _, c := range b.http.Jar.Cookies(u) {
		if c.Name == name {
			return c
		}
	}
	return nil
}
