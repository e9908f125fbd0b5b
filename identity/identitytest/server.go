// SPDX-License-Identifier: Apache-2.0

package identitytest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"testing"
	"time"

	"github.com/aliyun/credentials-go/credentials"

	"github.com/agent-identity/agent-identity-go/identity"
	"github.com/agent-identity/agent-identity-go/internal/emulator"
	"github.com/agent-identity/agent-identity-go/internal/emulator/core"
	emuidentity "github.com/agent-identity/agent-identity-go/internal/emulator/identity"
	"github.com/agent-identity/agent-identity-go/internal/emulator/oauth"
	"github.com/agent-identity/agent-identity-go/internal/randid"
)

// What exists in every new cloud.
const (
	Workload         = "test-agent"      // workload identity, with a role and session binding
	APIKeyProvider   = "test-api-key"    // API key credential provider
	OAuth2Provider   = "test-oauth2"     // OAuth2 credential provider
	DingTalkProvider = "test-dingtalk"   // OAuth2 credential provider of a DingTalk application
	MCPProvider      = "test-mcp"        // OAuth2 credential provider for the MCP server
	MCPScope         = "/acs/mcp-server" // scope that the MCP server wants
	LoginClientID    = "test-login"      // OAuth client that signs users in; audience of [Server.IDToken]
	TimeScope        = "time:read"       // scope that OAuth2Provider may grant beside openid and profile
	Region           = "cn-beijing"      // the cloud's region
	IdentityProvider = "test-provider"   // identity provider of Workload, whose users are the cloud's
)

// User is somebody who can sign in.
type User struct {
	Subject string // sub claim; also the name to choose on the sign-in page
	Name    string
	Email   string
}

// Call is one request that the cloud answered. It holds no secret.
type Call struct {
	Time    time.Time
	Service string // identity, oauth, model or demo
	Op      string // operation, such as GetResourceAPIKey
	User    string // subject or user id, "" without one
	Target  string // what it was about: a provider, a client, a workload identity
	Signer  string // access key id, "" if unsigned
	Status  int    // HTTP status of the answer
	Code    string // error code, "" on success
	// Params are the parameters of a request to Agent Identity, with secrets
	// masked, for the last 1,000 calls.
	Params map[string]string
}

// Config configures [Start]. The zero value is a cloud on a free port of
// 127.0.0.1 with the users alice and bob.
type Config struct {
	// Addr is the address to listen on: a loopback one, unless URL is set. If
	// empty, 127.0.0.1:0.
	Addr string
	// URL is where others reach the cloud, such as http://localhost:9000 for
	// one in a container that listens on 0.0.0.0:9000. If empty, Addr.
	URL string
	// Users can sign in. If nil, alice and bob.
	Users []User
	// LoginRedirectURIs are where the sign-in of LoginClientID may return.
	LoginRedirectURIs []string
	// ReturnURLs are where OAuth2 consent of Workload may return. If nil,
	// http://localhost/callback.
	ReturnURLs []string
	// Logger gets the HTTP server's complaints. If nil, nobody does.
	Logger *slog.Logger
}

// Server is a running local cloud. It is safe for concurrent use.
type Server struct {
	cloud             *emulator.Cloud
	keyID             string
	keySecret         identity.Secret
	modelKey          identity.Secret
	defaultReturnURLs []string
	script            script
	controlToken      identity.Secret
}

// DefaultReturnURL is where consent may return in a cloud of [NewServer].
const DefaultReturnURL = "http://localhost/callback"

// NewServer starts a cloud for a test and stops it at the test's end.
func NewServer(t testing.TB) *Server {
	t.Helper()
	s, err := Start(Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		// Requests that a test left behind are cut off.
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		if err := s.Close(ctx); err != nil && !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("identitytest: %v", err)
		}
	})
	return s
}

// Start starts a cloud.
func Start(cfg Config) (*Server, error) {
	if cfg.Addr == "" {
		cfg.Addr = "127.0.0.1:0"
	}
	if cfg.Users == nil {
		cfg.Users = []User{
			{Subject: "alice", Name: "Alice 爱丽丝", Email: "alice@example.com"},
			{Subject: "bob", Name: "Bob 鲍勃", Email: "bob@example.com"},
		}
	}
	users := make([]core.User, len(cfg.Users))
	for i, u := range cfg.Users {
		if u.Subject == "" {
			return nil, errors.New("identitytest: a user needs a Subject")
		}
		users[i] = core.User(u)
	}
	s := &Server{
		keyID: "LTAI-local-" + randid.Hex(6), keySecret: identity.NewSecret(randid.Hex(20)), controlToken: identity.NewSecret(randid.Hex(20)),
		modelKey: identity.NewSecret("sk-local-" + randid.Hex(16)), defaultReturnURLs: cfg.ReturnURLs,
	}
	cloud, err := emulator.Start(emulator.Config{
		Addr: cfg.Addr, URL: cfg.URL, Users: users, Log: cfg.Logger, Control: http.HandlerFunc(s.control),
	})
	if err != nil {
		return nil, fmt.Errorf("identitytest: %w", err)
	}
	s.cloud = cloud
	s.script.begin(s)
	if s.defaultReturnURLs == nil {
		s.defaultReturnURLs = []string{DefaultReturnURL}
	}
	cloud.Identity.AddAccessKey(s.keyID, s.keySecret.Reveal())
	cloud.Model.AddKey(s.modelKey.Reveal())
	cloud.OAuth.Register(oauth.Client{
		ID: LoginClientID, Name: "the application", FirstParty: true,
		RedirectURIs: cfg.LoginRedirectURIs, Scopes: []string{"openid", "profile", "aliuid"},
	})
	cloud.Identity.AddIdentityProvider(emuidentity.IdentityProvider{
		Name: IdentityProvider, Issuer: cloud.OAuth.Issuer(), Audiences: []string{LoginClientID},
	})
	s.AddWorkload(Workload)
	s.AddAPIKeyProvider(APIKeyProvider, identity.NewSecret("key-"+randid.Hex(16)))
	s.AddOAuth2Provider(OAuth2Provider, "openid", "profile", TimeScope)
	s.AddOAuth2Provider(DingTalkProvider, "openid", "corpid")
	s.AddOAuth2Provider(MCPProvider, "openid", "profile", "aliuid", MCPScope)
	cloud.DingTalk.AddApp(clientOf(DingTalkProvider))
	return s, nil
}

// Close stops the cloud. Requests under way may end until ctx does.
func (s *Server) Close(ctx context.Context) error {
	s.script.end()
	return s.cloud.Close(ctx)
}

// URL is the cloud's address: the endpoint of Agent Identity, without a slash
// at the end.
func (s *Server) URL() string { return s.cloud.URL }

// Issuer is the OpenID Connect issuer. Its discovery document stands under
// /.well-known/openid-configuration behind it.
func (s *Server) Issuer() string { return s.cloud.OAuth.Issuer() }

// ModelURL and ModelKey are the base URL and an API key of the simulated
// DashScope endpoint.
func (s *Server) ModelURL() string { return s.cloud.URL + "/api/v1" }

// ModelKey is the API key for [Server.ModelURL].
func (s *Server) ModelKey() identity.Secret { return s.modelKey }

// ClientConfig is the configuration of a client of this cloud, with a static
// access key of its account.
func (s *Server) ClientConfig() identity.Config {
	cred, err := credentials.NewCredential(new(credentials.Config).
		SetType("access_key").SetAccessKeyId(s.keyID).SetAccessKeySecret(s.keySecret.Reveal()))
	if err != nil {
		panic("identitytest: a static credential: " + err.Error()) // both texts are set
	}
	return identity.Config{Region: Region, Endpoint: s.cloud.URL, ControlEndpoint: s.cloud.URL, Credential: cred}
}

// IDToken signs an ID token of the user, as if they had just signed in at
// LoginClientID. It panics for an unknown user.
func (s *Server) IDToken(subject string) identity.Secret {
	token, err := s.cloud.OAuth.IDToken(LoginClientID, subject, "")
	if err != nil {
		panic("identitytest: " + err.Error())
	}
	return identity.NewSecret(token)
}

// AddWorkload registers a workload identity with a role, the identity
// provider of the cloud's users, and session binding. For another kind, call
// [identity.Client.CreateWorkloadIdentity] with [IdentityProvider].
func (s *Server) AddWorkload(name string) {
	s.cloud.Identity.AddWorkload(emuidentity.Workload{
		Name: name, RoleArn: "acs:ram::1000000000000000:role/agentidentityrole-" + name,
		IdentityProvider: IdentityProvider, ReturnURLs: s.defaultReturnURLs, SessionBinding: true,
	})
}

// AddAPIKeyProvider registers an API key under a provider's name.
func (s *Server) AddAPIKeyProvider(name string, key identity.Secret) {
	s.cloud.Identity.AddAPIKeyProvider(name, key.Reveal())
}

// AddOAuth2Provider registers an OAuth2 provider whose authorization server is
// the cloud's own, and which may grant the given scopes.
func (s *Server) AddOAuth2Provider(name string, scopes ...string) {
	p := emuidentity.OAuth2Provider{
		Name: name, ClientID: clientOf(name),
		AuthorizationEndpoint: s.Issuer() + "/v1/auth", TokenEndpoint: s.Issuer() + "/v1/token",
	}
	callbackURL := s.cloud.Identity.AddOAuth2Provider(p)
	s.cloud.OAuth.Register(oauth.Client{
		ID: p.ClientID, Name: "the agent, through " + name, RedirectURIs: []string{callbackURL}, Scopes: scopes,
	})
}

// AddOnBehalfOfProvider registers an OAuth2 provider of the flow ON_BEHALF_OF: it
// exchanges users' ID tokens for tokens of the given audiences, without asking
// them, and may grant the given scopes.
func (s *Server) AddOnBehalfOfProvider(name string, audiences []string, scopes ...string) {
	p := emuidentity.OAuth2Provider{
		Name: name, ClientID: clientOf(name), TokenEndpoint: s.Issuer() + "/v1/token", OnBehalfOf: true,
	}
	s.cloud.Identity.AddOAuth2Provider(p)
	s.cloud.OAuth.Register(oauth.Client{ID: p.ClientID, Name: "the agent, through " + name, Audiences: audiences, Scopes: scopes})
}

// clientOf is the OAuth client of a provider.
func clientOf(provider string) string { return "client-of-" + provider }

// Advance moves the cloud's clock. Tokens, sessions and codes end by it; the
// program under test keeps its own time.
func (s *Server) Advance(d time.Duration) { s.cloud.Clock.Advance(d) }
