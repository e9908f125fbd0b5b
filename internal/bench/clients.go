// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	openapi "github.com/alibabacloud-go/darabonba-openapi/v2/client"
	"github.com/alibabacloud-go/tea/dara"
	"github.com/alibabacloud-go/tea/tea"

	"github.com/agent-identity/agent-identity-go/identity"
)

// service answers GetResourceAPIKey at once, on loopback.
func service(b *testing.B) string {
	b.Helper()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", "application/json;charset=utf-8")
		w.Header().Set("X-Acs-Request-Id", "4F7C1A3E-0000-4000-8000-000000000000")
		_, _ = io.WriteString(w, `{"APIKey":"key-0123456789","RequestId":"4F7C1A3E-0000-4000-8000-000000000000"}`)
	}))
	b.Cleanup(srv.Close)
	return srv.URL
}

const (
	token    = "header.encrypted-key.iv.ciphertext.tag"
	provider = "weather"
)

// bareHTTP is what nobody can beat: the same form to the same service by
// net/http, unsigned, the answer decoded.
func bareHTTP(b *testing.B) {
	address := service(b)
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}}
	form := url.Values{"WorkloadAccessToken": {token}, "ResourceCredentialProviderName": {provider}}
	b.ReportAllocs()
	for b.Loop() {
		req, err := http.NewRequestWithContext(b.Context(), http.MethodPost, address, strings.NewReader(form.Encode()))
		if err != nil {
			b.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		resp, err := client.Do(req)
		if err != nil {
			b.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		var out struct{ APIKey string }
		if err != nil || json.Unmarshal(body, &out) != nil || out.APIKey == "" {
			b.Fatal("no key")
		}
	}
}

// ours is the signed call through identity.Client.
func ours(b *testing.B) {
	address := service(b)
	client, err := identity.New(identity.Config{Endpoint: address, ControlEndpoint: address})
	if err != nil {
		b.Fatal(err)
	}
	req := &identity.GetResourceAPIKeyRequest{
		WorkloadAccessToken: identity.NewSecret(token), Provider: provider,
		Signer: &identity.STSCredentials{AccessKeyID: "STS.id", AccessKeySecret: identity.NewSecret("secret"), SecurityToken: identity.NewSecret("token")},
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := client.GetResourceAPIKey(b.Context(), req); err != nil {
			b.Fatal(err)
		}
	}
}

// generic is the same signed call through the generic official client.
func generic(b *testing.B) {
	address := strings.TrimPrefix(service(b), "http://")
	client, err := openapi.NewClient(&openapi.Config{
		AccessKeyId: tea.String("STS.id"), AccessKeySecret: tea.String("secret"), SecurityToken: tea.String("token"),
		Endpoint: tea.String(address), Protocol: tea.String("HTTP"),
	})
	if err != nil {
		b.Fatal(err)
	}
	params := &openapi.Params{
		Action: tea.String("GetResourceAPIKey"), Version: tea.String("2025-11-27"), Protocol: tea.String("HTTP"), Pathname: tea.String("/"),
		Method: tea.String("POST"), AuthType: tea.String("AK"), Style: tea.String("RPC"), ReqBodyType: tea.String("formData"), BodyType: tea.String("json"),
	}
	b.ReportAllocs()
	for b.Loop() {
		out, err := client.CallApi(params, &openapi.OpenApiRequest{Body: map[string]any{
			"WorkloadAccessToken": token, "ResourceCredentialProviderName": provider,
		}}, &dara.RuntimeOptions{})
		if err != nil || out["body"].(map[string]any)["APIKey"] == "" {
			b.Fatal(err)
		}
	}
}
