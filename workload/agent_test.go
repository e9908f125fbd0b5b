// SPDX-License-Identifier: Apache-2.0

package workload_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/agent-identity/agent-identity-go/identity"
	"github.com/agent-identity/agent-identity-go/identity/identitytest"
	"github.com/agent-identity/agent-identity-go/workload"
)

func newClient(t *testing.T, cloud *identitytest.Server) *identity.Client {
	t.Helper()
	client, err := identity.New(cloud.ClientConfig())
	require.NoError(t, err)
	return client
}

func newAgent(t *testing.T, cfg workload.Config) (*workload.Agent, *identitytest.Server) {
	t.Helper()
	cloud := identitytest.NewServer(t)
	cfg.Client = newClient(t, cloud)
	if cfg.Name == "" && !cfg.CreateIfMissing {
		cfg.Name = identitytest.Workload
	}
	agent, err := workload.New(cfg)
	require.NoError(t, err)
	return agent, cloud
}

func TestOneTokenForEachCaller(t *testing.T) {
	agent, cloud := newAgent(t, workload.Config{})
	callers := []identity.Caller{
		{},
		{UserID: "alice"},
		{UserToken: cloud.IDToken("alice")},
		{UserToken: cloud.IDToken("bob")},
		{UserToken: cloud.IDToken("alice"), UserID: "bob"}, // the token wins
	}
	tokens := make([]identity.Secret, len(callers))
	for i, c := range callers {
		ctx := identity.NewContext(t.Context(), c)
		var wg sync.WaitGroup
		for range 50 {
			wg.Go(func() {
				token, err := agent.Token(ctx)
				if err != nil || token.IsZero() {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		var err error
		tokens[i], err = agent.Token(ctx)
		require.NoError(t, err)
		for j := range i {
			require.False(t, tokens[j].Equal(tokens[i]), "callers %d and %d share a token", i, j)
		}
	}
	require.Equal(t, 1, cloud.Count("GetWorkloadAccessToken"))
	require.Equal(t, 1, cloud.Count("GetWorkloadAccessTokenForUserId", "alice"))
	require.Equal(t, 2, cloud.Count("GetWorkloadAccessTokenForJWT", "alice"), "one for each ID token")
	require.Equal(t, 1, cloud.Count("GetWorkloadAccessTokenForJWT", "bob"))
}

func TestSessionsAreShared(t *testing.T) {
	agent, cloud := newAgent(t, workload.Config{})
	ctx := identity.NewContext(t.Context(), identity.Caller{UserToken: cloud.IDToken("alice")})
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			if _, err := agent.Session(ctx, workload.SessionOptions{}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	cred, err := agent.Session(ctx, workload.SessionOptions{})
	require.NoError(t, err)
	require.WithinDuration(t, time.Now().Add(time.Hour), cred.Expiration, 10*time.Second)
	require.Equal(t, 1, cloud.Count("AssumeRoleForWorkloadIdentity"))
	require.Equal(t, 1, cloud.Count("GetWorkloadAccessTokenForJWT"))

	narrow, err := agent.Session(ctx, workload.SessionOptions{Policy: `{"Version":"1","Statement":[]}`, Duration: 15 * time.Minute})
	require.NoError(t, err)
	require.NotEqual(t, cred.AccessKeyID, narrow.AccessKeyID, "another policy is another session")

	// A late complaint about an old session leaves the new one.
	agent.RejectSession(ctx, workload.SessionOptions{}, cred)
	renewed, err := agent.Session(ctx, workload.SessionOptions{})
	require.NoError(t, err)
	require.NotEqual(t, cred.AccessKeyID, renewed.AccessKeyID)
	agent.RejectSession(ctx, workload.SessionOptions{}, cred)
	again, err := agent.Session(ctx, workload.SessionOptions{})
	require.NoError(t, err)
	require.Equal(t, renewed.AccessKeyID, again.AccessKeyID)
}

// The service's clock runs ahead: the token that is kept here has ended there.
func TestATokenThatTheServiceRefusesIsRenewed(t *testing.T) {
	agent, cloud := newAgent(t, workload.Config{})
	ctx := identity.NewContext(t.Context(), identity.Caller{UserID: "u"})
	_, err := agent.Token(ctx)
	require.NoError(t, err)
	cloud.Advance(6 * time.Minute)
	_, err = agent.Session(ctx, workload.SessionOptions{})
	require.NoError(t, err)
	require.Equal(t, 2, cloud.Count("GetWorkloadAccessTokenForUserId"))
}

func TestUserTokens(t *testing.T) {
	agent, cloud := newAgent(t, workload.Config{})
	for name, token := range map[string]string{
		"unsigned":    "eyJhbGciOiJub25lIn0.eyJzdWIiOiJhbGljZSJ9.",
		"not a JWT":   "alice",
		"other cloud": identitytest.NewServer(t).IDToken("alice").Reveal(),
	} {
		_, err := agent.Token(identity.NewContext(t.Context(), identity.Caller{UserToken: identity.NewSecret(token)}))
		require.ErrorIs(t, err, identity.ErrInvalidUserToken, name)
		require.NotContains(t, err.Error(), token)
	}
	old := cloud.IDToken("alice")
	cloud.Advance(2 * time.Hour)
	_, err := agent.Token(identity.NewContext(t.Context(), identity.Caller{UserToken: old}))
	require.ErrorIs(t, err, identity.ErrInvalidUserToken)
}

func TestReadyMadeToken(t *testing.T) {
	t.Setenv(workload.EnvAccessToken, "from-the-environment")
	agent, cloud := newAgent(t, workload.Config{})
	token, err := agent.Token(t.Context())
	require.NoError(t, err)
	require.Equal(t, "from-the-environment", token.Reveal())
	token, err = agent.Token(identity.NewContext(t.Context(), identity.Caller{UserID: "u"}))
	require.NoError(t, err)
	require.NotEqual(t, "from-the-environment", token.Reveal(), "never for a user")
	require.Equal(t, 1, cloud.Count("GetWorkloadAccessTokenForUserId"))
}

func TestTokenLifeZeroKeepsNothing(t *testing.T) {
	agent, cloud := newAgent(t, workload.Config{TokenLife: new(time.Duration(0))})
	for range 3 {
		_, err := agent.Token(t.Context())
		require.NoError(t, err)
	}
	require.Equal(t, 3, cloud.Count("GetWorkloadAccessToken"))
}

func TestWhereTheNameComesFrom(t *testing.T) {
	t.Chdir(t.TempDir())
	t.Setenv(workload.EnvName, "")
	cloud := identitytest.NewServer(t)
	client := newClient(t, cloud)

	_, err := workload.New(workload.Config{Client: client})
	require.ErrorIs(t, err, workload.ErrNoName)

	require.NoError(t, os.WriteFile(".config.json", []byte(`{"workload_identity_name":"from-file","role_arn":"r"}`), 0o600))
	name := func(cfg workload.Config) string {
		cfg.Client = client
		agent, err := workload.New(cfg)
		require.NoError(t, err)
		n, err := agent.Name(t.Context())
		require.NoError(t, err)
		return n
	}
	require.Equal(t, "from-file", name(workload.Config{}))
	require.Equal(t, "from-file", name(workload.Config{CreateIfMissing: true}), "nothing is missing")
	t.Setenv(workload.EnvName, "from-env")
	require.Equal(t, "from-env", name(workload.Config{}))
	require.Equal(t, "from-config", name(workload.Config{Name: "from-config"}))
	require.Empty(t, cloud.Calls())

	t.Setenv(workload.EnvName, "")
	for _, broken := range []string{`{`, `null`, `[]`, `{"workload_identity_name":7}`} {
		require.NoError(t, os.WriteFile(".config.json", []byte(broken), 0o600))
		_, err := workload.New(workload.Config{Client: client, CreateIfMissing: true})
		require.ErrorContains(t, err, ".config.json", broken)
		kept, err := os.ReadFile(".config.json")
		require.NoError(t, err)
		require.Equal(t, broken, string(kept), "a file that cannot be read is left alone")
	}
}

func TestCreateIfMissing(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	t.Setenv(workload.EnvName, "")
	file := filepath.Join(dir, "record.json")
	require.NoError(t, os.WriteFile(file, []byte(`{"role_arn":"keep <me>"}`), 0o600))
	agent, cloud := newAgent(t, workload.Config{CreateIfMissing: true, ConfigFile: file})

	names := make(chan string, 50)
	for range 50 {
		go func() {
			n, err := agent.Name(t.Context())
			if err != nil {
				t.Error(err)
			}
			names <- n
		}()
	}
	name := <-names
	require.Regexp(t, `^workload-[0-9a-f]{8}$`, name)
	for range 49 {
		require.Equal(t, name, <-names)
	}
	require.Equal(t, 1, cloud.Count("CreateWorkloadIdentity"))

	b, err := os.ReadFile(file)
	require.NoError(t, err)
	var record map[string]string
	require.NoError(t, json.Unmarshal(b, &record))
	require.Equal(t, map[string]string{"role_arn": "keep <me>", "workload_identity_name": name}, record)
	info, err := os.Stat(file)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm())
	files, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, files, 1, "no temporary file is left")

	// The next process finds it, creates nothing and writes nothing.
	old := time.Now().Add(-time.Hour).Truncate(time.Second)
	require.NoError(t, os.Chtimes(file, old, old))
	again, err := workload.New(workload.Config{Client: agent.Client(), CreateIfMissing: true, ConfigFile: file})
	require.NoError(t, err)
	n, err := again.Name(t.Context())
	require.NoError(t, err)
	require.Equal(t, name, n)
	info, err = os.Stat(file)
	require.NoError(t, err)
	require.Equal(t, old, info.ModTime())
	require.Equal(t, 1, cloud.Count("CreateWorkloadIdentity"))
}

func TestUseSTS(t *testing.T) {
	signers := func(t *testing.T, cfg workload.Config) []string {
		agent, cloud := newAgent(t, cfg)
		ctx := identity.NewContext(t.Context(), identity.Caller{UserID: "u"})
		require.NoError(t, agent.Do(ctx, func(token identity.Secret, signer *identity.STSCredentials) error {
			_, err := agent.Client().GetResourceAPIKey(ctx, &identity.GetResourceAPIKeyRequest{
				WorkloadAccessToken: token, Provider: identitytest.APIKeyProvider, Signer: signer,
			})
			return err
		}))
		var found []string
		for _, c := range cloud.Calls() {
			if c.Op == "GetResourceAPIKey" {
				found = append(found, c.Signer[:4])
			}
		}
		return found
	}
	require.Equal(t, []string{"STS."}, signers(t, workload.Config{}))
	require.Equal(t, []string{"LTAI"}, signers(t, workload.Config{DisableSTS: true}))
	t.Setenv(workload.EnvUseSTS, "false")
	require.Equal(t, []string{"LTAI"}, signers(t, workload.Config{}))
	t.Setenv(workload.EnvUseSTS, "true")
	require.Equal(t, []string{"STS."}, signers(t, workload.Config{}))
}

// An STS session that ended by the service's clock is renewed, once.
func TestExpiredSignerIsRenewed(t *testing.T) {
	agent, cloud := newAgent(t, workload.Config{})
	ctx := identity.NewContext(t.Context(), identity.Caller{UserID: "u"})
	call := func() error {
		return agent.Do(ctx, func(token identity.Secret, signer *identity.STSCredentials) error {
			_, err := agent.Client().GetResourceAPIKey(ctx, &identity.GetResourceAPIKeyRequest{
				WorkloadAccessToken: token, Provider: identitytest.APIKeyProvider, Signer: signer,
			})
			return err
		})
	}
	require.NoError(t, call())
	agent.RejectToken(ctx, identity.NewSecret("another"))
	require.NoError(t, call())
	require.Equal(t, 1, cloud.Count("AssumeRoleForWorkloadIdentity"))
}

// What was made with a rejected token is renewed before its next use, and used
// on where that fails.
func TestRejectionReachesWhatWasBuiltOnIt(t *testing.T) {
	for _, down := range []bool{false, true} {
		agent, cloud := newAgent(t, workload.Config{})
		ctx := identity.NewContext(t.Context(), identity.Caller{UserID: "u"})
		other := identity.NewContext(t.Context(), identity.Caller{UserID: "v"})
		token, err := agent.Token(ctx)
		require.NoError(t, err)
		cred, err := agent.Session(ctx, workload.SessionOptions{})
		require.NoError(t, err)
		theirs, err := agent.Session(other, workload.SessionOptions{})
		require.NoError(t, err)

		agent.RejectToken(other, token) // not theirs: nothing happens
		agent.RejectToken(ctx, token)
		if down {
			cloud.Inject("AssumeRoleForWorkloadIdentity", identitytest.ServiceError(400, "InvalidParameter"))
		}
		again, err := agent.Session(ctx, workload.SessionOptions{})
		require.NoError(t, err)
		require.Equal(t, down, cred.AccessKeyID == again.AccessKeyID)
		require.Equal(t, 2, cloud.Count("GetWorkloadAccessTokenForUserId", "u"))

		same, err := agent.Session(other, workload.SessionOptions{})
		require.NoError(t, err)
		require.Equal(t, theirs.AccessKeyID, same.AccessKeyID)
	}
}
