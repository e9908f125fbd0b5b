// SPDX-License-Identifier: Apache-2.0

package mcp_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	mcpgo "github.com/mark3labs/mcp-go/mcp"
	"github.com/mark3labs/mcp-go/server"
	"github.com/stretchr/testify/require"

	"github.com/agent-identity/agent-identity-go/credentials"
	"github.com/agent-identity/agent-identity-go/identity"
	"github.com/agent-identity/agent-identity-go/identity/identitytest"
	"github.com/agent-identity/agent-identity-go/tools"
	"github.com/agent-identity/agent-identity-go/tools/mcp"
	"github.com/agent-identity/agent-identity-go/workload"
)

// office is a local cloud with our client of its MCP server.
type office struct {
	cloud  *identitytest.Server
	agent  *workload.Agent
	client *mcp.Client
	asked  atomic.Int32
	answer func() // what the user does when asked
}

func newOffice(t *testing.T, scopes ...string) *office {
	t.Helper()
	o := &office{cloud: identitytest.NewServer(t)}
	api, err := identity.New(o.cloud.ClientConfig())
	require.NoError(t, err)
	o.agent, err = workload.New(workload.Config{Client: api, Name: identitytest.Workload})
	require.NoError(t, err)
	src := credentials.NewOAuth2Source(o.agent, credentials.OAuth2Config{
		Provider: identitytest.MCPProvider, Scopes: scopes, CallbackURL: identitytest.DefaultReturnURL, Timeout: 10 * time.Second,
		OnAuthorization: func(context.Context, credentials.Authorization) error {
			o.asked.Add(1)
			if o.answer != nil {
				o.answer()
			}
			return nil
		},
	})
	u, err := url.Parse(o.cloud.MCPURL())
	require.NoError(t, err)
	o.client = newClient(t, mcp.Config{
		Name: "resources", Description: "Alibaba Cloud resources such as ECS instances", URL: o.cloud.MCPURL(),
		Transport: &credentials.Transport[credentials.OAuth2Token]{Source: src, Hosts: []string{u.Host}},
	})
	return o
}

func newClient(t *testing.T, cfg mcp.Config) *mcp.Client {
	t.Helper()
	c, err := mcp.New(cfg)
	require.NoError(t, err)
	t.Cleanup(c.Close)
	return c
}

func (o *office) as(t *testing.T, user string) context.Context {
	t.Helper()
	return identity.NewContext(t.Context(), identity.Caller{UserToken: o.cloud.IDToken(user)})
}

func names(set *tools.Set) (all []string) {
	for t := range set.All() {
		all = append(all, t.Name())
	}
	slices.Sort(all)
	return all
}

func combine(t *testing.T, ctx context.Context, own *tools.Set, servers ...*mcp.Client) *tools.Set {
	t.Helper()
	set, err := mcp.Combine(ctx, own, servers...)
	require.NoError(t, err)
	return set
}

// Nobody is asked because a server exists. Who needs it is asked once, and then
// has the real tools, with their own credential.
func TestConsentIsAskedWhereItIsNeeded(t *testing.T) {
	o := newOffice(t, identitytest.MCPScope)
	for _, user := range []string{"alice", "bob"} {
		ctx := o.as(t, user)
		set := combine(t, ctx, nil, o.client)
		require.Equal(t, []string{"resources_connect"}, names(set))
		before := o.asked.Load()
		silently := o.cloud.Count("GetResourceOAuth2Token", user)
		combine(t, ctx, nil, o.client)
		require.Equal(t, before, o.asked.Load(), "listing asks nobody")
		require.Equal(t, silently, o.cloud.Count("GetResourceOAuth2Token", user), "and not the service each time")

		// Not earlier: listing has made the service open a session already.
		o.answer = func() { o.cloud.ScriptUser(user, identitytest.Allow) }
		text, err := set.Call(ctx, "resources_connect", "{}")
		require.NoError(t, err)
		require.Equal(t, before+1, o.asked.Load())
		require.Contains(t, text, "SearchResources")

		set = combine(t, ctx, nil, o.client)
		require.Equal(t, []string{"GetResourceCounts", "SearchResources"}, names(set))
		text, err = set.Call(ctx, "SearchResources", `{"resource_type":"ACS::ECS::Instance"}`)
		require.NoError(t, err)
		require.Contains(t, text, "i-bp1"+user+"01")
		require.NotContains(t, text, "OSS")
		require.Equal(t, before+1, o.asked.Load())
		require.Equal(t, 1, o.cloud.Count("SearchResources", user))
	}
}

func TestRefusedConsentAndWrongScope(t *testing.T) {
	o := newOffice(t, identitytest.MCPScope)
	o.cloud.ScriptUser("alice", identitytest.Deny)
	set := combine(t, o.as(t, "alice"), nil, o.client)
	_, err := set.Call(o.as(t, "alice"), "resources_connect", "")
	require.ErrorIs(t, err, credentials.ErrAuthorizationDenied)

	o = newOffice(t, "openid")
	o.cloud.ScriptUser("alice", identitytest.Allow)
	ctx := o.as(t, "alice")
	set = combine(t, ctx, nil, o.client)
	_, err = set.Call(ctx, "resources_connect", "")
	require.ErrorContains(t, err, "resources")
	require.NotContains(t, err.Error(), "eyJ")
}

func TestListChanges(t *testing.T) {
	o := newOffice(t, identitytest.MCPScope)
	o.cloud.ScriptUser("alice", identitytest.Allow)
	ctx := o.as(t, "alice")
	_, err := combine(t, ctx, nil, o.client).Call(ctx, "resources_connect", "")
	require.NoError(t, err)
	require.Len(t, names(combine(t, ctx, nil, o.client)), 2)
	require.Eventually(t, func() bool {
		o.cloud.AddMCPTool("Restart", "Restarts an instance.", "restarted")
		return slices.Contains(names(combine(t, ctx, nil, o.client)), "Restart")
	}, 10*time.Second, 50*time.Millisecond)
	text, err := combine(t, ctx, nil, o.client).Call(ctx, "Restart", "")
	require.NoError(t, err)
	require.Equal(t, "restarted", text)
}

// peer is an MCP server without authorization, with all kinds of results.
func peer(t *testing.T, opts ...server.StreamableHTTPOption) (*httptest.Server, *server.MCPServer, *atomic.Pointer[http.Handler]) {
	t.Helper()
	s := server.NewMCPServer("peer", "1", server.WithToolCapabilities(true))
	add := func(name string, f func(ctx context.Context) (*mcpgo.CallToolResult, error)) {
		s.AddTool(mcpgo.NewTool(name, mcpgo.WithDescription("Does "+name)), func(ctx context.Context, _ mcpgo.CallToolRequest) (*mcpgo.CallToolResult, error) {
			return f(ctx)
		})
	}
	add("image", func(context.Context) (*mcpgo.CallToolResult, error) {
		return mcpgo.NewToolResultImage("a picture:", "AAAA", "image/png"), nil
	})
	add("resource", func(context.Context) (*mcpgo.CallToolResult, error) {
		return mcpgo.NewToolResultResource("the file", mcpgo.TextResourceContents{URI: "file:///a", MIMEType: "text/plain", Text: "its text"}), nil
	})
	add("fails", func(context.Context) (*mcpgo.CallToolResult, error) {
		return mcpgo.NewToolResultError("no such instance; try another region"), nil
	})
	add("breaks", func(context.Context) (*mcpgo.CallToolResult, error) { return nil, errors.New("inner failure") })
	add("structured", func(context.Context) (*mcpgo.CallToolResult, error) {
		return mcpgo.NewToolResultStructuredOnly(map[string]any{"n": 7}), nil
	})
	add("long", func(context.Context) (*mcpgo.CallToolResult, error) {
		return mcpgo.NewToolResultText(strings.Repeat("水", 1000)), nil
	})
	add("nothing", func(context.Context) (*mcpgo.CallToolResult, error) { return &mcpgo.CallToolResult{}, nil })
	add("slow", func(ctx context.Context) (*mcpgo.CallToolResult, error) {
		select {
		case <-ctx.Done():
		case <-time.After(20 * time.Second):
		}
		return mcpgo.NewToolResultText("late"), nil
	})
	var handler atomic.Pointer[http.Handler]
	var h http.Handler = server.NewStreamableHTTPServer(s, opts...)
	handler.Store(&h)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { (*handler.Load()).ServeHTTP(w, r) }))
	t.Cleanup(func() { srv.CloseClientConnections(); srv.Close() })
	return srv, s, &handler
}

func TestResults(t *testing.T) {
	srv, _, _ := peer(t)
	client := newClient(t, mcp.Config{Name: "peer", URL: srv.URL + "/mcp", Timeout: time.Second, MaxResult: 100})
	set := combine(t, t.Context(), nil, client)
	for tool, want := range map[string]string{
		"image": "a picture:\n[an image, image/png, 3 bytes]", "resource": "the file\nits text", "structured": `{"n":7}`, "nothing": "(done, without a result)",
	} {
		text, err := set.Call(t.Context(), tool, "{}")
		require.NoError(t, err, tool)
		require.Equal(t, want, text)
	}
	text, err := set.Call(t.Context(), "long", "{}")
	require.NoError(t, err)
	require.Equal(t, strings.Repeat("水", 33)+"\n[cut off: the whole result has 3000 bytes]", text)

	_, err = set.Call(t.Context(), "fails", "{}")
	toolErr, ok := errors.AsType[*mcp.ToolError](err)
	require.True(t, ok, "%v", err)
	require.Equal(t, "no such instance; try another region", toolErr.Text)
	_, err = set.Call(t.Context(), "breaks", "{}")
	require.ErrorContains(t, err, "inner failure")
	_, err = set.Call(t.Context(), "slow", "{}")
	require.ErrorContains(t, err, "nothing within 1s")
	require.NotErrorIs(t, err, context.DeadlineExceeded)
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(50*time.Millisecond, cancel)
	_, err = set.Call(ctx, "slow", "{}")
	require.ErrorIs(t, err, context.Canceled)
	text, err = set.Call(t.Context(), "structured", "{}")
	require.NoError(t, err, "the session goes on")
	require.Equal(t, `{"n":7}`, text)
}

func TestNamesThatClash(t *testing.T) {
	srv, s, _ := peer(t)
	s.AddTool(mcpgo.NewTool("a tool/with: a name that no model accepts, because it is far too long for one, really"), func(context.Context, mcpgo.CallToolRequest) (*mcpgo.CallToolResult, error) {
		return mcpgo.NewToolResultText("odd"), nil
	})
	own, err := tools.NewSet(tools.New("image", "Ours.", func(context.Context, struct{}) (string, error) { return "ours", nil }))
	require.NoError(t, err)
	one := newClient(t, mcp.Config{Name: "one", URL: srv.URL + "/mcp"})
	two := newClient(t, mcp.Config{Name: "two", URL: srv.URL + "/mcp"})
	set := combine(t, t.Context(), own, one, two)
	all := names(set)
	require.Len(t, all, 1+9+9)
	require.Subset(t, all, []string{"image", "one_image", "two_image", "fails", "two_fails"})
	text, err := set.Call(t.Context(), "image", "")
	require.NoError(t, err)
	require.Equal(t, "ours", text)
	odd := all[slices.IndexFunc(all, func(n string) bool { return strings.HasPrefix(n, "one_a_tool_with_") })]
	text, err = set.Call(t.Context(), odd, "")
	require.NoError(t, err)
	require.Equal(t, "odd", text)
}

// The server was started anew and knows the session no more.
func TestReconnect(t *testing.T) {
	srv, s, handler := peer(t)
	client := newClient(t, mcp.Config{Name: "peer", URL: srv.URL + "/mcp"})
	set := combine(t, t.Context(), nil, client)
	_, err := set.Call(t.Context(), "structured", "")
	require.NoError(t, err)
	var anew http.Handler = server.NewStreamableHTTPServer(s)
	handler.Store(&anew)
	text, err := set.Call(t.Context(), "structured", "")
	require.NoError(t, err)
	require.Equal(t, `{"n":7}`, text)

	// A server that is down is a stand-in that says so, and heals.
	var down http.Handler = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) })
	handler.Store(&down)
	fresh := newClient(t, mcp.Config{Name: "fresh", URL: srv.URL + "/mcp"})
	set = combine(t, t.Context(), nil, fresh)
	require.Equal(t, []string{"fresh_connect"}, names(set))
	_, err = set.Call(t.Context(), "fresh_connect", "")
	require.ErrorContains(t, err, "502")
	handler.Store(&anew)
	text, err = set.Call(t.Context(), "fresh_connect", "")
	require.NoError(t, err)
	require.Contains(t, text, "structured")
}

func TestSSE(t *testing.T) {
	s := server.NewMCPServer("old", "1")
	s.AddTool(mcpgo.NewTool("hello"), func(context.Context, mcpgo.CallToolRequest) (*mcpgo.CallToolResult, error) {
		return mcpgo.NewToolResultText("hello over SSE"), nil
	})
	srv := httptest.NewUnstartedServer(nil)
	sse := server.NewSSEServer(s, server.WithBaseURL("http://"+srv.Listener.Addr().String()))
	var seen sync.Map
	srv.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		seen.Store(r.Header.Get("Authorization"), true)
		sse.ServeHTTP(w, r)
	})
	srv.Start()
	defer func() { srv.CloseClientConnections(); srv.Close() }()
	// A gateway that takes the workload access token without "Bearer".
	u, err := url.Parse(srv.URL)
	require.NoError(t, err)
	client := newClient(t, mcp.Config{Name: "gateway", URL: srv.URL + "/sse", SSE: true, Transport: &credentials.Transport[credentials.WorkloadToken]{
		Source: credentials.SourceFunc[credentials.WorkloadToken](func(ctx context.Context) (credentials.WorkloadToken, error) {
			c, _ := identity.FromContext(ctx)
			return credentials.WorkloadToken{Token: identity.NewSecret("token-of-" + c.UserID)}, nil
		}),
		Hosts:     []string{u.Host},
		Authorize: func(h http.Header, t credentials.WorkloadToken) { h.Set("Authorization", t.Token.Reveal()) },
	}})
	for _, user := range []string{"alice", "bob"} {
		ctx := identity.NewContext(t.Context(), identity.Caller{UserID: user})
		text, err := combine(t, ctx, nil, client).Call(ctx, "hello", "")
		require.NoError(t, err)
		require.Equal(t, "hello over SSE", text)
		_, ok := seen.Load("token-of-" + user)
		require.True(t, ok)
	}
	client.Close()
	_, err = client.Tools(t.Context())
	require.ErrorIs(t, err, mcp.ErrClosed)
}

// Many users at once: each request carries its own user's credential, and the
// sessions are bounded.
func TestUsersDoNotMix(t *testing.T) {
	var mixed atomic.Int32
	var sessions sync.Map
	s := server.NewMCPServer("who", "1")
	s.AddTool(mcpgo.NewTool("whoami"), func(ctx context.Context, _ mcpgo.CallToolRequest) (*mcpgo.CallToolResult, error) {
		return mcpgo.NewToolResultText(fmt.Sprint(ctx.Value(userKey{}))), nil
	})
	h := server.NewStreamableHTTPServer(s)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		user := r.Header.Get("Authorization")
		if id := r.Header.Get("Mcp-Session-Id"); id != "" {
			if owner, known := sessions.LoadOrStore(id, user); known && owner != user {
				mixed.Add(1)
			}
		}
		h.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), userKey{}, user)))
	}))
	defer func() { srv.CloseClientConnections(); srv.Close() }()
	u, err := url.Parse(srv.URL)
	require.NoError(t, err)
	client := newClient(t, mcp.Config{Name: "who", URL: srv.URL + "/mcp", MaxSessions: 8, Transport: &credentials.Transport[credentials.APIKey]{
		Source: credentials.SourceFunc[credentials.APIKey](func(ctx context.Context) (credentials.APIKey, error) {
			c, _ := identity.FromContext(ctx)
			return credentials.APIKey{Key: identity.NewSecret(c.UserID)}, nil
		}),
		Hosts:     []string{u.Host},
		Authorize: func(h http.Header, k credentials.APIKey) { h.Set("Authorization", k.Key.Reveal()) },
	}})
	var wg sync.WaitGroup
	for i := range 40 {
		user := fmt.Sprint("user-", i%20)
		wg.Go(func() {
			ctx := identity.NewContext(t.Context(), identity.Caller{UserID: user})
			for range 5 {
				set, err := mcp.Combine(ctx, nil, client)
				if err != nil {
					t.Error(err)
					return
				}
				text, err := set.Call(ctx, "whoami", "")
				if err == nil && text != user {
					t.Errorf("%s is called %s", user, text)
				}
			}
		})
	}
	wg.Wait()
	require.Zero(t, mixed.Load())
}

type userKey struct{}

func TestConfig(t *testing.T) {
	for want, cfg := range map[string]mcp.Config{
		"Config.Name": {URL: "https://example.com/mcp"}, "Config.URL": {Name: "x", URL: "example.com"},
	} {
		_, err := mcp.New(cfg)
		require.ErrorContains(t, err, want)
	}
}
