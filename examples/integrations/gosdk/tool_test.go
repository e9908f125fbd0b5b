// SPDX-License-Identifier: Apache-2.0

package gosdk_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/auth"
	"github.com/modelcontextprotocol/go-sdk/mcp"
	"github.com/stretchr/testify/require"

	"github.com/agent-identity/agent-identity-go/credentials"
	"github.com/agent-identity/agent-identity-go/examples/integrations/gosdk"
	"github.com/agent-identity/agent-identity-go/identity"
	"github.com/agent-identity/agent-identity-go/identity/identitytest"
	"github.com/agent-identity/agent-identity-go/tools"
	ours "github.com/agent-identity/agent-identity-go/tools/mcp"
	"github.com/agent-identity/agent-identity-go/workload"
)

type note struct {
	Name string `json:"name"`
}

// office is a local cloud with one tool that needs consent.
type office struct {
	cloud  *identitytest.Server
	api    *identity.Client
	read   func(context.Context, note) (string, error)
	tokens map[string]identity.Caller
}

func newOffice(t *testing.T) *office {
	t.Helper()
	o := &office{cloud: identitytest.NewServer(t), tokens: map[string]identity.Caller{}}
	var err error
	o.api, err = identity.New(o.cloud.ClientConfig())
	require.NoError(t, err)
	agent, err := workload.New(workload.Config{Client: o.api, Name: identitytest.Workload})
	require.NoError(t, err)
	docs := credentials.NewOAuth2Source(agent, credentials.OAuth2Config{
		Provider: identitytest.OAuth2Provider, Scopes: []string{identitytest.TimeScope}, CallbackURL: identitytest.DefaultReturnURL,
	})
	o.read = credentials.RequiresOAuth2(docs, func(ctx context.Context, _ credentials.OAuth2Token, in note) (string, error) {
		c, _ := identity.FromContext(ctx)
		return "note " + in.Name + " of " + c.State, nil
	})
	for _, user := range []string{"alice", "bob"} {
		o.tokens["token-of-"+user] = identity.Caller{UserToken: o.cloud.IDToken(user), State: user}
	}
	return o
}

func (o *office) callerOf(_ context.Context, token identity.Secret) (identity.Caller, error) {
	c, ok := o.tokens[token.Reveal()]
	if !ok {
		return identity.Caller{}, errors.New("unknown token")
	}
	return c, nil
}

// bearer adds a user's token to each request.
type bearer string

func (b bearer) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set("Authorization", "Bearer "+string(b))
	return http.DefaultTransport.RoundTrip(r)
}

// connect is a go-sdk client whose user opens links and decides.
func (o *office) connect(t *testing.T, address, user string, d identitytest.Decision, asked *atomic.Int32) *mcp.ClientSession {
	t.Helper()
	client := mcp.NewClient(&mcp.Implementation{Name: "test", Version: "1"}, &mcp.ClientOptions{
		Capabilities: &mcp.ClientCapabilities{Elicitation: &mcp.ElicitationCapabilities{URL: &mcp.URLElicitationCapabilities{}}},
		ElicitationHandler: func(ctx context.Context, req *mcp.ElicitRequest) (*mcp.ElicitResult, error) {
			asked.Add(1)
			link := req.Params.URL
			go func() {
				back, err := o.cloud.Authorize(t.Context(), link, user, d)
				if err != nil {
					t.Error(err)
					return
				}
				session := back.Query().Get("session_uri")
				if d == identitytest.Allow {
					if err := o.api.CompleteResourceTokenAuth(t.Context(), session, identity.UserIdentifier{UserToken: o.tokens["token-of-"+user].UserToken}); err != nil {
						t.Error(err)
					}
				}
				credentials.NotifyAuthorization(session)
			}()
			return &mcp.ElicitResult{Action: "accept"}, nil
		},
	})
	session, err := client.Connect(t.Context(), &mcp.StreamableClientTransport{
		Endpoint: address, HTTPClient: &http.Client{Transport: bearer("token-of-" + user)},
	}, nil)
	require.NoError(t, err)
	t.Cleanup(func() { _ = session.Close() })
	return session
}

func call(t *testing.T, s *mcp.ClientSession, name string) (string, bool) {
	t.Helper()
	result, err := s.CallTool(t.Context(), &mcp.CallToolParams{Name: "read_note", Arguments: map[string]any{"name": name}})
	require.NoError(t, err)
	require.Len(t, result.Content, 1)
	return result.Content[0].(*mcp.TextContent).Text, result.IsError
}

// native is a server of go-sdk with the decorated function as a tool.
func (o *office) native(t *testing.T) *httptest.Server {
	t.Helper()
	server := mcp.NewServer(&mcp.Implementation{Name: "native", Version: "1"}, nil)
	gosdk.AddTool(server, &mcp.Tool{Name: "read_note", Description: "Reads a note."}, o.read)
	handler := mcp.NewStreamableHTTPHandler(func(*http.Request) *mcp.Server { return server }, nil)
	srv := httptest.NewServer(auth.RequireBearerToken(gosdk.Verifier(o.callerOf), nil)(handler))
	t.Cleanup(func() { srv.CloseClientConnections(); srv.Close() })
	return srv
}

func (o *office) ours(t *testing.T) *httptest.Server {
	t.Helper()
	set, err := tools.NewSet(tools.New("read_note", "Reads a note.", o.read))
	require.NoError(t, err)
	server, err := ours.NewServer(ours.ServerConfig{Name: "ours", Tools: set, Authenticate: o.callerOf})
	require.NoError(t, err)
	srv := httptest.NewServer(server)
	t.Cleanup(func() { srv.CloseClientConnections(); srv.Close() })
	return srv
}

// A client of go-sdk, with elicitation, against a server of go-sdk and against
// ours: the same call asks, waits and goes on.
func TestConsent(t *testing.T) {
	for name, start := range map[string]func(*office, *testing.T) *httptest.Server{"go-sdk server": (*office).native, "our server": (*office).ours} {
		t.Run(name, func(t *testing.T) {
			o := newOffice(t)
			address := start(o, t).URL + "/mcp"
			var asked atomic.Int32
			alice := o.connect(t, address, "alice", identitytest.Allow, &asked)
			text, failed := call(t, alice, "one")
			require.False(t, failed, text)
			require.Equal(t, "note one of alice", text)
			text, _ = call(t, alice, "two")
			require.Equal(t, "note two of alice", text)
			require.Equal(t, int32(1), asked.Load(), "once")

			bob := o.connect(t, address, "bob", identitytest.Deny, &asked)
			text, failed = call(t, bob, "one")
			require.True(t, failed)
			require.Contains(t, text, "refused")
		})
	}
}

// Our client against a server of go-sdk: with authorization, and again after the
// server was started anew.
func TestOurClientAgainstGoSDK(t *testing.T) {
	o := newOffice(t)
	var handler atomic.Pointer[http.Handler]
	start := func() {
		server := mcp.NewServer(&mcp.Implementation{Name: "native", Version: "1"}, nil)
		mcp.AddTool(server, &mcp.Tool{Name: "whoami", Description: "Says who calls."}, func(_ context.Context, req *mcp.CallToolRequest, _ struct{}) (*mcp.CallToolResult, any, error) {
			caller := req.Extra.TokenInfo.Extra["caller"].(identity.Caller)
			return &mcp.CallToolResult{Content: []mcp.Content{&mcp.TextContent{Text: caller.State}}}, nil, nil
		})
		h := auth.RequireBearerToken(gosdk.Verifier(o.callerOf), nil)(mcp.NewStreamableHTTPHandler(func(*http.Request) *mcp.Server { return server }, nil))
		handler.Store(&h)
	}
	start()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { (*handler.Load()).ServeHTTP(w, r) }))
	defer func() { srv.CloseClientConnections(); srv.Close() }()
	u, err := url.Parse(srv.URL)
	require.NoError(t, err)
	client, err := ours.New(ours.Config{
		Name: "native", URL: srv.URL + "/mcp", Timeout: 10 * time.Second,
		Transport: &credentials.Transport[credentials.OAuth2Token]{
			Source: credentials.SourceFunc[credentials.OAuth2Token](func(ctx context.Context) (credentials.OAuth2Token, error) {
				c, _ := identity.FromContext(ctx)
				return credentials.OAuth2Token{AccessToken: identity.NewSecret("token-of-" + c.State)}, nil
			}),
			Hosts: []string{u.Host},
		},
	})
	require.NoError(t, err)
	defer client.Close()
	for round := range 2 {
		for _, user := range []string{"alice", "bob"} {
			ctx := identity.NewContext(t.Context(), o.tokens["token-of-"+user])
			set, err := ours.Combine(ctx, nil, client)
			require.NoError(t, err)
			text, err := set.Call(ctx, "whoami", "")
			require.NoError(t, err, "round %d", round)
			require.Equal(t, user, text)
		}
		start()
	}
	ctx := identity.NewContext(t.Context(), identity.Caller{UserID: "x", State: "nobody"})
	set, err := ours.Combine(ctx, nil, client)
	require.NoError(t, err)
	_, err = set.Call(ctx, "native_connect", "")
	require.Error(t, err)
	require.False(t, strings.Contains(err.Error(), "token-of"))
}
