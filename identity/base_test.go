// SPDX-License-Identifier: Apache-2.0

package identity_test

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aliyun/credentials-go/credentials"
	"github.com/stretchr/testify/require"
)

var (
	// upstreamTLS is what the providers of credentials-go trust in this test
	// binary: they take no certificates but the system's.
	upstreamTLS tls.Certificate
	// up is everything that hands out base credentials: STS over TLS, a
	// credentials URI and, as the proxy of all that is not on loopback, the
	// instance metadata.
	up    = &upstream{}
	plain *httptest.Server
)

func TestMain(m *testing.M) {
	srv := httptest.NewUnstartedServer(nil)
	srv.StartTLS()
	upstreamTLS = srv.TLS.Certificates[0] // for 127.0.0.1, signed by itself
	srv.Close()
	plain = httptest.NewServer(up)
	_ = os.Setenv("HTTP_PROXY", plain.URL) // read once, at the first request
	dir, err := os.MkdirTemp("", "identity")
	if err == nil {
		roots := filepath.Join(dir, "roots.pem")
		err = os.WriteFile(roots, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: srv.Certificate().Raw}), 0o600)
		_ = os.Setenv("SSL_CERT_FILE", roots)
		_ = os.Setenv("SSL_CERT_DIR", dir)
	}
	if err != nil {
		panic(err)
	}
	code := m.Run()
	_ = os.RemoveAll(dir)
	os.Exit(code)
}

type upstream struct {
	calls atomic.Int32
	fail  atomic.Bool
}

func (u *upstream) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	expires := time.Now().Add(time.Hour).UTC().Format(time.RFC3339)
	set := map[string]any{
		"AccessKeyId": "STS.upstream", "AccessKeySecret": "s", "SecurityToken": "t", "Expiration": expires,
		"Code": "Success", "SessionAccessKeyId": "STS.upstream", "SessionAccessKeySecret": "s",
	}
	if r.Method == http.MethodPut { // the token of the metadata service
		_, _ = io.WriteString(w, "metadata-token")
		return
	}
	u.calls.Add(1)
	time.Sleep(20 * time.Millisecond)
	if u.fail.Load() {
		w.WriteHeader(http.StatusInternalServerError)
		_, _ = io.WriteString(w, "upstream quotes PLANTED-SECRET")
		return
	}
	if r.TLS != nil {
		_ = json.NewEncoder(w).Encode(map[string]any{"Credentials": set, "SessionAccessKey": set})
		return
	}
	_ = json.NewEncoder(w).Encode(set)
}

// 100 concurrent first callers ask each kind of provider of credentials-go
// once. As shipped, they ask 100 times, and race.
func TestGoal14EveryKindOfBaseCredential(t *testing.T) {
	secure := httptest.NewUnstartedServer(up)
	secure.TLS = &tls.Config{Certificates: []tls.Certificate{upstreamTLS}}
	secure.StartTLS()
	defer secure.Close()
	sts := strings.TrimPrefix(secure.URL, "https://")

	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o700))
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
		return path
	}
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	der, err := x509.MarshalPKCS8PrivateKey(key)
	require.NoError(t, err)
	keyFile := write("key.pem", "-----BEGIN PRIVATE KEY-----\n"+base64.StdEncoding.EncodeToString(der)+"\n-----END PRIVATE KEY-----\n")
	tokenFile := write("oidc-token", "oidc")
	marker := filepath.Join(dir, "ran")
	helper := write("helper.sh", "#!/bin/sh\necho x >> "+marker+"\nsleep 0.05\n"+
		`echo '{"mode":"AK","access_key_id":"LTAI-process","access_key_secret":"s"}'`+"\n")
	cli := func(profile string) map[string]string {
		return map[string]string{"ALIBABA_CLOUD_CONFIG_FILE": write("config.json", `{"current":"default","profiles":[`+profile+`]}`)}
	}

	config := func() *credentials.Config { return new(credentials.Config) }
	for _, c := range []struct {
		name  string
		cfg   *credentials.Config // nil for the default chain
		env   map[string]string
		id    string // access key id that signs; "" for a bearer token
		calls int32
	}{
		{"access key", config().SetType("access_key").SetAccessKeyId("LTAI-static").SetAccessKeySecret("s"), nil, "LTAI-static", 0},
		{"sts", config().SetType("sts").SetAccessKeyId("STS.static").SetAccessKeySecret("s").SetSecurityToken("t"), nil, "STS.static", 0},
		{"bearer", config().SetType("bearer").SetBearerToken("b"), nil, "", 0},
		{"credentials URI", config().SetType("credentials_uri").SetURLCredential(plain.URL), nil, "STS.upstream", 1},
		{"RAM role", config().SetType("ram_role_arn").SetAccessKeyId("LTAI").SetAccessKeySecret("s").SetRoleArn("acs:ram::1:role/r").SetSTSEndpoint(sts), nil, "STS.upstream", 1},
		{"OIDC role", config().SetType("oidc_role_arn").SetRoleArn("acs:ram::1:role/r").SetOIDCProviderArn("acs:ram::1:oidc-provider/p").SetOIDCTokenFilePath(tokenFile).SetSTSEndpoint(sts), nil, "STS.upstream", 1},
		{"RSA key pair", config().SetType("rsa_key_pair").SetPublicKeyId("id").SetPrivateKeyFile(keyFile).SetHost(sts), nil, "STS.upstream", 1},
		{"instance role", config().SetType("ecs_ram_role").SetRoleName("r"), map[string]string{"ALIBABA_CLOUD_ECS_METADATA_DISABLED": "false"}, "STS.upstream", 1},
		{"chain: environment", nil, map[string]string{"ALIBABA_CLOUD_ACCESS_KEY_ID": "LTAI-env", "ALIBABA_CLOUD_ACCESS_KEY_SECRET": "s"}, "LTAI-env", 0},
		{"chain: CLI profile", nil, cli(`{"name":"default","mode":"AK","access_key_id":"LTAI-cli","access_key_secret":"s"}`), "LTAI-cli", 0},
		{"chain: process", nil, map[string]string{}, "LTAI-process", 0},
		{"chain: credentials file", nil, map[string]string{"ALIBABA_CLOUD_CREDENTIALS_FILE": write("credentials", "[default]\nenable = true\ntype = access_key\naccess_key_id = LTAI-file\naccess_key_secret = s\n")}, "LTAI-file", 0},
		{"chain: credentials URI", nil, map[string]string{"ALIBABA_CLOUD_CREDENTIALS_URI": plain.URL}, "STS.upstream", 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			clearChain(t)
			if c.name == "chain: process" {
				c.env = cli(`{"name":"default","mode":"External","process_command":"/bin/sh ` + helper + `"}`)
			}
			for name, value := range c.env {
				t.Setenv(name, value)
			}
			var cred credentials.Credential
			if c.cfg != nil {
				var err error
				cred, err = credentials.NewCredential(c.cfg)
				require.NoError(t, err)
			}
			var signed sync.Map
			client := newClientWith(t, cred, func(w http.ResponseWriter, r *http.Request) {
				_, rest, _ := strings.Cut(r.Header.Get("Authorization"), "Credential=")
				id, _, _ := strings.Cut(rest, ",")
				signed.Store(id, true)
				_, _ = io.WriteString(w, `{"WorkloadAccessToken":"t"}`)
			})
			up.calls.Store(0)
			var wg sync.WaitGroup
			for range 100 {
				wg.Go(func() {
					if _, err := client.GetWorkloadAccessToken(t.Context(), "agent"); err != nil {
						t.Error(err, errors.Unwrap(err))
					}
				})
			}
			wg.Wait()
			require.Equal(t, c.calls, up.calls.Load(), "upstream calls")
			ids := []any{}
			signed.Range(func(id, _ any) bool { ids = append(ids, id); return true })
			require.Equal(t, []any{c.id}, ids)
		})
	}
	ran, err := os.ReadFile(marker)
	require.NoError(t, err)
	require.Equal(t, "x\n", string(ran), "the process ran once")
}

// clearChain leaves the default chain nothing to find, and no home directory.
func clearChain(t *testing.T) {
	t.Helper()
	for _, name := range []string{
		"ALIBABA_CLOUD_ACCESS_KEY_ID", "ALIBABA_CLOUD_ACCESS_KEY_SECRET", "ALIBABA_CLOUD_SECURITY_TOKEN", "ALIBABA_CLOUD_CREDENTIALS_URI",
		"ALIBABA_CLOUD_ROLE_ARN", "ALIBABA_CLOUD_OIDC_PROVIDER_ARN", "ALIBABA_CLOUD_OIDC_TOKEN_FILE", "ALIBABA_CLOUD_CONFIG_FILE", "ALIBABA_CLOUD_CREDENTIALS_FILE",
	} {
		t.Setenv(name, "")
	}
	t.Setenv("ALIBABA_CLOUD_ECS_METADATA_DISABLED", "true")
	t.Setenv("HOME", t.TempDir())
}

// The chain of credentials-go asks nothing but its last provider again after it
// has failed once; ours asks all of it. And neither its words nor those of what
// it asked are in the error.
func TestBaseCredentialFailureHealsAndTellsNoSecret(t *testing.T) {
	clearChain(t)
	up.fail.Store(true)
	defer up.fail.Store(false)
	dir := t.TempDir()
	broken := filepath.Join(dir, "config.json")
	require.NoError(t, os.WriteFile(broken, []byte("access_key_secret = PLANTED-SECRET"), 0o600))
	t.Setenv("ALIBABA_CLOUD_CONFIG_FILE", broken)
	t.Setenv("ALIBABA_CLOUD_CREDENTIALS_URI", plain.URL)
	client := newClientWith(t, nil, func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, `{"WorkloadAccessToken":"t"}`)
	})
	_, err := client.GetWorkloadAccessToken(t.Context(), "agent")
	require.ErrorContains(t, err, "ALIBABA_CLOUD_ACCESS_KEY_ID is not set")
	require.ErrorContains(t, err, broken)
	require.NotContains(t, fmt.Sprintf("%v %+v %s", err, err, err), "PLANTED-SECRET")

	// The CLI profile, which comes long before the URI, is there now.
	require.NoError(t, os.WriteFile(broken, []byte(`{"current":"d","profiles":[{"name":"d","mode":"AK","access_key_id":"LTAI","access_key_secret":"s"}]}`), 0o600))
	_, err = client.GetWorkloadAccessToken(t.Context(), "agent")
	require.NoError(t, err)

	given, err := credentials.NewCredential(new(credentials.Config).SetType("credentials_uri").SetURLCredential(plain.URL))
	require.NoError(t, err)
	client = newClientWith(t, given, func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, `{"WorkloadAccessToken":"t"}`)
	})
	_, err = client.GetWorkloadAccessToken(t.Context(), "agent")
	require.ErrorContains(t, err, "Config.Credential")
	require.NotContains(t, err.Error(), "PLANTED-SECRET")
	up.fail.Store(false)
	_, err = client.GetWorkloadAccessToken(t.Context(), "agent")
	require.NoError(t, err)
}
