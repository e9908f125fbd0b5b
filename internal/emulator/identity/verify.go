// SPDX-License-Identifier: Apache-2.0

package identity

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"
)

// This file checks ACS3-HMAC-SHA256 signatures. It shares no code with the
// SDK's signer on purpose: a mistake in one shows in the other, and the
// recorded requests of the official clients test both.

const maxSkew = 15 * time.Minute

// Principal is who signed a request.
type Principal struct {
	AccessKeyID string
	Session     *RoleSession // nil for the account's own key
}

// Refusal is why a request is not served.
type Refusal struct {
	status  int
	code    string
	message string
}

var authorizationPattern = regexp.MustCompile(`^ACS3-HMAC-SHA256 Credential=([^,\s]+),\s*SignedHeaders=([a-z0-9;-]+),\s*Signature=([0-9a-f]{64})$`)

// Verify checks the signature of a request whose body has been read.
func (s *Service) Verify(r *http.Request, body []byte) (Principal, *Refusal) {
	m := authorizationPattern.FindStringSubmatch(r.Header.Get("Authorization"))
	if m == nil {
		return Principal{}, &Refusal{400, "IncompleteSignature", "the Authorization header is missing or not of the form ACS3-HMAC-SHA256 Credential=…,SignedHeaders=…,Signature=…"}
	}
	keyID, signedNames, signature := m[1], strings.Split(m[2], ";"), m[3]
	if ref := checkSignedHeaders(r, signedNames, body); ref != nil {
		return Principal{}, ref
	}
	date, err := time.Parse("2006-01-02T15:04:05Z", r.Header.Get("X-Acs-Date"))
	// By the real time: the clock that tests move is the service's alone, and
	// the program under test dates its requests by its own.
	if now := time.Now(); err != nil || date.Before(now.Add(-maxSkew)) || date.After(now.Add(maxSkew)) {
		return Principal{}, &Refusal{400, "InvalidTimeStamp.Expired", "x-acs-date is missing or more than 15 minutes off the service's clock"}
	}
	secret, session, ref := s.secretOf(keyID, r.Header.Get("X-Acs-Security-Token"))
	if ref != nil {
		return Principal{}, ref
	}

	want := signatureOf(r, signedNames, hexSHA256(body), secret)
	if !hmac.Equal([]byte(want), []byte(signature)) {
		return Principal{}, &Refusal{400, "SignatureDoesNotMatch", "the signature does not match the request"}
	}
	if !s.useNonce(keyID, r.Header.Get("X-Acs-Signature-Nonce")) {
		return Principal{}, &Refusal{400, "SignatureNonceUsed", "x-acs-signature-nonce was used before"}
	}
	return Principal{keyID, session}, nil
}

// checkSignedHeaders wants every header that decides what the call does to be
// present and signed, and the body to be the one that was hashed.
func checkSignedHeaders(r *http.Request, signed []string, body []byte) *Refusal {
	if !slices.IsSorted(signed) {
		return &Refusal{400, "IncompleteSignature", "SignedHeaders must be sorted"}
	}
	needed := []string{"host", "x-acs-action", "x-acs-version", "x-acs-date", "x-acs-signature-nonce", "x-acs-content-sha256"}
	for name := range r.Header {
		name = strings.ToLower(name)
		if (strings.HasPrefix(name, "x-acs-") || name == "content-type") && !slices.Contains(needed, name) {
			needed = append(needed, name)
		}
	}
	for _, name := range needed {
		if name != "host" && r.Header.Get(name) == "" {
			return &Refusal{400, "IncompleteSignature", "the header " + name + " is missing"}
		}
		if !slices.Contains(signed, name) {
			return &Refusal{400, "IncompleteSignature", "the header " + name + " is not signed"}
		}
	}
	if r.Header.Get("X-Acs-Content-Sha256") != hexSHA256(body) {
		return &Refusal{400, "SignatureDoesNotMatch", "x-acs-content-sha256 is not the hash of the body"}
	}
	return nil
}

// signatureOf computes the signature that r must carry.
func signatureOf(r *http.Request, signed []string, bodyHash, secret string) string {
	var canonical strings.Builder
	fmt.Fprintf(&canonical, "%s\n%s\n%s\n", r.Method, strings.NewReplacer("+", "%20", "*", "%2A", "%7E", "~").Replace(r.URL.EscapedPath()), canonicalQuery(r.URL.RawQuery))
	for _, name := range signed {
		value := r.Header.Get(name)
		if name == "host" {
			value = r.Host
		}
		fmt.Fprintf(&canonical, "%s:%s\n", name, strings.TrimSpace(value))
	}
	fmt.Fprintf(&canonical, "\n%s\n%s", strings.Join(signed, ";"), bodyHash)
	mac := hmac.New(sha256.New, []byte(secret))
	fmt.Fprintf(mac, "ACS3-HMAC-SHA256\n%s", hexSHA256([]byte(canonical.String())))
	return hex.EncodeToString(mac.Sum(nil))
}

func canonicalQuery(raw string) string {
	if raw == "" {
		return ""
	}
	pairs := strings.Split(raw, "&")
	for i, pair := range pairs {
		name, value, _ := strings.Cut(pair, "=")
		plainName, _ := url.QueryUnescape(name)
		plainValue, _ := url.QueryUnescape(value)
		pairs[i] = plainName + "=" + rfc3986(plainValue)
	}
	slices.Sort(pairs)
	return strings.Join(pairs, "&")
}

func rfc3986(s string) string {
	var b strings.Builder
	for _, c := range []byte(s) {
		if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("-_.~", c) >= 0 {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "%%%02X", c)
		}
	}
	return b.String()
}

func hexSHA256(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// secretOf finds the secret of an access key, with the session if it is a
// temporary one.
func (s *Service) secretOf(keyID, securityToken string) (string, *RoleSession, *Refusal) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if secret, ok := s.accessKeys[keyID]; ok {
		if securityToken != "" {
			return "", nil, &Refusal{403, "InvalidSecurityToken.MismatchWithAccessKey", "a long-lived access key has no security token"}
		}
		return secret, nil, nil
	}
	session, ok := s.sessions[keyID]
	switch {
	case !ok:
		return "", nil, &Refusal{404, "InvalidAccessKeyId.NotFound", "the access key id is not known"}
	case subtle.ConstantTimeCompare([]byte(session.securityToken), []byte(securityToken)) != 1:
		return "", nil, &Refusal{403, "InvalidSecurityToken.MismatchWithAccessKey", "the security token does not belong to the access key"}
	case s.Clock.Now().After(session.Expires):
		return "", nil, &Refusal{403, "InvalidSecurityToken.Expired", "the temporary credentials have expired"}
	}
	return session.secret, session, nil
}

// Secret finds the secret of an access key and its security token, and the user
// that they stand for, for services with signatures of their own.
func (s *Service) Secret(keyID, securityToken string) (secret, user string, ref *Refusal) {
	secret, session, ref := s.secretOf(keyID, securityToken)
	if session != nil {
		user = session.User.Label()
	}
	return secret, user, ref
}

// useNonce reports whether the nonce is new.
func (s *Service) useNonce(keyID, nonce string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.Clock.Now()
	if len(s.nonces) > 50_000 {
		for k, t := range s.nonces {
			if now.Sub(t) > 2*maxSkew {
				delete(s.nonces, k)
			}
		}
	}
	key := keyID + " " + nonce
	if _, used := s.nonces[key]; used || len(nonce) < 16 {
		return false
	}
	s.nonces[key] = now
	return true
}

// Parts returns what an answer needs.
func (r *Refusal) Parts() (status int, code, message string) { return r.status, r.code, r.message }
