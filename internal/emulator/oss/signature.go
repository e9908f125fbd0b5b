// SPDX-License-Identifier: Apache-2.0

package oss

import (
	"crypto/hmac"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// This file checks the signatures V1 and V4 of OSS. It shares no code with the
// official SDK; tests run that against it.

// maxSkew is how far a request's date may be off.
const maxSkew = 15 * time.Minute

// signed says who signed a request, and for which region (V4 alone).
type signed struct {
	keyID, region string
}

// subresources are the query parameters that a V1 signature covers.
var subresources = []string{
	"acl", "bucketInfo", "location", "stat", "continuation-token", "versionId", "x-oss-process",
	"response-content-type", "response-content-language", "response-expires", "response-cache-control",
	"response-content-disposition", "response-content-encoding", "objectMeta", "tagging",
}

// verify checks the signature of r. secretOf finds the secret of an access key.
func verify(r *http.Request, bucket, key string, secretOf func(keyID, token string) (string, *failure)) (signed, *failure) {
	auth := r.Header.Get("Authorization")
	token := r.Header.Get("X-Oss-Security-Token")
	switch {
	case auth == "":
		return signed{}, &failure{http.StatusForbidden, "AccessDenied", "Anonymous access is forbidden for this operation."}
	case strings.HasPrefix(auth, "OSS4-HMAC-SHA256 "):
		return verifyV4(r, strings.TrimPrefix(auth, "OSS4-HMAC-SHA256 "), token, bucket, key, secretOf)
	case strings.HasPrefix(auth, "OSS "):
		return verifyV1(r, strings.TrimPrefix(auth, "OSS "), token, bucket, key, secretOf)
	}
	return signed{}, &failure{http.StatusBadRequest, "InvalidArgument", "The Authorization header is neither of signature version 1 nor of version 4."}
}

var errSignature = &failure{http.StatusForbidden, "SignatureDoesNotMatch", "The request signature we calculated does not match the signature you provided. Check your key and signing method."}

func checkDate(t time.Time, err error) *failure {
	if now := time.Now(); err != nil || t.Before(now.Add(-maxSkew)) || t.After(now.Add(maxSkew)) {
		return &failure{http.StatusForbidden, "RequestTimeTooSkewed", "The difference between the request time and the current time is too large."}
	}
	return nil
}

func verifyV1(r *http.Request, auth, token, bucket, key string, secretOf func(string, string) (string, *failure)) (signed, *failure) {
	keyID, signature, ok := strings.Cut(auth, ":")
	if !ok {
		return signed{}, &failure{http.StatusBadRequest, "InvalidArgument", "The Authorization header is not of the form OSS id:signature."}
	}
	if f := checkDate(http.ParseTime(r.Header.Get("Date"))); f != nil {
		return signed{}, f
	}
	secret, f := secretOf(keyID, token)
	if f != nil {
		return signed{}, f
	}
	var b strings.Builder
	for _, part := range []string{r.Method, r.Header.Get("Content-Md5"), r.Header.Get("Content-Type"), r.Header.Get("Date")} {
		b.WriteString(part + "\n")
	}
	writeHeaders(&b, r.Header, func(name string) bool { return strings.HasPrefix(name, "x-oss-") })
	b.WriteString("/" + bucket + "/" + key)
	sep := "?"
	q := r.URL.Query()
	for _, name := range sortedNames(q) {
		if !slices.Contains(subresources, name) {
			continue
		}
		b.WriteString(sep + name)
		if v := q.Get(name); v != "" {
			b.WriteString("=" + v)
		}
		sep = "&"
	}
	mac := hmac.New(sha1.New, []byte(secret))
	mac.Write([]byte(b.String()))
	if !hmac.Equal([]byte(base64.StdEncoding.EncodeToString(mac.Sum(nil))), []byte(signature)) {
		return signed{}, errSignature
	}
	return signed{keyID: keyID}, nil
}

func verifyV4(r *http.Request, auth, token, bucket, key string, secretOf func(string, string) (string, *failure)) (signed, *failure) {
	parts := map[string]string{}
	for part := range strings.SplitSeq(auth, ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(part), "=")
		parts[name] = value
	}
	scope := strings.Split(parts["Credential"], "/")
	if len(scope) != 5 || scope[3] != "oss" || scope[4] != "aliyun_v4_request" || parts["Signature"] == "" {
		return signed{}, &failure{http.StatusBadRequest, "InvalidArgument", "The Authorization header is not of the form OSS4-HMAC-SHA256 Credential=…,Signature=…."}
	}
	keyID, day, region := scope[0], scope[1], scope[2]
	date := r.Header.Get("X-Oss-Date")
	when, err := time.Parse("20060102T150405Z", date)
	if date == "" {
		date = r.Header.Get("Date")
		when, err = http.ParseTime(date)
	}
	if f := checkDate(when, err); f != nil {
		return signed{}, f
	}
	if when.UTC().Format("20060102") != day {
		return signed{}, &failure{http.StatusBadRequest, "InvalidArgument", "The date of the credential scope is not that of the request."}
	}
	secret, f := secretOf(keyID, token)
	if f != nil {
		return signed{}, f
	}
	additional := strings.Split(parts["AdditionalHeaders"], ";")
	if parts["AdditionalHeaders"] == "" {
		additional = nil
	}
	payload := r.Header.Get("X-Oss-Content-Sha256")
	if payload == "" {
		return signed{}, &failure{http.StatusBadRequest, "InvalidArgument", "The header x-oss-content-sha256 is missing."}
	}
	var b strings.Builder
	b.WriteString(r.Method + "\n" + escapePath("/"+bucket+"/"+key) + "\n")
	q := r.URL.Query()
	for i, name := range sortedNames(q) {
		if i > 0 {
			b.WriteString("&")
		}
		b.WriteString(escape(name))
		if v := q.Get(name); v != "" {
			b.WriteString("=" + escape(v))
		}
	}
	b.WriteString("\n")
	writeHeaders(&b, r.Header, func(name string) bool {
		return name == "content-type" || name == "content-md5" || strings.HasPrefix(name, "x-oss-") || slices.Contains(additional, name)
	})
	b.WriteString("\n" + strings.Join(additional, ";") + "\n" + payload)
	sum := sha256.Sum256([]byte(b.String()))
	text := "OSS4-HMAC-SHA256\n" + date + "\n" + strings.Join(scope[1:], "/") + "\n" + hex.EncodeToString(sum[:])
	signingKey := []byte("aliyun_v4" + secret)
	for _, part := range scope[1:] {
		signingKey = mac256(signingKey, part)
	}
	if !hmac.Equal([]byte(hex.EncodeToString(mac256(signingKey, text))), []byte(parts["Signature"])) {
		return signed{}, errSignature
	}
	return signed{keyID, region}, nil
}

func mac256(key []byte, text string) []byte {
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(text))
	return mac.Sum(nil)
}

func sortedNames(q url.Values) []string {
	names := make([]string, 0, len(q))
	for name := range q {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

func writeHeaders(b *strings.Builder, h http.Header, covered func(name string) bool) {
	var lines []string
	for name, values := range h {
		if name = strings.ToLower(name); covered(name) {
			lines = append(lines, name+":"+strings.TrimSpace(values[0])+"\n")
		}
	}
	slices.Sort(lines)
	b.WriteString(strings.Join(lines, ""))
}

func escape(s string) string { return strings.ReplaceAll(url.QueryEscape(s), "+", "%20") }

func escapePath(s string) string { return strings.ReplaceAll(escape(s), "%2F", "/") }
