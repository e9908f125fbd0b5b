// SPDX-License-Identifier: Apache-2.0

package control_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/agent-identity/agent-identity-go/credentials"
	"github.com/agent-identity/agent-identity-go/identity"
	"github.com/agent-identity/agent-identity-go/identity/control"
	"github.com/agent-identity/agent-identity-go/identity/identitytest"
	"github.com/agent-identity/agent-identity-go/workload"
)

func newCloud(t *testing.T) (*identitytest.Server, *identity.Client, *control.Client) {
	t.Helper()
	cloud := identitytest.NewServer(t)
	client, err := identity.New(cloud.ClientConfig())
	require.NoError(t, err)
	return cloud, client, control.New(client)
}

// What is made with the control plane is what an agent works with.
func TestAnAgentOnWhatWasMade(t *testing.T) {
	cloud, client, plane := newCloud(t)
	ctx := t.Context()
	_, err := plane.CreateIdentityProvider(ctx, &control.IdentityProvider{
		Name: "my-users", DiscoveryURL: cloud.Issuer() + "/.well-known/openid-configuration", AllowedAudiences: []string{identitytest.LoginClientID},
	})
	require.NoError(t, err)
	_, err = plane.CreateWorkloadIdentity(ctx, &identity.CreateWorkloadIdentityRequest{
		Name: "my-agent", IdentityProvider: "my-users", RoleArn: "acs:ram::1:role/my-agent", SessionBindingEnabled: new(true),
		AllowedReturnURLs: []string{identitytest.DefaultReturnURL},
	})
	require.NoError(t, err)
	_, err = plane.CreateAPIKeyProvider(ctx, &control.APIKeyProvider{Name: "my-key", APIKey: identity.NewSecret("first")})
	require.NoError(t, err)

	agent, err := workload.New(workload.Config{Client: client, Name: "my-agent"})
	require.NoError(t, err)
	defer agent.Close()
	key := credentials.NewAPIKeySource(agent, credentials.APIKeyConfig{Provider: "my-key"})
	user := identity.NewContext(ctx, identity.Caller{UserToken: cloud.IDToken("alice")})
	k, err := key.Credential(user)
	require.NoError(t, err)
	require.Equal(t, "first", k.Key.Reveal())

	// A changed key is got by a caller who has not one yet.
	require.NoError(t, plane.UpdateAPIKeyProvider(ctx, &control.APIKeyProvider{Name: "my-key", APIKey: identity.NewSecret("second")}))
	agent.Purge()
	k, err = key.Credential(user)
	require.NoError(t, err)
	require.Equal(t, "second", k.Key.Reveal())

	// Without its identity provider the agent acts for nobody any more.
	require.NoError(t, plane.DeleteIdentityProvider(ctx, "my-users"))
	agent.Purge()
	_, err = key.Credential(user)
	require.ErrorIs(t, err, identity.ErrInvalidUserToken)
	for _, c := range cloud.Calls() {
		require.NotContains(t, fmt.Sprint(c.Params), "first")
		require.NotContains(t, fmt.Sprint(c.Params), "second")
	}
}

func TestResources(t *testing.T) {
	cloud, _, plane := newCloud(t)
	ctx := t.Context()
	w, err := plane.CreateWorkloadIdentity(ctx, &identity.CreateWorkloadIdentityRequest{Name: "w", Description: "one", RoleArn: "acs:ram::1:role/r"})
	require.NoError(t, err)
	require.True(t, strings.HasSuffix(w.Arn, "/workloadidentity/w"))
	_, err = plane.CreateWorkloadIdentity(ctx, &identity.CreateWorkloadIdentityRequest{Name: "w"})
	require.ErrorIs(t, err, identity.ErrAlreadyExists)
	_, err = plane.CreateWorkloadIdentity(ctx, &identity.CreateWorkloadIdentityRequest{Name: "x", IdentityProvider: "none"})
	require.ErrorIs(t, err, identity.ErrNotFound)
	require.NoError(t, plane.UpdateWorkloadIdentity(ctx, &control.WorkloadIdentityUpdate{
		Name: "w", SessionBindingEnabled: new(true), AllowedReturnURLs: []string{"https://example.com/cb"},
	}))
	w, err = plane.WorkloadIdentity(ctx, "w")
	require.NoError(t, err)
	require.True(t, w.SessionBindingEnabled)
	require.Equal(t, []string{"https://example.com/cb"}, w.AllowedReturnURLs)
	require.Equal(t, "one", w.Description, "what was not sent is left")
	require.Equal(t, "acs:ram::1:role/r", w.RoleArn)

	p, err := plane.CreateOAuth2Provider(ctx, &control.OAuth2Provider{
		Name: "o", Vendor: control.VendorCustom, Description: "d",
		Config: control.OAuth2Application{ClientID: "c", ClientSecret: identity.NewSecret("PLANTED"), DiscoveryURL: cloud.Issuer() + "/.well-known/openid-configuration"},
	})
	require.NoError(t, err)
	require.True(t, strings.HasPrefix(p.CallbackURL, cloud.URL()+"/oauth2/callback/"))
	require.Equal(t, "c", p.Config.ClientID)
	require.True(t, p.Config.ClientSecret.IsZero())
	require.NoError(t, plane.UpdateOAuth2Provider(ctx, &control.OAuth2Provider{Name: "o", Description: "e"}))
	p, err = plane.OAuth2Provider(ctx, "o", "default")
	require.NoError(t, err)
	require.Equal(t, "e", p.Description)
	require.NotEmpty(t, p.Config.DiscoveryURL)
	_, err = plane.CreateOAuth2Provider(ctx, &control.OAuth2Provider{
		Name: "bad", Vendor: control.VendorCustom, Config: control.OAuth2Application{ClientID: "c", DiscoveryURL: cloud.URL() + "/nothing/.well-known/openid-configuration"},
	})
	require.ErrorContains(t, err, "InvalidOAuthDiscoveryURL")
	aliyun, err := plane.CreateOAuth2Provider(ctx, &control.OAuth2Provider{Name: "a", Vendor: control.VendorAliyun, Config: control.OAuth2Application{ClientID: "c"}})
	require.NoError(t, err, "the service knows this vendor's endpoints")
	require.Equal(t, control.VendorAliyun, aliyun.Vendor)
	_, err = plane.OAuth2Provider(ctx, "o", "another-vault")
	require.ErrorIs(t, err, identity.ErrNotFound)

	v, err := plane.TokenVault(ctx, "default")
	require.NoError(t, err)
	require.Equal(t, "SERVICE_MANAGED_KEY", v.Encryption.KeyType)
	for v, err := range plane.TokenVaults(ctx, nil) {
		require.NoError(t, err)
		require.Equal(t, "default", v.Name)
	}

	require.NoError(t, plane.DeleteOAuth2Provider(ctx, "o", ""))
	require.NoError(t, plane.DeleteOAuth2Provider(ctx, "a", ""))
	require.NoError(t, plane.DeleteWorkloadIdentity(ctx, "w"))
	for _, err := range []error{
		plane.DeleteOAuth2Provider(ctx, "o", ""), plane.DeleteWorkloadIdentity(ctx, "w"), plane.DeleteAPIKeyProvider(ctx, "none", ""), plane.DeleteIdentityProvider(ctx, "none"),
	} {
		require.ErrorIs(t, err, identity.ErrNotFound)
	}
}

// Long lists come in pages, each object once.
func TestPages(t *testing.T) {
	_, _, plane := newCloud(t)
	for i := range 45 {
		_, err := plane.CreateAPIKeyProvider(t.Context(), &control.APIKeyProvider{Name: fmt.Sprintf("key-%02d", i), APIKey: identity.NewSecret("k")})
		require.NoError(t, err)
	}
	for _, page := range []*control.Page{nil, {Size: 7}, {Size: 100}} {
		seen := map[string]bool{}
		for p, err := range plane.APIKeyProviders(t.Context(), "", page) {
			require.NoError(t, err)
			require.False(t, seen[p.Name])
			seen[p.Name] = true
		}
		require.Len(t, seen, 46) // and the cloud's own
	}
	for _, page := range []*control.Page{{Size: 101}, {Token: "none"}} {
		for _, err := range plane.APIKeyProviders(t.Context(), "", page) {
			require.Error(t, err)
		}
	}
}
