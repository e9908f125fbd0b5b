// SPDX-License-Identifier: Apache-2.0

package acs

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// vector is one recorded request of an official client; testdata/vectors has
// one file for each operation.
type vector struct {
	Operation     string            `json:"operation"`
	Product       string            `json:"product"`
	Version       string            `json:"version"`
	Style         string            `json:"style"`
	AuthType      string            `json:"auth_type"`
	ReqBodyType   string            `json:"req_body_type"`
	Variant       string            `json:"variant"`
	Credential    string            `json:"credential"`
	Input         map[string]any    `json:"input"`
	PathParams    map[string]string `json:"path_params"`
	Method        string            `json:"method"`
	Path          string            `json:"path"`
	Query         map[string]string `json:"query"`
	VaryingQuery  []string          `json:"varying_query"`
	Headers       map[string]string `json:"headers"`
	VaryingHeader []string          `json:"varying_headers"`
	SignedHeaders []string          `json:"signed_headers"`
	BodyRaw       string            `json:"body_raw"`
	Variants      []vector          `json:"variants"`
}

func vectorCredential(kind string) Credential {
	switch kind {
	case "access_key":
		return Credential{AccessKeyID: "LTAI-test-id", AccessKeySecret: "test-secret", ProviderName: "static_ak"}
	case "sts":
		return Credential{
			AccessKeyID: "LTAI-test-id", AccessKeySecret: "test-secret",
			SecurityToken: "CAIS-test/security+token==", ProviderName: "static_sts",
		}
	}
	return Credential{}
}

// requestOf turns a vector's plain input into a Request by the rules of its
// product alone.
func requestOf(t *testing.T, v vector) *Request {
	t.Helper()
	req := &Request{Action: v.Operation, Version: v.Version, Anonymous: v.AuthType == "Anonymous"}
	params := Params{}
	for name, value := range v.Input {
		if n, ok := value.(float64); ok {
			value = int64(n)
		}
		params.Set(name, value)
	}
	product, _, _ := strings.Cut(v.Product, "-")
	switch {
	case v.Style == "ROA":
		switch v.Operation {
		case "ApplyTempStorageLease":
			req.Path = "/" + EscapePath(v.PathParams["WorkspaceId"]) + "/datacenter"
			req.Form = params
		case "HighCodeDeploy":
			req.Path = "/openapi/" + EscapePath(v.PathParams["workspaceId"]) + "/highCode/publish"
			body, err := EncodeJSON(v.Input)
			require.NoError(t, err)
			req.JSON = body
		default:
			t.Fatalf("no rule for %s", v.Operation)
		}
	case product == "ims" || product == "ram" || product == "sts":
		req.Query = params
	default:
		req.Form = params
	}
	return req
}

func loadVectors(t *testing.T) []vector {
	t.Helper()
	files, err := filepath.Glob("testdata/vectors/*/*.json")
	require.NoError(t, err)
	require.Len(t, files, 49, "every recorded operation")
	var all []vector
	for _, f := range files {
		b, err := os.ReadFile(f)
		require.NoError(t, err)
		var v vector
		require.NoError(t, json.Unmarshal(b, &v), f)
		all = append(all, v)
		for _, w := range v.Variants {
			w.Operation, w.Product, w.Version = v.Operation, v.Product, v.Version
			w.Style, w.AuthType, w.ReqBodyType = v.Style, v.AuthType, v.ReqBodyType
			all = append(all, w)
		}
	}
	return all
}

// TestVectors sends every recorded call and compares what arrives at a real
// server with the recording: method, path, query, headers and body bytes.
func TestVectors(t *testing.T) {
	type received struct {
		method, path, query, body string
		header                    http.Header
	}
	got := make(chan received, 1)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		got <- received{r.Method, r.URL.EscapedPath(), r.URL.RawQuery, string(b), r.Header.Clone()}
		_, _ = io.WriteString(w, `{"RequestId":"r-1"}`)
	}))
	defer srv.Close()
	client, err := New(Config{Endpoint: srv.URL})
	require.NoError(t, err)

	for _, v := range loadVectors(t) {
		t.Run(v.Product+"/"+v.Operation+"/"+v.Variant, func(t *testing.T) {
			cred := vectorCredential(v.Credential)
			meta, err := client.Call(t.Context(), requestOf(t, v), func(context.Context) (Credential, error) {
				require.NotEqual(t, "Anonymous", v.AuthType, "an anonymous call must not ask for a credential")
				return cred, nil
			}, nil)
			require.NoError(t, err)
			require.Equal(t, "r-1", meta.RequestID)
			r := <-got

			require.Equal(t, v.Method, r.method)
			require.Equal(t, v.Path, r.path)
			require.Equal(t, v.BodyRaw, r.body)

			query := queryOf(t, r.query)
			for _, name := range v.VaryingQuery {
				require.NotEmpty(t, query[name], name)
				delete(query, name)
			}
			if v.Query == nil {
				v.Query = map[string]string{}
			}
			require.Equal(t, v.Query, query)

			headers := map[string]string{}
			for name, values := range r.header {
				headers[strings.ToLower(name)] = values[0]
			}
			for _, name := range v.VaryingHeader {
				if name != "host" { // net/http moves it out of the header
					require.Contains(t, headers, name)
				}
				delete(headers, name)
			}
			require.Equal(t, v.Headers, headers)

			auth := r.header.Get("Authorization")
			if v.AuthType == "Anonymous" {
				require.Empty(t, auth)
				return
			}
			_, rest, _ := strings.Cut(auth, "SignedHeaders=")
			names, _, _ := strings.Cut(rest, ",")
			require.Equal(t, v.SignedHeaders, strings.Split(names, ";"))
		})
	}
}

func queryOf(t *testing.T, raw string) map[string]string {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://x/?"+raw, nil)
	require.NoError(t, err)
	m := map[string]string{}
	for k, vs := range r.URL.Query() {
		require.Len(t, vs, 1)
		m[k] = vs[0]
	}
	return m
}

// TestSignatures recomputes every recorded signature.
func TestSignatures(t *testing.T) {
	b, err := os.ReadFile("testdata/vectors/signature.json")
	require.NoError(t, err)
	var samples []struct {
		Name            string            `json:"name"`
		AccessKeyID     string            `json:"access_key_id"`
		AccessKeySecret string            `json:"access_key_secret"`
		SecurityToken   string            `json:"security_token"`
		Method          string            `json:"method"`
		Path            string            `json:"path"`
		Query           map[string]string `json:"query"`
		SignedHeaders   map[string]string `json:"signed_headers"`
		Canonical       string            `json:"canonical_request"`
		Authorization   string            `json:"authorization"`
	}
	require.NoError(t, json.Unmarshal(b, &samples))
	require.NotEmpty(t, samples)
	for _, s := range samples {
		t.Run(s.Name, func(t *testing.T) {
			var f fields
			for name, value := range s.SignedHeaders {
				// What sign itself must add is left to it.
				if !slices.Contains([]string{"host", "x-acs-accesskey-id", "x-acs-security-token", "x-acs-credentials-provider"}, name) {
					f.add(http.CanonicalHeaderKey(name), name, value)
				}
			}
			host, hash := s.SignedHeaders["host"], s.SignedHeaders["x-acs-content-sha256"]
			query := Params(s.Query).canonical()
			sign(&f, s.Method, host, s.Path, query, hash, Credential{
				AccessKeyID: s.AccessKeyID, AccessKeySecret: s.AccessKeySecret, SecurityToken: s.SecurityToken,
				ProviderName: s.SignedHeaders["x-acs-credentials-provider"],
			})
			canonical, _ := canonicalRequest(nil, f, s.Method, host, s.Path, query, hash)
			require.Equal(t, s.Canonical, string(canonical))
			require.Equal(t, s.Authorization, f.header().Get("Authorization"))
		})
	}
}
