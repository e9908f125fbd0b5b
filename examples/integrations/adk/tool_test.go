// SPDX-License-Identifier: Apache-2.0

package adk_test

import (
	"context"
	"encoding/json"
	"iter"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/adk/v2/agent"
	"google.golang.org/adk/v2/agent/llmagent"
	"google.golang.org/adk/v2/model"
	"google.golang.org/adk/v2/runner"
	"google.golang.org/adk/v2/session"
	"google.golang.org/adk/v2/tool"
	"google.golang.org/adk/v2/tool/toolconfirmation"
	"google.golang.org/genai"

	"github.com/agent-identity/agent-identity-go/credentials"
	"github.com/agent-identity/agent-identity-go/examples/integrations/adk"
	"github.com/agent-identity/agent-identity-go/identity"
	"github.com/agent-identity/agent-identity-go/identity/identitytest"
	"github.com/agent-identity/agent-identity-go/workload"
)

type note struct {
	Name string `json:"name"`
}

type text struct {
	Text string `json:"text"`
}

// scripted is a model that calls the tool once and then repeats what it said.
type scripted struct{ offered string }

func (*scripted) Name() string { return "scripted" }

func (s *scripted) GenerateContent(_ context.Context, req *model.LLMRequest, _ bool) iter.Seq2[*model.LLMResponse, error] {
	return func(yield func(*model.LLMResponse, error) bool) {
		b, _ := json.Marshal(req.Config.Tools)
		s.offered = string(b)
		last := req.Contents[len(req.Contents)-1].Parts[0]
		if last.FunctionResponse != nil {
			b, _ := json.Marshal(last.FunctionResponse.Response)
			yield(&model.LLMResponse{Content: genai.NewContentFromText("the tool said "+string(b), genai.RoleModel)}, nil)
			return
		}
		yield(&model.LLMResponse{Content: &genai.Content{Role: genai.RoleModel, Parts: []*genai.Part{
			{FunctionCall: &genai.FunctionCall{ID: "call-1", Name: "read_note", Args: map[string]any{"name": "one"}}},
		}}}, nil)
	}
}

func TestConsentAsConfirmation(t *testing.T) {
	cloud := identitytest.NewServer(t)
	api, err := identity.New(cloud.ClientConfig())
	require.NoError(t, err)
	self, err := workload.New(workload.Config{Client: api, Name: identitytest.Workload})
	require.NoError(t, err)
	docs := credentials.NewOAuth2Source(self, credentials.OAuth2Config{
		Provider: identitytest.OAuth2Provider, Scopes: []string{identitytest.TimeScope}, CallbackURL: identitytest.DefaultReturnURL,
	})
	read, err := adk.NewTool("read_note", "Reads a note.", credentials.RequiresOAuth2(docs, func(_ context.Context, token credentials.OAuth2Token, in note) (text, error) {
		return text{"note " + in.Name + " with " + token.AccessToken.String()}, nil
	}))
	require.NoError(t, err)
	llm := &scripted{}
	friday, err := llmagent.New(llmagent.Config{Name: "friday", Model: llm, Tools: []tool.Tool{read}})
	require.NoError(t, err)
	sessions := session.InMemoryService()
	_, err = sessions.Create(t.Context(), &session.CreateRequest{AppName: "app", UserID: "alice", SessionID: "chat"})
	require.NoError(t, err)
	run, err := runner.New(runner.Config{AppName: "app", Agent: friday, SessionService: sessions})
	require.NoError(t, err)
	ctx := identity.NewContext(t.Context(), identity.Caller{UserToken: cloud.IDToken("alice")})

	var asked *genai.FunctionCall
	for event, err := range run.Run(ctx, "alice", "chat", genai.NewContentFromText("read my note", genai.RoleUser), agent.RunConfig{}) {
		require.NoError(t, err)
		for _, part := range partsOf(event) {
			if part.FunctionCall != nil && part.FunctionCall.Name == toolconfirmation.FunctionCallName {
				asked = part.FunctionCall
			}
		}
	}
	require.NotNil(t, asked)
	require.NotContains(t, llm.offered, "oken", "the model sees no token in the schema")
	b, err := json.Marshal(asked.Args["toolConfirmation"])
	require.NoError(t, err)
	var confirmation struct{ Payload adk.Consent }
	require.NoError(t, json.Unmarshal(b, &confirmation))
	require.Equal(t, identitytest.OAuth2Provider, confirmation.Payload.Provider)
	require.Contains(t, confirmation.Payload.URL, cloud.URL())

	cloud.ScriptUser("alice", identitytest.Allow) // the application shows the link, and the user grants
	require.Eventually(t, func() bool { return cloud.Count("CompleteResourceTokenAuth", "alice") == 1 }, 10*time.Second, 10*time.Millisecond)
	answer := &genai.Content{Role: genai.RoleUser, Parts: []*genai.Part{{FunctionResponse: &genai.FunctionResponse{
		ID: asked.ID, Name: asked.Name, Response: map[string]any{"confirmed": true},
	}}}}
	said := ""
	for event, err := range run.Run(ctx, "alice", "chat", answer, agent.RunConfig{}) {
		require.NoError(t, err)
		for _, part := range partsOf(event) {
			said += part.Text
		}
	}
	require.Contains(t, said, "note one with [REDACTED]")
}

func partsOf(e *session.Event) []*genai.Part {
	if e.Content == nil {
		return nil
	}
	return e.Content.Parts
}
