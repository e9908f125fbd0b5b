// SPDX-License-Identifier: Apache-2.0

package oss_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/aliyun/aliyun-oss-go-sdk/oss"
	"github.com/stretchr/testify/require"

	"github.com/agent-identity/agent-identity-go/credentials"
	"github.com/agent-identity/agent-identity-go/identity"
	"github.com/agent-identity/agent-identity-go/identity/identitytest"
	"github.com/agent-identity/agent-identity-go/tools"
	agentoss "github.com/agent-identity/agent-identity-go/tools/oss"
	"github.com/agent-identity/agent-identity-go/workload"
)

type storage struct {
	cloud *identitytest.Server
	src   *credentials.STSSource
}

func newStorage(t *testing.T) *storage {
	t.Helper()
	cloud := identitytest.NewServer(t)
	client, err := identity.New(cloud.ClientConfig())
	require.NoError(t, err)
	agent, err := workload.New(workload.Config{Client: client, Name: identitytest.Workload})
	require.NoError(t, err)
	cloud.AddBucket("alices", "cn-hangzhou", "alice")
	cloud.AddBucket("shared", "cn-beijing")
	return &storage{cloud, credentials.NewSTSSource(agent, credentials.STSConfig{})}
}

func (s *storage) as(t *testing.T, user string) context.Context {
	t.Helper()
	return identity.NewContext(t.Context(), identity.Caller{UserToken: s.cloud.IDToken(user)})
}

func (s *storage) config() agentoss.Config {
	return agentoss.Config{
		Bucket: "alices", Region: "cn-hangzhou", MaxSize: 1000, Endpoint: func(string) string { return s.cloud.OSSEndpoint() },
	}
}

func TestRead(t *testing.T) {
	s := newStorage(t)
	s.cloud.PutObject("alices", "reports/report 1+2.txt", []byte("quarterly numbers 季度数据"))
	s.cloud.PutObject("alices", "empty.txt", nil)
	s.cloud.PutObject("alices", "long.md", []byte(strings.Repeat("水", 1000)))
	s.cloud.PutObject("alices", "exact.txt", []byte(strings.Repeat("x", 1000)))
	s.cloud.PutObject("alices", "photo.png", []byte("\x89PNG\r\n\x1a\n\x00\x00"))
	s.cloud.PutObject("alices", "noise", []byte{0xff, 0xfe, 0x00})
	s.cloud.PutObject("shared", "hello.txt", []byte("hello"))
	client := agentoss.New(s.config())
	read := credentials.RequiresSTS(s.src, client.Read)
	ctx := s.as(t, "alice")

	o, err := read(ctx, agentoss.ReadInput{Key: "reports/report 1+2.txt"})
	require.NoError(t, err)
	require.Equal(t, "quarterly numbers 季度数据", o.Text)
	require.Equal(t, int64(len(o.Text)), o.Size)
	require.False(t, o.LastModified.IsZero())
	require.False(t, o.Truncated || o.Binary)

	o, err = read(ctx, agentoss.ReadInput{Key: "empty.txt"})
	require.NoError(t, err)
	require.Empty(t, o.Text)
	require.Zero(t, o.Size)

	o, err = read(ctx, agentoss.ReadInput{Key: "long.md"})
	require.NoError(t, err)
	require.True(t, o.Truncated)
	require.Equal(t, strings.Repeat("水", 333), o.Text, "cut between characters")
	require.Equal(t, int64(3000), o.Size)
	o, err = read(ctx, agentoss.ReadInput{Key: "exact.txt"})
	require.NoError(t, err)
	require.False(t, o.Truncated)

	for _, key := range []string{"photo.png", "noise"} {
		o, err = read(ctx, agentoss.ReadInput{Key: key})
		require.NoError(t, err)
		require.True(t, o.Binary, key)
		require.Empty(t, o.Text, key)
	}
	o, err = read(ctx, agentoss.ReadInput{Key: "hello.txt", Bucket: "shared", Region: "oss-cn-beijing"})
	require.NoError(t, err)
	require.Equal(t, "hello", o.Text)
	require.Equal(t, 1, s.cloud.Count("AssumeRoleForWorkloadIdentity"))
}

func TestReadFailures(t *testing.T) {
	s := newStorage(t)
	s.cloud.PutObject("alices", "a.txt", []byte("a"))
	read := credentials.RequiresSTS(s.src, agentoss.New(s.config()).Read)
	for name, c := range map[string]struct {
		user string
		in   agentoss.ReadInput
		want string
	}{
		"missing object": {"alice", agentoss.ReadInput{Key: "b.txt"}, "NoSuchKey"},
		"missing bucket": {"alice", agentoss.ReadInput{Key: "a.txt", Bucket: "nobodys"}, "NoSuchBucket"},
		"wrong region":   {"alice", agentoss.ReadInput{Key: "a.txt", Region: "cn-beijing"}, "oss-cn-hangzhou.aliyuncs.com"},
		"another's":      {"bob", agentoss.ReadInput{Key: "a.txt"}, "AccessDenied"},
		"no key":         {"alice", agentoss.ReadInput{}, "key is required"},
		"hostile region": {"alice", agentoss.ReadInput{Key: "a.txt", Region: "evil.example.com/"}, "region"},
		"hostile bucket": {"alice", agentoss.ReadInput{Key: "a.txt", Bucket: "../x"}, "bucket"},
	} {
		_, err := read(s.as(t, c.user), c.in)
		require.ErrorContains(t, err, c.want, name)
		require.NotErrorIs(t, err, credentials.ErrRejected, name)
	}
	cfg := s.config()
	cfg.Endpoint = func(string) string { return "http://oss.example.com" }
	_, err := credentials.RequiresSTS(s.src, agentoss.New(cfg).Read)(s.as(t, "alice"), agentoss.ReadInput{Key: "a.txt"})
	require.ErrorContains(t, err, "want https")
	_, err = credentials.RequiresSTS(s.src, agentoss.New(agentoss.Config{Region: "cn-hangzhou"}).Read)(s.as(t, "alice"), agentoss.ReadInput{Key: "a.txt"})
	require.ErrorContains(t, err, "bucket is not known")

	ctx, cancel := context.WithCancel(s.as(t, "alice"))
	_, err = s.src.Credential(ctx)
	require.NoError(t, err)
	cancel()
	_, err = read(ctx, agentoss.ReadInput{Key: "a.txt"})
	require.ErrorIs(t, err, context.Canceled)

	// Credentials that the service has ended are replaced, once.
	ctx = s.as(t, "alice")
	_, err = read(ctx, agentoss.ReadInput{Key: "a.txt"})
	require.NoError(t, err)
	sessions := s.cloud.Count("AssumeRoleForWorkloadIdentity")
	s.cloud.Advance(2e9 * 3600) // two hours, for the cloud alone
	ctx = s.as(t, "alice")
	_, err = read(ctx, agentoss.ReadInput{Key: "a.txt"})
	require.NoError(t, err)
	require.Greater(t, s.cloud.Count("AssumeRoleForWorkloadIdentity"), sessions)
}

func TestList(t *testing.T) {
	s := newStorage(t)
	for i := range 120 {
		s.cloud.PutObject("alices", fmt.Sprintf("many/%03d 号.txt", i), []byte("x"))
	}
	s.cloud.PutObject("alices", "one.txt", []byte("1"))
	list := credentials.RequiresSTS(s.src, agentoss.New(s.config()).List)
	l, err := list(s.as(t, "alice"), agentoss.ListInput{})
	require.NoError(t, err)
	require.Len(t, l.Objects, 100)
	require.True(t, l.More)
	require.Equal(t, "many/000 号.txt", l.Objects[0].Key)
	l, err = list(s.as(t, "alice"), agentoss.ListInput{Prefix: "one"})
	require.NoError(t, err)
	require.Equal(t, "one.txt", l.Objects[0].Key)
	require.False(t, l.More)
	_, err = list(s.as(t, "bob"), agentoss.ListInput{})
	require.ErrorContains(t, err, "AccessDenied")
}

// The local OSS takes what the official SDK signs, in both versions, and nothing
// that is signed another way.
func TestSignatureVersions(t *testing.T) {
	s := newStorage(t)
	ctx := s.as(t, "alice")
	cred, err := s.src.Credential(ctx)
	require.NoError(t, err)
	for name, version := range map[string]oss.AuthVersionType{"V1": oss.AuthV1, "V4": oss.AuthV4} {
		for wrong, secret := range map[bool]string{false: cred.AccessKeySecret.Reveal(), true: "wrong"} {
			client, err := oss.New(s.cloud.OSSEndpoint(), cred.AccessKeyID, secret, oss.SecurityToken(cred.SecurityToken.Reveal()),
				oss.AuthVersion(version), oss.Region("cn-hangzhou"))
			require.NoError(t, err)
			bucket, err := client.Bucket("alices")
			require.NoError(t, err)
			err = bucket.PutObject("dir/一 file+.txt", strings.NewReader("text"), oss.ContentType("text/plain"))
			if wrong {
				require.ErrorContains(t, err, "SignatureDoesNotMatch", name)
				continue
			}
			require.NoError(t, err, name)
			meta, err := bucket.GetObjectDetailedMeta("dir/一 file+.txt")
			require.NoError(t, err, name)
			require.Equal(t, "4", meta.Get("Content-Length"))
			page, err := bucket.ListObjectsV2(oss.Prefix("dir/"), oss.MaxKeys(5))
			require.NoError(t, err, name)
			require.Len(t, page.Objects, 1)
			old, err := bucket.ListObjects(oss.Prefix("dir/"))
			require.NoError(t, err, name)
			require.Len(t, old.Objects, 1)
		}
	}
	for token, want := range map[string]string{"": "InvalidSecurityToken", "wrong": "InvalidSecurityToken"} {
		client, err := oss.New(s.cloud.OSSEndpoint(), cred.AccessKeyID, cred.AccessKeySecret.Reveal(), oss.SecurityToken(token), oss.AuthVersion(oss.AuthV1))
		require.NoError(t, err)
		bucket, err := client.Bucket("alices")
		require.NoError(t, err)
		_, err = bucket.GetObject("x")
		require.ErrorContains(t, err, want)
	}
}

// As a tool, the credential is nowhere in the schema.
func TestAsTool(t *testing.T) {
	s := newStorage(t)
	s.cloud.PutObject("alices", "a.txt", []byte("hello"))
	tool := tools.New("get_oss_object", "Reads a file.", credentials.RequiresSTS(s.src, agentoss.New(s.config()).Read))
	require.NotContains(t, strings.ToLower(string(tool.Schema())), "secret")
	text, err := tool.Call(s.as(t, "alice"), `{"key":"a.txt"}`)
	require.NoError(t, err)
	require.Contains(t, text, `"text":"hello"`)
}
