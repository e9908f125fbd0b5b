// SPDX-License-Identifier: Apache-2.0

// Package oauth is the local cloud's OAuth 2.1 and OpenID Connect server. It
// signs users in for applications (the inbound side) and lets them grant
// access to what agents need (the outbound side).
//
// It follows RFC 6749 with the rules of OAuth 2.1, RFC 7636 (PKCE, S256 only),
// RFC 8414 and OpenID Connect Core and Discovery. It is strict: redirect
// addresses are compared as text, codes work once, and every form carries a
// token that belongs to the browser.
package oauth

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"github.com/agent-identity/agent-identity-go/internal/emulator/core"
	"github.com/agent-identity/agent-identity-go/internal/randid"
)

const (
	codeLife    = time.Minute
	requestLife = 10 * time.Minute
	tokenLife   = time.Hour
	refreshLife = 24 * time.Hour
	signInLife  = 8 * time.Hour
	// maxPending bounds what unauthenticated requests can make the server
	// remember.
	maxPending = 10_000
)

// Client is an application registered at the server.
type Client struct {
	ID           string
	Name         string   // shown to the user
	Secret       string   // "" for a public client
	RedirectURIs []string // compared as text
	Scopes       []string // it may ask for
	// FirstParty clients only sign users in and do not ask for consent.
	FirstParty bool
	// Audiences are those for whom the client may exchange users' tokens.
	Audiences []string
}

// signingKey is made once per process: it takes longer than all the rest, and
// tests start many clouds.
var signingKey = sync.OnceValue(func() *rsa.PrivateKey {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err) // no randomness, no process
	}
	return key
})

const keyID = "local-cloud-1"

// Server is the OAuth server.
type Server struct {
	*core.Base
	signer jose.Signer

	mu       sync.Mutex // guards the rest
	clients  map[string]Client
	requests map[string]*authRequest // by id, pending at a browser
	codes    map[string]*grant
	refresh  map[string]*grant
	signIns  map[string]signIn // by cookie
	allowed  map[allowance][]string
}

// allowance is what scopes a user has allowed an application before.
type allowance struct{ client, user string }

// authRequest is an authorization request whose user has not decided yet.
type authRequest struct {
	id, browser        string
	client             Client
	redirectURI, state string
	scopes             []string
	nonce, challenge   string
	forceSignIn        bool
	askAll             bool // for what was allowed before, too
	expires            time.Time
	user               string // chosen on the sign-in page of this request
}

// grant is what a code or a refresh token stands for.
type grant struct {
	client                 Client
	redirectURI, challenge string
	user, nonce            string
	scopes                 []string
	expires                time.Time
	used                   bool
	refreshToken           string // issued for this code
}

type signIn struct {
	user    string
	expires time.Time
}

// New makes a server. Its issuer is the cloud's URL and /oauth.
func New(base *core.Base) (*Server, error) {
	signer, err := jose.NewSigner(jose.SigningKey{
		Algorithm: jose.RS256,
		Key:       jose.JSONWebKey{Key: signingKey(), KeyID: keyID},
	}, (&jose.SignerOptions{}).WithType("JWT"))
	if err != nil {
		return nil, fmt.Errorf("local cloud: %w", err)
	}
	return &Server{
		Base: base, signer: signer,
		clients: map[string]Client{}, requests: map[string]*authRequest{},
		codes: map[string]*grant{}, refresh: map[string]*grant{}, signIns: map[string]signIn{},
		allowed: map[allowance][]string{},
	}, nil
}

// Issuer identifies the server in tokens.
func (s *Server) Issuer() string { return s.URL + "/oauth" }

// DiscoveryURL is where the server describes itself.
func (s *Server) DiscoveryURL() string { return s.Issuer() + "/.well-known/openid-configuration" }

// Register adds or replaces a client.
func (s *Server) Register(c Client) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.clients[c.ID] = c
}

// Forget drops what a user has allowed an application.
func (s *Server) Forget(user, clientID string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.allowed, allowance{clientID, user})
	for token, g := range s.refresh {
		if g.user == user && g.client.ID == clientID {
			delete(s.refresh, token)
		}
	}
}

// Routes adds the server's endpoints to mux.
func (s *Server) Routes(mux *http.ServeMux) {
	mux.HandleFunc("GET /oauth/.well-known/openid-configuration", s.discovery)
	mux.HandleFunc("GET /oauth/v1/keys", s.keys)
	mux.HandleFunc("GET /oauth/v1/auth", s.authorize)
	mux.HandleFunc("POST /oauth/v1/signin", s.chooseUser)
	mux.HandleFunc("POST /oauth/v1/consent", s.decide)
	mux.HandleFunc("POST /oauth/v1/token", s.token)
	mux.HandleFunc("POST /oauth/v1/revoke", s.revoke)
}

func (s *Server) discovery(w http.ResponseWriter, _ *http.Request) {
	iss := s.Issuer()
	writeJSON(w, http.StatusOK, map[string]any{
		"issuer":                                         iss,
		"authorization_endpoint":                         iss + "/v1/auth",
		"token_endpoint":                                 iss + "/v1/token",
		"revocation_endpoint":                            iss + "/v1/revoke",
		"jwks_uri":                                       iss + "/v1/keys",
		"response_types_supported":                       []string{"code"},
		"grant_types_supported":                          []string{"authorization_code", "refresh_token", grantExchange},
		"subject_types_supported":                        []string{"public"},
		"id_token_signing_alg_values_supported":          []string{"RS256"},
		"code_challenge_methods_supported":               []string{"S256"},
		"scopes_supported":                               []string{"openid", "aliuid", "profile"},
		"token_endpoint_auth_methods_supported":          []string{"none", "client_secret_basic", "client_secret_post"},
		"claims_supported":                               []string{"sub", "iss", "aud", "exp", "iat", "nonce", "name", "email"},
		"authorization_response_iss_parameter_supported": true,
	})
}

func (s *Server) keys(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, http.StatusOK, jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{
		Key: signingKey().Public(), KeyID: keyID, Algorithm: string(jose.RS256), Use: "sig",
	}}})
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v)
}

// IDToken signs an ID token for a user, as a sign-in at client would.
func (s *Server) IDToken(clientID, subject, nonce string) (string, error) {
	user, ok := s.User(subject)
	if !ok {
		return "", fmt.Errorf("local cloud: no user %q", subject)
	}
	now := s.Clock.Now()
	return jwt.Signed(s.signer).Claims(jwt.Claims{
		Issuer: s.Issuer(), Subject: subject, Audience: jwt.Audience{clientID},
		IssuedAt: jwt.NewNumericDate(now), Expiry: jwt.NewNumericDate(now.Add(tokenLife)), ID: randid.UUID(),
	}).Claims(struct {
		Nonce string `json:"nonce,omitempty"`
		Name  string `json:"name,omitempty"`
		Email string `json:"email,omitempty"`
	}{nonce, user.Name, user.Email}).Serialize()
}

// AccessClaims are what an access token of the server says.
type AccessClaims struct {
	Subject  string
	ClientID string
	Scopes   []string
}

type accessToken struct {
	jwt.Claims
	ClientID string `json:"client_id"`
	Scope    string `json:"scope"`
}

// accessToken signs an access token of the server's own resources.
func (s *Server) accessToken(g *grant) (string, error) {
	return s.signAccess(g, s.Issuer(), tokenLife)
}

func (s *Server) signAccess(g *grant, audience string, life time.Duration) (string, error) {
	now := s.Clock.Now()
	return jwt.Signed(s.signer).Claims(accessToken{
		Claims: jwt.Claims{
			Issuer: s.Issuer(), Subject: g.user, Audience: jwt.Audience{audience},
			IssuedAt: jwt.NewNumericDate(now), Expiry: jwt.NewNumericDate(now.Add(life)), ID: randid.UUID(),
		},
		ClientID: g.client.ID, Scope: strings.Join(g.scopes, " "),
	}).Serialize()
}

// VerifyAccess checks an access token of this server, for the resources of
// the local cloud.
func (s *Server) VerifyAccess(token string) (AccessClaims, error) {
	parsed, err := jwt.ParseSigned(token, []jose.SignatureAlgorithm{jose.RS256})
	if err != nil {
		return AccessClaims{}, err
	}
	var c accessToken
	if err := parsed.Claims(signingKey().Public(), &c); err != nil {
		return AccessClaims{}, err
	}
	err = c.ValidateWithLeeway(jwt.Expected{
		Issuer: s.Issuer(), AnyAudience: jwt.Audience{s.Issuer()}, Time: s.Clock.Now(),
	}, 0)
	if err != nil {
		return AccessClaims{}, err
	}
	if c.ClientID == "" {
		return AccessClaims{}, fmt.Errorf("an ID token is no access token")
	}
	return AccessClaims{Subject: c.Subject, ClientID: c.ClientID, Scopes: strings.Fields(c.Scope)}, nil
}

func (s *Server) token(w http.ResponseWriter, r *http.Request) {
	if err := r.ParseForm(); err != nil || r.URL.RawQuery != "" {
		tokenError(w, http.StatusBadRequest, "invalid_request", "send the parameters as a form, once")
		return
	}
	f := r.PostForm
	clientID, secret, basic := r.BasicAuth()
	if !basic {
		clientID, secret = f.Get("client_id"), f.Get("client_secret")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	client, ok := s.clients[clientID]
	if !ok || client.Secret != secret {
		tokenError(w, http.StatusUnauthorized, "invalid_client", "unknown client, or wrong secret")
		s.record("token", "", clientID, http.StatusUnauthorized, "invalid_client")
		return
	}
	var g *grant
	var problem string
	switch f.Get("grant_type") {
	case "authorization_code":
		g, problem = s.redeemCode(client, f.Get("code"), f.Get("redirect_uri"), f.Get("code_verifier"))
	case "refresh_token":
		g, problem = s.redeemRefresh(client, f.Get("refresh_token"))
	case grantExchange:
		s.exchange(w, client, f)
		return
	default:
		tokenError(w, http.StatusBadRequest, "unsupported_grant_type", "authorization_code, refresh_token and token exchange are supported")
		return
	}
	if problem != "" {
		s.record("token", "", clientID, http.StatusBadRequest, "invalid_grant")
		tokenError(w, http.StatusBadRequest, "invalid_grant", problem)
		return
	}
	s.record("token", g.user, clientID, http.StatusOK, "")
	s.issue(w, g)
}

func (s *Server) redeemCode(client Client, code, redirectURI, verifier string) (*grant, string) {
	g, ok := s.codes[code]
	if !ok {
		return nil, "unknown authorization code"
	}
	if g.used {
		// RFC 6749 4.1.2: a second use revokes what the first one got.
		delete(s.refresh, g.refreshToken)
		return nil, "the authorization code was used before"
	}
	g.used = true
	sum := sha256.Sum256([]byte(verifier))
	switch {
	case s.Clock.Now().After(g.expires):
		return nil, "the authorization code has expired"
	case g.client.ID != client.ID:
		return nil, "the authorization code belongs to another client"
	case g.redirectURI != redirectURI:
		return nil, "redirect_uri differs from the authorization request's"
	case len(verifier) < 43 || len(verifier) > 128 || base64.RawURLEncoding.EncodeToString(sum[:]) != g.challenge:
		return nil, "code_verifier does not match code_challenge"
	}
	return g, ""
}

func (s *Server) redeemRefresh(client Client, token string) (*grant, string) {
	g, ok := s.refresh[token]
	if !ok || g.client.ID != client.ID || s.Clock.Now().After(g.expires) {
		return nil, "the refresh token is not valid"
	}
	delete(s.refresh, token) // rotated: each works once
	renewed := *g
	renewed.nonce = ""
	return &renewed, ""
}

func (s *Server) issue(w http.ResponseWriter, g *grant) {
	access, err := s.accessToken(g)
	if err != nil {
		tokenError(w, http.StatusInternalServerError, "server_error", err.Error())
		return
	}
	renewal := *g
	renewal.expires = s.Clock.Now().Add(refreshLife)
	g.refreshToken = "rt-" + randid.Hex(24)
	s.refresh[g.refreshToken] = &renewal
	answer := map[string]any{
		"access_token": access, "token_type": "Bearer", "expires_in": int(tokenLife / time.Second),
		"refresh_token": g.refreshToken, "scope": strings.Join(g.scopes, " "),
	}
	if slices.Contains(g.scopes, "openid") {
		idToken, err := s.IDToken(g.client.ID, g.user, g.nonce)
		if err != nil {
			tokenError(w, http.StatusInternalServerError, "server_error", err.Error())
			return
		}
		answer["id_token"] = idToken
	}
	writeJSON(w, http.StatusOK, answer)
}

func tokenError(w http.ResponseWriter, status int, code, description string) {
	writeJSON(w, status, map[string]string{"error": code, "error_description": description})
}

func (s *Server) record(op, user, target string, status int, code string) {
	s.Calls.Add(core.Call{Time: s.Clock.Now(), Service: "oauth", Op: op, User: user, Target: target, Status: status, Code: code})
}
