// SPDX-License-Identifier: Apache-2.0

package control_test

import (
	"encoding/json"
	"fmt"
	"io"
	"iter"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"

	"github.com/aliyun/credentials-go/credentials"
	"github.com/stretchr/testify/require"

	"github.com/agent-identity/agent-identity-go/identity"
	"github.com/agent-identity/agent-identity-go/identity/control"
)

// service answers calls as a test says, and remembers the last one.
type service struct {
	answers []string // in turn; the last one for ever
	status  int
	body    string
	header  http.Header
	calls   int
	client  *identity.Client
}

func newPlane(t *testing.T, s *service, sts bool) *control.Client {
	t.Helper()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		s.body, s.header = string(b), r.Header.Clone()
		w.Header().Set("X-Acs-Request-Id", "request-1")
		if s.status != 0 {
			w.WriteHeader(s.status)
		}
		_, _ = io.WriteString(w, s.answers[min(s.calls, len(s.answers)-1)])
		s.calls++
	}))
	t.Cleanup(srv.Close)
	cfg := new(credentials.Config).SetType("access_key").SetAccessKeyId("LTAI-test-id").SetAccessKeySecret("test-secret")
	if sts {
		cfg.SetType("sts").SetSecurityToken("CAIS-test/security+token==")
	}
	cred, err := credentials.NewCredential(cfg)
	require.NoError(t, err)
	client, err := identity.New(identity.Config{Endpoint: srv.URL, ControlEndpoint: srv.URL, Credential: cred, Attempts: 1})
	require.NoError(t, err)
	s.client = client
	return control.New(client)
}

// call makes a recorded call. What a recording has as its input is what a user
// of the typed client says.
func call(t *testing.T, client *identity.Client, op string, in map[string]any) error {
	t.Helper()
	ctx := t.Context()
	plane := control.New(client)
	str := func(name string) string { s, _ := in[name].(string); return s }
	strs := func(name string) []string {
		list, ok := in[name].([]any)
		if !ok {
			return nil
		}
		out := []string{}
		for _, v := range list {
			out = append(out, v.(string))
		}
		return out
	}
	flag := func(name string) *bool {
		switch v := in[name].(type) {
		case bool:
			return &v
		case string:
			return new(v == "true")
		}
		return nil
	}
	size, _ := in["MaxResults"].(float64)
	page := &control.Page{Size: int(size), Token: str("NextToken")}
	vault := str("TokenVaultName")
	idp := &control.IdentityProvider{Name: str("IdentityProviderName"), DiscoveryURL: str("DiscoveryURL"), AllowedAudiences: strs("AllowedAudience"), Description: str("Description")}
	key := &control.APIKeyProvider{Name: str("APIKeyCredentialProviderName"), Vault: vault, Description: str("Description"), APIKey: identity.NewSecret(str("APIKey"))}
	oauth := &control.OAuth2Provider{
		Name: str("OAuth2CredentialProviderName"), Vault: vault, Description: str("Description"), Vendor: str("CredentialProviderVendor"),
		CallbackURL: str("CallbackURL"), OAuthType: str("OAuthType"), Config: application(in["OAuth2ProviderConfig"]),
	}
	var err error
	switch op {
	case "CreateWorkloadIdentity":
		_, err = plane.CreateWorkloadIdentity(ctx, &identity.CreateWorkloadIdentityRequest{
			Name: str("WorkloadIdentityName"), Description: str("Description"), RoleArn: str("RoleArn"), CreateRAMRole: flag("CreateRAMRole"),
			IdentityProvider: str("IdentityProviderName"), AllowedReturnURLs: strs("AllowedResourceOAuth2ReturnURLs"),
			SessionBindingEnabled: flag("SessionBindingEnabled"), SourcePlatform: str("SourcePlatform"), SourceAgentArn: str("SourceAgentArn"),
		})
	case "GetWorkloadIdentity":
		_, err = plane.WorkloadIdentity(ctx, str("WorkloadIdentityName"))
	case "UpdateWorkloadIdentity":
		err = plane.UpdateWorkloadIdentity(ctx, &control.WorkloadIdentityUpdate{
			Name: str("WorkloadIdentityName"), Description: str("Description"), RoleArn: str("RoleArn"), IdentityProvider: str("IdentityProviderName"),
			AllowedReturnURLs: strs("AllowedResourceOAuth2ReturnURLs"), SessionBindingEnabled: flag("SessionBindingEnabled"),
		})
	case "DeleteWorkloadIdentity":
		err = plane.DeleteWorkloadIdentity(ctx, str("WorkloadIdentityName"))
	case "ListWorkloadIdentities":
		err = first(plane.WorkloadIdentities(ctx, page))
	case "CreateIdentityProvider":
		_, err = plane.CreateIdentityProvider(ctx, idp)
	case "GetIdentityProvider":
		_, err = plane.IdentityProvider(ctx, idp.Name)
	case "UpdateIdentityProvider":
		err = plane.UpdateIdentityProvider(ctx, idp)
	case "DeleteIdentityProvider":
		err = plane.DeleteIdentityProvider(ctx, idp.Name)
	case "ListIdentityProviders":
		err = first(plane.IdentityProviders(ctx, page))
	case "CreateAPIKeyCredentialProvider":
		_, err = plane.CreateAPIKeyProvider(ctx, key)
	case "GetAPIKeyCredentialProvider":
		_, err = plane.APIKeyProvider(ctx, key.Name, vault)
	case "UpdateAPIKeyCredentialProvider":
		err = plane.UpdateAPIKeyProvider(ctx, key)
	case "DeleteAPIKeyCredentialProvider":
		err = plane.DeleteAPIKeyProvider(ctx, key.Name, vault)
	case "ListAPIKeyCredentialProviders":
		err = first(plane.APIKeyProviders(ctx, vault, page))
	case "CreateOAuth2CredentialProvider":
		_, err = plane.CreateOAuth2Provider(ctx, oauth)
	case "GetOAuth2CredentialProvider":
		_, err = plane.OAuth2Provider(ctx, oauth.Name, vault)
	case "UpdateOAuth2CredentialProvider":
		err = plane.UpdateOAuth2Provider(ctx, oauth)
	case "DeleteOAuth2CredentialProvider":
		err = plane.DeleteOAuth2Provider(ctx, oauth.Name, vault)
	case "ListOAuth2CredentialProviders":
		err = first(plane.OAuth2Providers(ctx, vault, page))
	case "GetTokenVault":
		_, err = plane.TokenVault(ctx, vault)
	case "ListTokenVaults":
		err = first(plane.TokenVaults(ctx, page))
	default: // changing token vaults has no method of its own
		_, err = client.CallControl(ctx, &identity.ControlCall{Action: op, Params: in}, nil)
	}
	return err
}

func first[T any](list iter.Seq2[*T, error]) error {
	for _, err := range list {
		return err
	}
	return nil
}

func application(v any) control.OAuth2Application {
	config, _ := v.(map[string]any)
	str := func(in map[string]any, name string) string { s, _ := in[name].(string); return s }
	if in, ok := config["IncludedOAuth2ProviderConfig"].(map[string]any); ok {
		return control.OAuth2Application{
			ClientID: str(in, "ClientId"), ClientSecret: identity.NewSecret(str(in, "ClientSecret")),
			AuthorizationEndpoint: str(in, "AuthorizationEndpoint"), TokenEndpoint: str(in, "TokenEndpoint"),
		}
	}
	in, _ := config["CustomOAuth2ProviderConfig"].(map[string]any)
	discovery, _ := in["OAuth2Discovery"].(map[string]any)
	return control.OAuth2Application{ClientID: str(in, "ClientId"), ClientSecret: identity.NewSecret(str(in, "ClientSecret")), DiscoveryURL: str(discovery, "DiscoveryURL")}
}

type recording struct {
	Operation string
	Variant   string            `json:"variant"`
	Input     map[string]any    `json:"input"`
	Headers   map[string]string `json:"headers"`
	BodyRaw   string            `json:"body_raw"`
	// Credential is that of the recording.
	Credential string `json:"credential"`
}

// Every recorded call of the control plane, byte for byte.
func TestRecordedCalls(t *testing.T) {
	files, err := filepath.Glob("../../internal/acs/testdata/vectors/agentidentity-20250901/*.json")
	require.NoError(t, err)
	require.Len(t, files, 25)
	for _, file := range files {
		b, err := os.ReadFile(file)
		require.NoError(t, err)
		var all struct {
			recording
			Variants []recording `json:"variants"`
		}
		require.NoError(t, json.Unmarshal(b, &all))
		for _, want := range append([]recording{all.recording}, all.Variants...) {
			t.Run(all.Operation+"/"+want.Variant, func(t *testing.T) {
				s := &service{answers: []string{`{"WorkloadIdentity":{"WorkloadIdentityName":"x"},"IdentityProvider":{},"APIKeyCredentialProvider":{},"OAuth2CredentialProvider":{},"TokenVault":{}}`}}
				newPlane(t, s, want.Credential == "sts")
				in := want.Input
				if in == nil {
					in = all.Input
				}
				require.NoError(t, call(t, s.client, all.Operation, in))
				require.Equal(t, want.BodyRaw, s.body)
				for name, value := range want.Headers {
					require.Equal(t, value, s.header.Get(name), name)
				}
			})
		}
	}
}

func TestLists(t *testing.T) {
	s := &service{answers: []string{
		`{"IdentityProviders":[{"IdentityProviderName":"a","AllowedAudience":["x"]},{"IdentityProviderName":"b"}],"NextToken":"AAA+/=="}`,
		`{"IdentityProviders":[],"NextToken":"BBB"}`,
		`{"IdentityProviders":[{"IdentityProviderName":"c"}],"NextToken":""}`,
	}}
	plane := newPlane(t, s, false)
	var names []string
	for p, err := range plane.IdentityProviders(t.Context(), nil) {
		require.NoError(t, err)
		names = append(names, p.Name)
	}
	require.Equal(t, []string{"a", "b", "c"}, names)
	require.Equal(t, 3, s.calls)
	require.Equal(t, "NextToken=BBB", s.body)
	// Who stops early costs no more calls.
	s.calls = 0
	for range plane.IdentityProviders(t.Context(), &control.Page{Size: 2}) {
		break
	}
	require.Equal(t, 1, s.calls)

	for name, answers := range map[string][]string{
		"goes in circles": {`{"IdentityProviders":[{}],"NextToken":"A"}`, `{"IdentityProviders":[{}],"NextToken":"A"}`},
		"no list":         {`{"IdentityProviders":7}`},
		"token no text":   {`{"NextToken":7}`},
		"no object":       {`[]`},
	} {
		s.answers, s.calls = answers, 0
		var last error
		for _, err := range plane.IdentityProviders(t.Context(), nil) {
			last = err
		}
		var apiErr *identity.APIError
		require.ErrorAs(t, last, &apiErr, name)
		require.Equal(t, identity.CodeMalformedResponse, apiErr.Code, name)
	}
}

func TestErrorsAndSecrets(t *testing.T) {
	s := &service{status: 409, answers: []string{`{"Code":"EntityAlreadyExist.OAuth2CredentialProvider","Message":"you sent PLANTED-secret and PLANTED-key","RequestId":"r"}`}}
	plane := newPlane(t, s, false)
	_, err := plane.CreateOAuth2Provider(t.Context(), &control.OAuth2Provider{Name: "p", Vendor: control.VendorCustom, Config: control.OAuth2Application{
		ClientID: "c", ClientSecret: identity.NewSecret("PLANTED-secret"), Issuer: "https://idp.example.com", AuthorizationEndpoint: "https://idp.example.com/a",
		TokenEndpoint: "https://idp.example.com/t", PKCE: new(true),
	}})
	require.Error(t, err)
	require.NotContains(t, err.Error(), "PLANTED-secret")
	_, err = plane.CreateAPIKeyProvider(t.Context(), &control.APIKeyProvider{Name: "p", APIKey: identity.NewSecret("PLANTED-key")})
	require.Error(t, err)
	require.NotContains(t, err.Error(), "PLANTED-key")

	s.status, s.answers = 404, []string{`{"Code":"EntityNotExist.WorkloadIdentity","Message":"no"}`}
	_, err = plane.WorkloadIdentity(t.Context(), "x")
	require.ErrorIs(t, err, identity.ErrNotFound)

	// An answer with a client secret does not bring it out.
	s.status, s.answers = 0, []string{`{"OAuth2CredentialProvider":{"OAuth2CredentialProviderName":"p","CredentialProviderVendor":"CustomOAuth2","ClientSecret":"PLANTED-secret","OAuth2ProviderConfig":{"CustomOAuth2ProviderConfig":{"ClientId":"c","ClientSecret":"PLANTED-secret","OAuth2Discovery":{"AuthorizationServerMetadata":{"Issuer":"i","PKCE":{"Enabled":true}}}}}}}`}
	p, err := plane.OAuth2Provider(t.Context(), "p", "")
	require.NoError(t, err)
	require.Equal(t, "c", p.Config.ClientID)
	require.True(t, *p.Config.PKCE)
	require.NotContains(t, fmt.Sprintf("%+v", p), "PLANTED")

	before := s.calls
	for _, err := range []error{
		plane.DeleteWorkloadIdentity(t.Context(), ""),
		plane.UpdateIdentityProvider(t.Context(), &control.IdentityProvider{}),
		func() error {
			_, err := plane.CreateOAuth2Provider(t.Context(), &control.OAuth2Provider{Name: "x"})
			return err
		}(),
	} {
		require.ErrorContains(t, err, "is required")
	}
	require.Equal(t, before, s.calls, "nothing was sent")
	s.answers = []string{`{}`}
	for _, op := range []string{"GetWorkloadIdentity", "GetIdentityProvider", "GetTokenVault"} {
		err := call(t, s.client, op, map[string]any{"WorkloadIdentityName": "x", "IdentityProviderName": "x", "TokenVaultName": "x"})
		require.ErrorContains(t, err, "the answer has no", op)
	}
}
