// SPDX-License-Identifier: Apache-2.0

package acs

import (
	"crypto/sha256"
	"encoding/hex"
	"iter"
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
	var few [1536]byte
	canonical, names := canonicalRequest(few[:0], *f, method, host, path, canonicalQuery, bodyHash)
	digest := sha256.Sum256(canonical)
	var text [len(algorithm) + 1 + 2*sha256.Size]byte
	mac := hmacSHA256(cred.AccessKeySecret, hex.AppendEncode(append(text[:0], algorithm+"\n"...), digest[:]))

	var short [512]byte
	auth := append(short[:0], algorithm+" Credential="...)
	auth = append(auth, cred.AccessKeyID...)
	auth = append(auth, ",SignedHeaders="...)
	auth = append(auth, names...)
	auth = append(auth, ",Signature="...)
	f.add("Authorization", "authorization", string(hex.AppendEncode(auth, mac[:])))
}

// hmacSHA256 is RFC 2104 for the one text that is signed, which is shorter than
// two blocks. crypto/hmac would allocate five times, for each call.
func hmacSHA256(key string, text []byte) [sha256.Size]byte {
	var k [sha256.BlockSize]byte
	if len(key) > len(k) {
		sum := sha256.Sum256([]byte(key))
		copy(k[:], sum[:])
	} else {
		copy(k[:], key)
	}
	pad := func(x byte) (p [sha256.BlockSize]byte) {
		for i := range k {
			p[i] = k[i] ^ x
		}
		return p
	}
	var few [4 * sha256.BlockSize]byte
	inner, outer := pad(0x36), pad(0x5c)
	sum := sha256.Sum256(append(append(few[:0], inner[:]...), text...))
	return sha256.Sum256(append(append(few[:0], outer[:]...), sum[:]...))
}

// canonicalRequest appends the text that is signed to b, and returns it with
// the list of the signed headers: host, content-type and every x-acs-*.
func canonicalRequest(b []byte, f fields, method, host, path, query, bodyHash string) (text, names []byte) {
	b = append(b, method...)
	b = append(b, '\n')
	b = append(b, canonicalPath(path)...)
	b = append(b, '\n')
	b = append(b, query...)
	b = append(b, '\n')
	for name, value := range f.signed(host) {
		b = append(b, name...)
		b = append(b, ':')
		b = append(b, strings.TrimSpace(value)...)
		b = append(b, '\n')
	}
	b = append(b, '\n')
	start := len(b)
	for name := range f.signed(host) {
		if len(b) > start {
			b = append(b, ';')
		}
		b = append(b, name...)
	}
	end := len(b)
	b = append(b, '\n')
	b = append(b, bodyHash...)
	return b, b[start:end]
}

// signed are the headers that are signed, in their order. The list is sorted,
// and host comes before all x-acs-*.
func (f fields) signed(host string) iter.Seq2[string, string] {
	return func(yield func(string, string) bool) {
		for _, x := range f {
			if x.lower == "content-type" && !yield(x.lower, x.value) {
				return
			}
		}
		if !yield("host", host) {
			return
		}
		for _, x := range f {
			if strings.HasPrefix(x.lower, "x-acs-") && !yield(x.lower, x.value) {
				return
			}
		}
	}
}

var pathReplacer = strings.NewReplacer("+", "%20", "*", "%2A", "%7E", "~")

func canonicalPath(path string) string {
	if path == "" || path == "/" {
		return "/"
	}
	return pathReplacer.Replace(path)
}
