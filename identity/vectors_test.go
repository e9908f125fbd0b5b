// SPDX-License-Identifier: Apache-2.0

package identity_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"testing"
	"time"

	"github.com/aliyun/credentials-go/credentials"
	"github.com/stretchr/testify/require"

	"github.com/agent-identity/agent-identity-go/identity"
)

func staticCredential(t testing.TB) credentials.Credential {
	t.Helper()
	cred, err := credentials.NewCredential(new(credentials.Config).
		SetType("access_key").SetAccessKeyId("LTAI-test-id").SetAccessKeySecret("test-secret"))
	require.NoError(t, err)
	return cred
}

func newServer(t testing.TB, handler http.HandlerFunc) string {
	t.Helper()
	srv := httptest.NewServer(handler)
	t.Cleanup(srv.Close)
	return srv.URL
}

func newClient(t testing.TB, handler http.HandlerFunc) *identity.Client {
	t.Helper()
	srv := newServer(t, handler)
	c, err := identity.New(identity.Config{Endpoint: srv, ControlEndpoint: srv, Credential: staticCredential(t)})
	require.NoError(t, err)
	return c
}

// recordings returns the recorded requests of an operation by variant.
func recordings(t *testing.T, file string) map[string]recording {
	t.Helper()
	b, err := os.ReadFile("../internal/acs/testdata/vectors/" + file + ".json")
	require.NoError(t, err)
	var first struct {
		recording
		Variants []recording `json:"variants"`
	}
	require.NoError(t, json.Unmarshal(b, &first))
	all := map[string]recording{first.Variant: first.recording}
	for _, v := range first.Variants {
		all[v.Variant] = v
	}
	return all
}

type recording struct {
	Variant string            `json:"variant"`
	Headers map[string]string `json:"headers"`
	BodyRaw string            `json:"body_raw"`
}

// TestRecordedCalls makes the recorded calls through the typed client.
func TestRecordedCalls(t *testing.T) {
	var body string
	var header http.Header
	answer := `{}`
	client := newClient(t, func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		body, header = string(b), r.Header.Clone()
		_, _ = io.WriteString(w, answer)
	})
	wat := identity.NewSecret("eyJhbGciOiJSUzI1NiJ9.d29ya2xvYWQ+dG9rZW4/==.c2ln_-~*")
	jwt := identity.NewSecret("eyJhbGciOiJSUzI1NiIsImtpZCI6ImExIn0.eyJzdWIiOiLnlKjmiLcifQ.c2ln+bmF0/dXJl==")
	const userID = "用户 a+b&c=d@example.com"
	const data, control = "agentidentitydata-20251127/", "agentidentity-20250901/"
	sts := &identity.STSCredentials{
		AccessKeyID: "LTAI-test-id", AccessKeySecret: identity.NewSecret("test-secret"),
		SecurityToken: identity.NewSecret("CAIS-test/security+token=="),
	}
	ctx := t.Context()
	fullOAuth := identity.GetResourceOAuth2TokenRequest{
		WorkloadAccessToken: wat, Provider: "oauth-provider-aliyun",
		Scopes:              []string{"openid", "profile", "/acs/mcp-server", "读 写"},
		ReturnURL:           "http://localhost:8090/callback?a=1&b=two words",
		ForceAuthentication: new(true), CustomState: "state +&= 会话-1",
		CustomParameters: map[string]string{"param1": "test param", "参数": "值 &=+%<>\"\\"},
		SessionURI:       "urn:ietf:params:oauth:request_uri:43b7df1a-0000-4000-8000-709375a44d8a",
	}
	fullOAuthSTS := fullOAuth
	fullOAuthSTS.Signer = sts
	oauth := func(req identity.GetResourceOAuth2TokenRequest) func() error {
		return func() error { _, err := client.GetResourceOAuth2Token(ctx, &req); return err }
	}
	const policy = `{"Version":"1","Statement":[{"Effect":"Allow","Action":["oss:Get*"],"Resource":["acs:oss:*:*:bucket/路径 a+b&c=d"]}]}`

	tests := []struct {
		file, variant, answer string
		call                  func() error
	}{
		{data + "GetWorkloadAccessToken", "full", `{"WorkloadAccessToken":"t"}`, func() error {
			s, err := client.GetWorkloadAccessToken(ctx, "agent-101")
			require.True(t, err != nil || s.Reveal() == "t")
			return err
		}},
		{data + "GetWorkloadAccessToken", "special-characters", `{"WorkloadAccessToken":"t"}`, func() error {
			_, err := client.GetWorkloadAccessToken(ctx, "工作负载 a+b&c=d/e?f#g")
			return err
		}},
		{data + "GetWorkloadAccessToken", "empty-string", `{"WorkloadAccessToken":"t"}`, func() error {
			_, err := client.GetWorkloadAccessToken(ctx, "")
			return err
		}},
		{data + "GetWorkloadAccessTokenForJWT", "full", `{"WorkloadAccessToken":"t"}`, func() error {
			_, err := client.GetWorkloadAccessTokenForJWT(ctx, "agent-101", jwt)
			return err
		}},
		{data + "GetWorkloadAccessTokenForUserId", "full", `{"WorkloadAccessToken":"t"}`, func() error {
			_, err := client.GetWorkloadAccessTokenForUserID(ctx, "agent-101", userID)
			return err
		}},
		{data + "GetResourceAPIKey", "full", `{"APIKey":"k"}`, func() error {
			_, err := client.GetResourceAPIKey(ctx, &identity.GetResourceAPIKeyRequest{WorkloadAccessToken: wat, Provider: "api-key-dash-scope"})
			return err
		}},
		{data + "GetResourceAPIKey", "full-sts", `{"APIKey":"k"}`, func() error {
			_, err := client.GetResourceAPIKey(ctx, &identity.GetResourceAPIKeyRequest{WorkloadAccessToken: wat, Provider: "api-key-dash-scope", Signer: sts})
			return err
		}},
		{data + "GetResourceOAuth2Token", "full", `{"AccessToken":"t"}`, oauth(fullOAuth)},
		{data + "GetResourceOAuth2Token", "full-sts", `{"AccessToken":"t"}`, oauth(fullOAuthSTS)},
		{data + "GetResourceOAuth2Token", "minimal", `{"AccessToken":"t"}`, oauth(identity.GetResourceOAuth2TokenRequest{WorkloadAccessToken: wat, Provider: "oauth-provider-aliyun"})},
		{data + "GetResourceOAuth2Token", "poll", `{"AccessToken":"t"}`, oauth(identity.GetResourceOAuth2TokenRequest{
			WorkloadAccessToken: wat, Provider: "oauth-provider-aliyun", Scopes: []string{"openid"}, ForceAuthentication: new(false),
			SessionURI: "urn:ietf:params:oauth:request_uri:43b7df1a-0000-4000-8000-709375a44d8a",
		})},
		{data + "GetResourceOAuth2Token", "empty-collections", `{"AccessToken":"t"}`, oauth(identity.GetResourceOAuth2TokenRequest{
			WorkloadAccessToken: wat, Provider: "p", Scopes: []string{}, CustomParameters: map[string]string{},
		})},
		{data + "CompleteResourceTokenAuth", "full", `{}`, func() error {
			return client.CompleteResourceTokenAuth(ctx, "urn:ietf:params:oauth:request_uri:3030cabc-0000-4000-8000-d0054944102a", identity.UserIdentifier{UserID: userID})
		}},
		{data + "CompleteResourceTokenAuth", "user-jwt", `{}`, func() error {
			return client.CompleteResourceTokenAuth(ctx, "urn:ietf:params:oauth:request_uri:3030cabc-0000-4000-8000-d0054944102a", identity.UserIdentifier{UserToken: jwt})
		}},
		{data + "CompleteResourceTokenAuth", "both-identifiers", `{}`, func() error {
			return client.CompleteResourceTokenAuth(ctx, "urn:x", identity.UserIdentifier{UserID: "u1", UserToken: jwt})
		}},
		{
			data + "AssumeRoleForWorkloadIdentity", "full",
			`{"Credentials":{"AccessKeyId":"i","AccessKeySecret":"s","SecurityToken":"t","Expiration":"2025-04-28T03:06:19Z"},
			  "WorkloadContextInfo":{"UserContext":{"JwtClaims":{"Issuer":"is","Subject":"su","Audiences":"[\"a\",\"b\"]"}}}}`,
			func() error {
				role, err := client.AssumeRoleForWorkloadIdentity(ctx, &identity.AssumeRoleRequest{
					WorkloadAccessToken: wat, SessionName: "AgentIdentitySessionRole-00000000-0000-4000-8000-000000000000",
					Duration: time.Hour, Policy: policy,
				})
				if err == nil {
					require.Equal(t, time.Date(2025, 4, 28, 3, 6, 19, 0, time.UTC), role.Credentials.Expiration)
					require.Equal(t, identity.AssumedRoleUser{Issuer: "is", Subject: "su", Audiences: []string{"a", "b"}}, role.User)
				}
				return err
			},
		},
		{control + "CreateWorkloadIdentity", "full", `{"WorkloadIdentity":{"WorkloadIdentityName":"agent-101"}}`, func() error {
			_, err := client.CreateWorkloadIdentity(ctx, &identity.CreateWorkloadIdentityRequest{
				Name: "agent-101", Description: "智能体 α+β & γ=δ 100% \"quoted\" <tag>", RoleArn: "acs:ram::123456:role/agent-101-role",
				CreateRAMRole: new(false), IdentityProvider: "identity-provider-okta", SessionBindingEnabled: new(true),
				AllowedReturnURLs: []string{"http://localhost:8090/callback", "https://例子.example.com/cb?x=1&y=a b+c"},
				SourcePlatform:    "AgentRun", SourceAgentArn: "acs:agentrun:cn-beijing:123456:agent/a1",
			})
			return err
		}},
		{control + "CreateWorkloadIdentity", "minimal", `{"WorkloadIdentity":{"WorkloadIdentityName":"agent-101"}}`, func() error {
			_, err := client.CreateWorkloadIdentity(ctx, &identity.CreateWorkloadIdentityRequest{Name: "agent-101"})
			return err
		}},
	}
	for _, tt := range tests {
		t.Run(tt.file+"/"+tt.variant, func(t *testing.T) {
			want, found := recordings(t, tt.file)[tt.variant]
			require.True(t, found)
			answer = tt.answer
			require.NoError(t, tt.call())
			wantForm, err := url.ParseQuery(want.BodyRaw)
			require.NoError(t, err)
			gotForm, err := url.ParseQuery(body)
			require.NoError(t, err)
			require.Equal(t, wantForm, gotForm)
			require.Equal(t, want.BodyRaw, body, "byte for byte")
			for name, value := range want.Headers {
				require.Equal(t, value, header.Get(name), name)
			}

			// The same call must refuse an answer without what it promises.
			for _, empty := range []string{`{}`, `null`} {
				answer = empty
				err := tt.call()
				if tt.answer == `{}` {
					require.NoError(t, err)
					continue
				}
				var apiErr *identity.APIError
				require.ErrorAs(t, err, &apiErr)
				require.Equal(t, identity.CodeMalformedResponse, apiErr.Code)
			}
		})
	}
}
