// SPDX-License-Identifier: Apache-2.0

package acs

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"slices"
	"strings"
)

const algorithm = "ACS3-HMAC-SHA256"

// A Credential signs calls. It is passed by value and never changed.
type Credential struct {
	AccessKeyID     string
	AccessKeySecret string
	// SecurityToken belongs to temporary (STS) credentials.
	SecurityToken string
	// BearerToken, if set, replaces the signature.
	BearerToken string
	// ProviderName is sent as x-acs-credentials-provider, "" sends none.
	ProviderName string
}

// sign adds the credential's headers and the signature (or the bearer token)
// to a request whose other headers are complete. The names of h must be
// canonical, as http.Header.Set leaves them.
func sign(h http.Header, method, host, path, canonicalQuery, bodyHash string, cred Credential) {
	if cred.ProviderName != "" {
		h.Set("X-Acs-Credentials-Provider", cred.ProviderName)
	}
	if cred.BearerToken != "" {
		h.Set("X-Acs-Bearer-Token", cred.BearerToken)
		return
	}
	if cred.SecurityToken != "" {
		h.Set("X-Acs-Accesskey-Id", cred.AccessKeyID)
		h.Set("X-Acs-Security-Token", cred.SecurityToken)
	}
	canonical, names := canonicalRequest(h, method, host, path, canonicalQuery, bodyHash)
	digest := sha256.Sum256([]byte(canonical))
	mac := hmac.New(sha256.New, []byte(cred.AccessKeySecret))
	mac.Write([]byte(algorithm + "\n" + hex.EncodeToString(digest[:])))
	h.Set("Authorization", algorithm+" Credential="+cred.AccessKeyID+
		",SignedHeaders="+names+",Signature="+hex.EncodeToString(mac.Sum(nil)))
}

// canonicalRequest is the text that is signed, with the list of the signed
// headers: host, content-type and every x-acs-*.
func canonicalRequest(h http.Header, method, host, path, query, bodyHash string) (text, names string) {
	type header struct{ name, value string }
	signed := make([]header, 0, 12)
	signed = append(signed, header{"host", host})
	for name, values := range h {
		name = strings.ToLower(name)
		if (name == "content-type" || strings.HasPrefix(name, "x-acs-")) && len(values) > 0 {
			signed = append(signed, header{name, strings.TrimSpace(values[0])})
		}
	}
	slices.SortFunc(signed, func(a, b header) int { return strings.Compare(a.name, b.name) })

	var list strings.Builder
	for i, s := range signed {
		if i > 0 {
			list.WriteByte(';')
		}
		list.WriteString(s.name)
	}
	names = list.String()

	var b strings.Builder
	b.Grow(1024)
	b.WriteString(method)
	b.WriteByte('\n')
	b.WriteString(canonicalPath(path))
	b.WriteByte('\n')
	b.WriteString(query)
	b.WriteByte('\n')
	for _, s := range signed {
		b.WriteString(s.name)
		b.WriteByte(':')
		b.WriteString(s.value)
		b.WriteByte('\n')
	}
	b.WriteByte('\n')
	b.WriteString(names)
	b.WriteByte('\n')
	b.WriteString(bodyHash)
	return b.String(), names
}

var pathReplacer = strings.NewReplacer("+", "%20", "*", "%2A", "%7E", "~")

func canonicalPath(path string) string {
	if path == "" || path == "/" {
		return "/"
	}
	return pathReplacer.Replace(path)
}
