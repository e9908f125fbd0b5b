// SPDX-License-Identifier: Apache-2.0

package oss_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/aliyun/aliyun-oss-go-sdk/oss"
	"github.com/stretchr/testify/require"

	"github.com/agent-identity/agent-identity-go/credentials"
	"github.com/agent-identity/agent-identity-go/identity"
	"github.com/agent-identity/agent-identity-go/identity/identitytest"
	agentoss "github.com/agent-identity/agent-identity-go/tools/oss"
	"github.com/agent-identity/agent-identity-go/workload"
)

func TestCredentialsProvider(t *testing.T) {
	cloud := identitytest.NewServer(t)
	client, err := identity.New(cloud.ClientConfig())
	require.NoError(t, err)
	agent, err := workload.New(workload.Config{Client: client, Name: identitytest.Workload})
	require.NoError(t, err)
	src := credentials.NewSTSSource(agent, credentials.STSConfig{})

	// What the SDK sends: the key id and the token of one and the same set.
	var ids, tokens []string
	storage := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, rest, _ := strings.Cut(r.Header.Get("Authorization"), " ")
		id, _, _ := strings.Cut(rest, ":")
		ids, tokens = append(ids, id), append(tokens, r.Header.Get("X-Oss-Security-Token"))
		_, _ = io.WriteString(w, "hello")
	}))
	defer storage.Close()
	read := func(ctx context.Context, src credentials.Source[credentials.STSCredential]) error {
		client, err := oss.New(storage.URL, "", "", oss.SetCredentialsProvider(agentoss.CredentialsProvider(ctx, src)), oss.UseCname(true))
		require.NoError(t, err)
		bucket, err := client.Bucket("bucket")
		require.NoError(t, err)
		body, err := bucket.GetObject("report.txt")
		if err != nil {
			return err
		}
		defer body.Close()
		b, err := io.ReadAll(body)
		require.Equal(t, "hello", string(b))
		return err
	}
	alice := identity.NewContext(t.Context(), identity.Caller{UserToken: cloud.IDToken("alice")})
	bob := identity.NewContext(t.Context(), identity.Caller{UserToken: cloud.IDToken("bob")})
	for _, ctx := range []context.Context{alice, bob, alice} {
		require.NoError(t, read(ctx, src))
	}
	require.Equal(t, ids[0], ids[2], "kept")
	require.NotEqual(t, ids[0], ids[1], "each user has their own")
	cred, err := src.Credential(alice)
	require.NoError(t, err)
	require.Equal(t, cred.AccessKeyID, ids[0])
	require.Equal(t, cred.SecurityToken.Reveal(), tokens[0])

	src.Reject(alice, cred)
	require.NoError(t, read(alice, src))
	require.NotEqual(t, ids[0], ids[3], "renewed by itself")
	require.Equal(t, 3, cloud.Count("AssumeRoleForWorkloadIdentity"))

	down := errors.New("down")
	failing := credentials.SourceFunc[credentials.STSCredential](func(context.Context) (credentials.STSCredential, error) {
		return credentials.STSCredential{}, down
	})
	require.ErrorIs(t, read(alice, failing), down)
	require.Len(t, ids, 4, "nothing is sent without credentials")
	require.Empty(t, agentoss.CredentialsProvider(alice, failing).GetCredentials().GetAccessKeyID())
	shown, err := agentoss.CredentialsProvider(alice, src).GetCredentialsE()
	require.NoError(t, err)
	require.NotContains(t, fmt.Sprintf("%v %+v %#v", shown, shown, shown), shown.GetAccessKeySecret())
}
