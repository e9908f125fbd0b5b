// SPDX-License-Identifier: Apache-2.0

package eino_test

import (
	"context"
	"testing"
	"time"

	"github.com/cloudwego/eino/components/tool"
	"github.com/cloudwego/eino/compose"
	"github.com/cloudwego/eino/schema"
	"github.com/stretchr/testify/require"

	"github.com/agent-identity/agent-identity-go/credentials"
	"github.com/agent-identity/agent-identity-go/examples/integrations/eino"
	"github.com/agent-identity/agent-identity-go/identity"
	"github.com/agent-identity/agent-identity-go/identity/identitytest"
	"github.com/agent-identity/agent-identity-go/workload"
)

type note struct {
	Name string `json:"name"`
}

// checkpoints keeps interrupted graphs in memory.
type checkpoints map[string][]byte

func (c checkpoints) Get(_ context.Context, id string) ([]byte, bool, error) {
	b, ok := c[id]
	return b, ok, nil
}

func (c checkpoints) Set(_ context.Context, id string, b []byte) error {
	c[id] = b
	return nil
}

func TestConsentInterruptsTheGraph(t *testing.T) {
	cloud := identitytest.NewServer(t)
	api, err := identity.New(cloud.ClientConfig())
	require.NoError(t, err)
	agent, err := workload.New(workload.Config{Client: api, Name: identitytest.Workload})
	require.NoError(t, err)
	docs := credentials.NewOAuth2Source(agent, credentials.OAuth2Config{
		Provider: identitytest.OAuth2Provider, Scopes: []string{identitytest.TimeScope}, CallbackURL: identitytest.DefaultReturnURL,
	})
	read, err := eino.NewTool("read_note", "Reads a note.", credentials.RequiresOAuth2(docs, func(_ context.Context, token credentials.OAuth2Token, in note) (string, error) {
		return "note " + in.Name + " with " + token.AccessToken.String(), nil
	}))
	require.NoError(t, err)
	info, err := read.Info(t.Context())
	require.NoError(t, err)
	params, err := info.ToJSONSchema()
	require.NoError(t, err)
	require.Equal(t, 1, params.Properties.Len(), "the model sees the arguments, and no token")

	node, err := compose.NewToolNode(t.Context(), &compose.ToolsNodeConfig{Tools: []tool.BaseTool{read}})
	require.NoError(t, err)
	graph := compose.NewGraph[*schema.Message, []*schema.Message]()
	require.NoError(t, graph.AddToolsNode("tools", node))
	require.NoError(t, graph.AddEdge(compose.START, "tools"))
	require.NoError(t, graph.AddEdge("tools", compose.END))
	run, err := graph.Compile(t.Context(), compose.WithCheckPointStore(checkpoints{}))
	require.NoError(t, err)

	ctx := identity.NewContext(t.Context(), identity.Caller{UserToken: cloud.IDToken("alice")})
	turn := schema.AssistantMessage("", []schema.ToolCall{{ID: "1", Function: schema.FunctionCall{Name: "read_note", Arguments: `{"name":"one"}`}}})
	_, err = run.Invoke(ctx, turn, compose.WithCheckPointID("chat-1"))
	interrupt, ok := compose.ExtractInterruptInfo(err)
	require.True(t, ok, "%v", err)
	var consent *eino.Consent
	id := ""
	for _, c := range interrupt.InterruptContexts {
		if found, ok := c.Info.(*eino.Consent); ok {
			consent, id = found, c.ID
		}
	}
	require.NotNil(t, consent)
	require.Equal(t, []string{identitytest.TimeScope}, consent.Scopes)
	require.Contains(t, consent.URL, cloud.URL())

	cloud.ScriptUser("alice", identitytest.Allow) // shows the link, and the user grants
	require.Eventually(t, func() bool { return cloud.Count("CompleteResourceTokenAuth", "alice") == 1 }, 10*time.Second, 10*time.Millisecond)
	out, err := run.Invoke(compose.Resume(ctx, id), turn, compose.WithCheckPointID("chat-1"))
	require.NoError(t, err)
	require.Len(t, out, 1)
	require.Contains(t, out[0].Content, "note one with [REDACTED]")
}
