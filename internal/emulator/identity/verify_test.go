// SPDX-License-Identifier: Apache-2.0

package identity

import (
	"bytes"
	"encoding/json"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestVectors checks the verifier against requests that the official clients
// signed: each must verify as it is, and not with anything changed.
func TestVectors(t *testing.T) {
	b, err := os.ReadFile("../../acs/testdata/vectors/signature.json")
	require.NoError(t, err)
	var samples []struct {
		Name          string            `json:"name"`
		Secret        string            `json:"access_key_secret"`
		Method        string            `json:"method"`
		Path          string            `json:"path"`
		QueryRaw      string            `json:"query_raw"`
		SignedHeaders map[string]string `json:"signed_headers"`
		Body          string            `json:"body"`
		Signature     string            `json:"signature"`
		Authorization string            `json:"authorization"`
	}
	require.NoError(t, json.Unmarshal(b, &samples))
	require.NotEmpty(t, samples)
	for _, s := range samples {
		t.Run(s.Name, func(t *testing.T) {
			fresh := func() *http.Request {
				r, err := http.NewRequestWithContext(t.Context(), s.Method, "http://host"+s.Path+"?"+s.QueryRaw, bytes.NewReader([]byte(s.Body)))
				require.NoError(t, err)
				for name, value := range s.SignedHeaders {
					r.Header.Set(name, value)
				}
				r.Host = s.SignedHeaders["host"]
				r.Header.Del("Host")
				return r
			}
			m := authorizationPattern.FindStringSubmatch(s.Authorization)
			require.NotNil(t, m)
			names := strings.Split(m[2], ";")
			hash := hexSHA256([]byte(s.Body))
			require.Nil(t, checkSignedHeaders(fresh(), names, []byte(s.Body)))
			require.Equal(t, s.Signature, signatureOf(fresh(), names, hash, s.Secret))

			for what, change := range map[string]func(*http.Request){
				"method": func(r *http.Request) { r.Method = "GET" },
				"path":   func(r *http.Request) { r.URL.Path += "x"; r.URL.RawPath = "" },
				"query":  func(r *http.Request) { r.URL.RawQuery += "&x=1" },
				"host":   func(r *http.Request) { r.Host = "other" },
				"action": func(r *http.Request) { r.Header.Set("X-Acs-Action", "Other") },
				"date":   func(r *http.Request) { r.Header.Set("X-Acs-Date", "2026-11-22T23:51:33Z") },
			} {
				r := fresh()
				change(r)
				require.NotEqual(t, s.Signature, signatureOf(r, names, hash, s.Secret), what)
			}
			require.NotEqual(t, s.Signature, signatureOf(fresh(), names, hash, "another-secret"))
			require.NotNil(t, checkSignedHeaders(fresh(), names, []byte(s.Body+"x")), "another body")
			unsigned := fresh()
			unsigned.Header.Set("X-Acs-Extra", "1")
			require.NotNil(t, checkSignedHeaders(unsigned, names, []byte(s.Body)), "a header that is not signed")
			for _, left := range []string{"x-acs-date", "x-acs-signature-nonce", "x-acs-content-sha256"} {
				r := fresh()
				r.Header.Del(left)
				require.NotNil(t, checkSignedHeaders(r, names, []byte(s.Body)), left)
			}
		})
	}
}

func FuzzAuthorization(f *testing.F) {
	f.Add("ACS3-HMAC-SHA256 Credential=a,SignedHeaders=host,Signature="+strings.Repeat("0", 64), "a=b&c")
	f.Fuzz(func(t *testing.T, authorization, query string) {
		if m := authorizationPattern.FindStringSubmatch(authorization); m != nil && len(m[3]) != 64 {
			t.Fatal("a signature of another length")
		}
		_ = canonicalQuery(query)
	})
}
