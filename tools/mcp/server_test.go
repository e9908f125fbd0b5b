// SPDX-License-Identifier: Apache-2.0

package mcp_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	mcpclient "github.com/mark3labs/mcp-go/client"
	"github.com/mark3labs/mcp-go/client/transport"
	mcpgo "github.com/mark3labs/mcp-go/mcp"
	"github.com/stretchr/testify/require"

	"github.com/agent-identity/agent-identity-go/credentials"
	"github.com/agent-identity/agent-identity-go/identity"
	"github.com/agent-identity/agent-identity-go/identity/identitytest"
	"github.com/agent-identity/agent-identity-go/tools"
	"github.com/agent-identity/agent-identity-go/tools/mcp"
	"github.com/agent-identity/agent-identity-go/workload"
)

// served is our MCP server with a tool that needs consent, against a local
// cloud.
type served struct {
	cloud  *identitytest.Server
	api    *identity.Client
	server *mcp.Server
	url    string
	tokens map[string]identity.Caller
}

func newServed(t *testing.T) *served {
	t.Helper()
	s := &served{cloud: identitytest.NewServer(t), tokens: map[string]identity.Caller{}}
	var err error
	s.api, err = identity.New(s.cloud.ClientConfig())
	require.NoError(t, err)
	agent, err := workload.New(workload.Config{Client: s.api, Name: identitytest.Workload})
	require.NoError(t, err)
	docs := credentials.NewOAuth2Source(agent, credentials.OAuth2Config{
		Provider: identitytest.OAuth2Provider, Scopes: []string{identitytest.TimeScope}, CallbackURL: identitytest.DefaultReturnURL,
	})
	type named struct {
		Name string `json:"name"`
	}
	set, err := tools.NewSet(
		tools.New("read_note", "Reads a note of the user.", credentials.RequiresOAuth2(docs, func(ctx context.Context, _ credentials.OAuth2Token, in named) (string, error) {
			c, _ := identity.FromContext(ctx)
			return "note " + in.Name + " of " + c.State, nil
		})),
		tools.New("fails", "Fails.", func(context.Context, struct{}) (string, error) { return "", errors.New("no paper in the printer") }),
	)
	require.NoError(t, err)
	s.server, err = mcp.NewServer(mcp.ServerConfig{
		Name: "notes", Tools: set, ConsentTimeout: 3 * time.Second, Resource: "https://notes.example.com/mcp", AuthorizationServers: []string{s.cloud.Issuer()},
		Authenticate: func(_ context.Context, token identity.Secret) (identity.Caller, error) {
			c, ok := s.tokens[token.Reveal()]
			if !ok {
				return identity.Caller{}, errors.New("unknown")
			}
			return c, nil
		},
	})
	require.NoError(t, err)
	for _, user := range []string{"alice", "bob"} {
		s.tokens["token-of-"+user] = identity.Caller{UserToken: s.cloud.IDToken(user), State: user}
	}
	srv := httptest.NewServer(s.server)
	t.Cleanup(func() { srv.CloseClientConnections(); srv.Close() })
	s.url = srv.URL + "/mcp"
	return s
}

// person answers what a server asks for.
type person struct {
	t      *testing.T
	served *served
	user   string
	action mcpgo.ElicitationResponseAction
	decide identitytest.Decision
	asked  []mcpgo.ElicitationParams
}

func (p *person) Elicit(ctx context.Context, req mcpgo.ElicitationRequest) (*mcpgo.ElicitationResult, error) {
	p.asked = append(p.asked, req.Params)
	if p.action == mcpgo.ElicitationResponseActionAccept {
		go p.served.grant(p.t, req.Params.URL, p.user, p.decide)
	}
	return &mcpgo.ElicitationResult{ElicitationResponse: mcpgo.ElicitationResponse{Action: p.action}}, nil
}

// grant does what the user does in the browser, and the application's callback.
func (s *served) grant(t *testing.T, link, user string, d identitytest.Decision) {
	back, err := s.cloud.Authorize(t.Context(), link, user, d)
	if err != nil {
		t.Error(err)
		return
	}
	if d == identitytest.Allow {
		err = s.api.CompleteResourceTokenAuth(t.Context(), back.Query().Get("session_uri"), identity.UserIdentifier{UserToken: s.tokens["token-of-"+user].UserToken})
		if err != nil {
			t.Error(err)
		}
	}
	credentials.NotifyAuthorization(back.Query().Get("session_uri"))
}

func (s *served) connect(t *testing.T, user string, p *person, opts ...mcpclient.ClientOption) *mcpclient.Client {
	t.Helper()
	wire := []transport.StreamableHTTPCOption{
		transport.WithHTTPHeaders(map[string]string{"Authorization": "Bearer token-of-" + user}), transport.WithHTTPLogger(slog.New(slog.DiscardHandler)),
	}
	if len(opts) > 0 { // the older protocol asks over a stream of its own
		//lint:ignore SA1019 clients of the older protocol are in use
		wire = append(wire, transport.WithContinuousListening())
	}
	trans, err := transport.NewStreamableHTTP(s.url, wire...)
	require.NoError(t, err)
	if p != nil {
		opts = append(opts, mcpclient.WithElicitationHandler(p),
			mcpclient.WithClientCapabilities(mcpgo.ClientCapabilities{Elicitation: &mcpgo.ElicitationCapability{URL: &struct{}{}}}))
	}
	c := mcpclient.NewClient(trans, opts...)
	require.NoError(t, c.Start(t.Context()))
	req := mcpgo.InitializeRequest{}
	req.Params.ProtocolVersion = mcpgo.LATEST_PROTOCOL_VERSION
	if p != nil {
		req.Params.Capabilities.Elicitation = &mcpgo.ElicitationCapability{URL: &struct{}{}}
	}
	_, err = c.Initialize(t.Context(), req)
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func call(t *testing.T, c *mcpclient.Client, tool, args string) (string, bool) {
	t.Helper()
	req := mcpgo.CallToolRequest{}
	req.Params.Name = tool
	req.Params.Arguments = map[string]any{}
	if args != "" {
		req.Params.Arguments = map[string]any{"name": args}
	}
	result, err := c.CallTool(t.Context(), req)
	require.NoError(t, err)
	require.Len(t, result.Content, 1)
	return result.Content[0].(mcpgo.TextContent).Text, result.IsError
}

func TestServedTools(t *testing.T) {
	s := newServed(t)
	c := s.connect(t, "alice", nil)
	listed, err := c.ListTools(t.Context(), mcpgo.ListToolsRequest{})
	require.NoError(t, err)
	require.Len(t, listed.Tools, 2)
	text, failed := call(t, c, "fails", "")
	require.True(t, failed)
	require.Contains(t, text, "no paper in the printer")
	text, failed = call(t, c, "read_note", "")
	require.True(t, failed)
	require.Contains(t, text, `"name"`, "arguments are checked")

	// A client that cannot open links is told which one it is.
	text, failed = call(t, c, "read_note", "one")
	require.True(t, failed)
	require.Contains(t, text, s.cloud.URL()+"/oauth2/authorize?")
	link := text[strings.Index(text, s.cloud.URL()):]
	link, _, _ = strings.Cut(link, "\n")
	s.grant(t, link, "alice", identitytest.Allow)
	text, failed = call(t, c, "read_note", "one")
	require.False(t, failed, text)
	require.Equal(t, "note one of alice", text)
	text, failed = call(t, s.connect(t, "bob", nil), "read_note", "one")
	require.True(t, failed, "Bob has granted nothing: %s", text)
}

// Clients of both eras that can open links: the same call goes on.
func TestConsentByElicitation(t *testing.T) {
	//lint:ignore SA1019 clients of the older protocol are in use
	for era, opts := range map[string][]mcpclient.ClientOption{"2026-07-28": nil, "2025-11-25": {mcpclient.WithLegacyProtocolOnly()}} {
		t.Run(era, func(t *testing.T) {
			s := newServed(t)
			p := &person{t: t, served: s, user: "alice", action: mcpgo.ElicitationResponseActionAccept, decide: identitytest.Allow}
			c := s.connect(t, "alice", p, opts...)
			require.Equal(t, era, c.ProtocolVersion())
			text, failed := call(t, c, "read_note", "one")
			require.False(t, failed, text)
			require.Equal(t, "note one of alice", text)
			require.Len(t, p.asked, 1)
			require.Equal(t, "url", p.asked[0].Mode)
			require.NotContains(t, p.asked[0].ElicitationID, "urn:")
			text, _ = call(t, c, "read_note", "two")
			require.Equal(t, "note two of alice", text)
			require.Len(t, p.asked, 1, "once")

			decline := &person{t: t, served: s, user: "bob", action: mcpgo.ElicitationResponseActionDecline}
			text, failed = call(t, s.connect(t, "bob", decline, opts...), "read_note", "one")
			require.True(t, failed)
			require.Contains(t, text, "did not want")
			deny := &person{t: t, served: s, user: "bob", action: mcpgo.ElicitationResponseActionAccept, decide: identitytest.Deny}
			text, failed = call(t, s.connect(t, "bob", deny, opts...), "read_note", "one")
			require.True(t, failed)
			require.Contains(t, text, "refused")
		})
	}
}

func TestServerKeepsUsersApart(t *testing.T) {
	s := newServed(t)
	send := func(token, session, body string) *http.Response {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.url, strings.NewReader(body))
		require.NoError(t, err)
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set("Accept", "application/json, text/event-stream")
		if token != "" {
			req.Header.Set("Authorization", "Bearer "+token)
		}
		if session != "" {
			req.Header.Set("Mcp-Session-Id", session)
		}
		resp, err := http.DefaultClient.Do(req)
		require.NoError(t, err)
		t.Cleanup(func() { _ = resp.Body.Close() })
		return resp
	}
	const initialize = `{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-06-18","capabilities":{},"clientInfo":{"name":"x","version":"1"}}}`
	const list = `{"jsonrpc":"2.0","id":2,"method":"tools/list"}`
	resp := send("token-of-alice", "", initialize)
	require.Equal(t, 200, resp.StatusCode)
	session := resp.Header.Get("Mcp-Session-Id")
	require.NotEmpty(t, session)
	require.Equal(t, 200, send("token-of-alice", session, list).StatusCode)
	require.Equal(t, 404, send("token-of-bob", session, list).StatusCode, "Alice's session is nobody else's")
	for _, token := range []string{"", "wrong"} {
		resp := send(token, session, list)
		require.Equal(t, 401, resp.StatusCode)
		require.Contains(t, resp.Header.Get("WWW-Authenticate"), `resource_metadata="https://notes.example.com/.well-known/oauth-protected-resource/mcp"`)
	}
	meta, err := http.Get(strings.TrimSuffix(s.url, "/mcp") + "/.well-known/oauth-protected-resource/mcp")
	require.NoError(t, err)
	defer meta.Body.Close()
	b, err := io.ReadAll(meta.Body)
	require.NoError(t, err)
	require.Contains(t, string(b), s.cloud.Issuer())
	_, err = mcp.NewServer(mcp.ServerConfig{})
	require.ErrorContains(t, err, "required")
}

func TestStdio(t *testing.T) {
	s := newServed(t)
	in, toServer := io.Pipe()
	fromServer, out := io.Pipe()
	ctx, cancel := context.WithCancel(identity.NewContext(t.Context(), s.tokens["token-of-alice"]))
	ended := make(chan error, 1)
	go func() { ended <- s.server.ServeStdio(ctx, in, out) }()
	c := mcpclient.NewClient(transport.NewIO(fromServer, toServer, io.NopCloser(strings.NewReader(""))))
	require.NoError(t, c.Start(t.Context()))
	_, err := c.Initialize(t.Context(), mcpgo.InitializeRequest{})
	require.NoError(t, err)
	text, failed := call(t, c, "read_note", "one")
	require.True(t, failed)
	require.Contains(t, text, "/oauth2/authorize?")
	cancel()
	_ = toServer.Close()
	require.NoError(t, <-ended)
	_ = out.Close()
}
