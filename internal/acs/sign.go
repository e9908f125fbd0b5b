// SPDX-License-Identifier: Apache-2.0

package acs

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
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

// field is a header of a request, under its canonical and its signed name.
type field struct {
	name, lower, value string
}

// fields are the headers of a request while it is being made: a list costs
// less than a map that must be sorted for the signature.
type fields []field

// add keeps the list sorted by the lower-case name.
func (f *fields) add(name, lower, value string) {
	list := append(*f, field{})
	i := len(list) - 1
	for ; i > 0 && list[i-1].lower > lower; i-- {
		list[i] = list[i-1]
	}
	list[i] = field{name, lower, value}
	*f = list
}

// header turns the list into the map that net/http wants.
func (f fields) header() http.Header {
	h := make(http.Header, len(f))
	values := make([]string, len(f))
	for i, x := range f {
		values[i] = x.value
		h[x.name] = values[i : i+1 : i+1]
	}
	return h
}

// sign adds the credential's headers and the signature (or the bearer token)
// to a request whose other headers are complete.
func sign(f *fields, method, host, path, canonicalQuery, bodyHash string, cred Credential) {
	if cred.ProviderName != "" {
		f.add("X-Acs-Credentials-Provider", "x-acs-credentials-provider", cred.ProviderName)
	}
	if cred.BearerToken != "" {
		f.add("X-Acs-Bearer-Token", "x-acs-bearer-token", cred.BearerToken)
		return
	}
	if cred.SecurityToken != "" {
		f.add("X-Acs-Accesskey-Id", "x-acs-accesskey-id", cred.AccessKeyID)
		f.add("X-Acs-Security-Token", "x-acs-security-token", cred.SecurityToken)
	}
	canonical, names := canonicalRequest(*f, method, host, path, canonicalQuery, bodyHash)
	digest := sha256.Sum256(canonical)
	var text [len(algorithm) + 1 + 2*sha256.Size]byte
	mac := hmac.New(sha256.New, []byte(cred.AccessKeySecret))
	mac.Write(hex.AppendEncode(append(text[:0], algorithm+"\n"...), digest[:]))
	var sum [sha256.Size]byte
	f.add("Authorization", "authorization", algorithm+" Credential="+cred.AccessKeyID+
		",SignedHeaders="+names+",Signature="+hexText(mac.Sum(sum[:0])))
}

// hexText is hex.EncodeToString with one allocation.
func hexText(b []byte) string {
	var buf [2 * sha256.Size]byte
	return string(hex.AppendEncode(buf[:0], b))
}

// canonicalRequest is the text that is signed, with the list of the signed
// headers: host, content-type and every x-acs-*.
func canonicalRequest(f fields, method, host, path, query, bodyHash string) (text []byte, names string) {
	signed := make(fields, 0, 12)
	for _, x := range f {
		if x.lower == "content-type" || strings.HasPrefix(x.lower, "x-acs-") {
			signed = append(signed, x) // sorted already
		}
	}
	signed.add("Host", "host", host)

	b := make([]byte, 0, 1536)
	b = append(b, method...)
	b = append(b, '\n')
	b = append(b, canonicalPath(path)...)
	b = append(b, '\n')
	b = append(b, query...)
	b = append(b, '\n')
	for _, x := range signed {
		b = append(b, x.lower...)
		b = append(b, ':')
		b = append(b, strings.TrimSpace(x.value)...)
		b = append(b, '\n')
	}
	b = append(b, '\n')
	start := len(b)
	for i, x := range signed {
		if i > 0 {
			b = append(b, ';')
		}
		b = append(b, x.lower...)
	}
	names = string(b[start:])
	b = append(b, '\n')
	b = append(b, bodyHash...)
	return b, names
}

var pathReplacer = strings.NewReplacer("+", "%20", "*", "%2A", "%7E", "~")

func canonicalPath(path string) string {
	if path == "" || path == "/" {
		return "/"
	}
	return pathReplacer.Replace(path)
}
