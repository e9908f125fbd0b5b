// SPDX-License-Identifier: Apache-2.0

package mcpgo_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"testing"

	mcpclient "github.com/mark3labs/mcp-go/client"
	"github.com/mark3labs/mcp-go/client/transport"
	"github.com/mark3labs/mcp-go/mcp"
	"github.com/mark3labs/mcp-go/server"
	"github.com/stretchr/testify/require"

	"github.com/agent-identity/agent-identity-go/credentials"
	"github.com/agent-identity/agent-identity-go/examples/integrations/mcpgo"
	"github.com/agent-identity/agent-identity-go/identity"
	"github.com/agent-identity/agent-identity-go/identity/identitytest"
	"github.com/agent-identity/agent-identity-go/workload"
)

type note struct {
	Name string `json:"name"`
}

// opener is a user who opens links; what they decide there is scripted.
type opener struct {
	cloud *identitytest.Server
	d     identitytest.Decision
	asked int
}

func (o *opener) Elicit(_ context.Context, req mcp.ElicitationRequest) (*mcp.ElicitationResult, error) {
	o.asked++
	o.cloud.ScriptUser("alice", o.d)
	return &mcp.ElicitationResult{ElicitationResponse: mcp.ElicitationResponse{Action: mcp.ElicitationResponseActionAccept}}, nil
}

func TestNativeTool(t *testing.T) {
	for decision, failed := range map[identitytest.Decision]bool{identitytest.Allow: false, identitytest.Deny: true} {
		cloud := identitytest.NewServer(t)
		api, err := identity.New(cloud.ClientConfig())
		require.NoError(t, err)
		agent, err := workload.New(workload.Config{Client: api, Name: identitytest.Workload})
		require.NoError(t, err)
		docs := credentials.NewOAuth2Source(agent, credentials.OAuth2Config{
			Provider: identitytest.OAuth2Provider, Scopes: []string{identitytest.TimeScope}, CallbackURL: identitytest.DefaultReturnURL,
		})
		read := credentials.RequiresOAuth2(docs, func(_ context.Context, _ credentials.OAuth2Token, in note) (string, error) {
			return "note " + in.Name, nil
		})

		s := server.NewMCPServer("native", "1", server.WithElicitation())
		s.AddTool(mcp.NewTool("read_note", mcp.WithString("name", mcp.Required())), mcpgo.Handler("read_note", read))
		token := cloud.IDToken("alice") // a real server verifies the request's bearer token here
		srv := httptest.NewServer(server.NewStreamableHTTPServer(s, server.WithHTTPContextFunc(func(ctx context.Context, _ *http.Request) context.Context {
			return identity.NewContext(ctx, identity.Caller{UserToken: token})
		})))
		t.Cleanup(func() { srv.CloseClientConnections(); srv.Close() })

		user := &opener{cloud: cloud, d: decision}
		wire, err := transport.NewStreamableHTTP(srv.URL + "/mcp")
		require.NoError(t, err)
		client := mcpclient.NewClient(wire, mcpclient.WithElicitationHandler(user))
		defer client.Close()
		require.NoError(t, client.Start(t.Context()))
		_, err = client.Initialize(t.Context(), mcp.InitializeRequest{})
		require.NoError(t, err)
		req := mcp.CallToolRequest{}
		req.Params.Name, req.Params.Arguments = "read_note", map[string]any{"name": "one"}
		result, err := client.CallTool(t.Context(), req)
		require.NoError(t, err)
		require.Equal(t, failed, result.IsError, "%v", result.Content)
		require.Equal(t, 1, user.asked)
	}
}
