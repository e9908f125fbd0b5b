// SPDX-License-Identifier: Apache-2.0

package identity

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"strings"
	"time"
)

// Caller says for whom the agent acts. It is put into a context with
// [NewContext] once, where a request comes in, after the program has verified
// who is asking.
//
// With a UserToken the service itself verifies the user; UserID is then not
// used. With a UserID alone it trusts the program. With neither, the agent
// acts for itself.
type Caller struct {
	// UserToken is the user's ID token (a JWT of the identity provider that
	// belongs to the workload identity).
	UserToken Secret
	// UserID is the application's own id of the user.
	UserID string
	// State is opaque text that the authorization server hands back to the
	// application's return URL; usually the id of the chat. It says nothing
	// about who the user is.
	State string
}

type callerDigest struct {
	key, subject CallerKey
	expires      time.Time
}

// CallerKey identifies a caller in a cache key without holding a secret: a
// SHA-256 digest of its kind (user id, user token, subject of one) and text. A
// user id and a token that read the same have different keys. The zero value
// stands for a caller without a user.
type CallerKey [sha256.Size]byte

// IsZero reports whether the key stands for a caller without a user.
func (k CallerKey) IsZero() bool { return k == CallerKey{} }

// Kinds of what a CallerKey is made of.
const (
	kindUserID  = "user id"
	kindToken   = "token"
	kindSubject = "subject"
)

// Key identifies this very caller: the exact token, or the user id. A renewed
// token has another key.
func (c Caller) Key() CallerKey { return c.digest().key }

// Subject identifies the user behind the caller: the token's issuer and
// subject, or the user id. It stays the same when the token is renewed.
//
// The token's claims are read without verifying them. Whoever uses the subject
// to share something must first have the service accept the token.
func (c Caller) Subject() CallerKey { return c.digest().subject }

// TokenExpiry is the exp claim of UserToken, or the zero time.
func (c Caller) TokenExpiry() time.Time { return c.digest().expires }

func (c Caller) digest() callerDigest {
	switch {
	case !c.UserToken.IsZero():
		token := c.UserToken.Reveal()
		d := callerDigest{key: digestOf(kindToken, token)}
		d.subject = d.key
		if claims, ok := parseClaims(token); ok {
			d.expires = claims.expiry()
			if claims.Subject != "" {
				d.subject = digestOf(kindSubject, claims.Issuer, claims.Subject)
			}
		}
		return d
	case c.UserID != "":
		key := digestOf(kindUserID, c.UserID)
		return callerDigest{key: key, subject: key}
	}
	return callerDigest{}
}

type contextKey struct{}

// contextValue has the digests of its caller, made once, at the door: caches
// need them at every hit.
type contextValue struct {
	digest callerDigest
	caller Caller
}

// NewContext returns a context that carries c. It replaces a caller that ctx
// already has, completely.
func NewContext(ctx context.Context, c Caller) context.Context {
	return context.WithValue(ctx, contextKey{}, &contextValue{caller: c, digest: c.digest()})
}

// FromContext returns the caller in ctx, and whether there is one.
func FromContext(ctx context.Context) (Caller, bool) {
	if v, ok := ctx.Value(contextKey{}).(*contextValue); ok {
		return v.caller, true
	}
	return Caller{}, false
}

var noCaller callerDigest

// KeysFromContext returns Key and Subject of the caller in ctx. They belong to
// the context and must not be changed. It is for caches, which ask often.
func KeysFromContext(ctx context.Context) (key, subject *CallerKey) {
	d := &noCaller
	if v, ok := ctx.Value(contextKey{}).(*contextValue); ok {
		d = &v.digest
	}
	return &d.key, &d.subject
}

// claims are the parts of a JWT that bound how long something made from it
// may be kept. They are not verified here.
type claims struct {
	Issuer  string  `json:"iss"`
	Subject string  `json:"sub"`
	Expires float64 `json:"exp"`
}

func (c claims) expiry() time.Time {
	if c.Expires <= 0 || c.Expires > 1<<40 {
		return time.Time{}
	}
	return time.Unix(int64(c.Expires), 0)
}

// parseClaims reads the payload of a signed JWT (three parts, RFC 7519).
func parseClaims(token string) (claims, bool) {
	var c claims
	_, rest, ok := strings.Cut(token, ".")
	payload, signature, ok2 := strings.Cut(rest, ".")
	if !ok || !ok2 || strings.Contains(signature, ".") {
		return c, false
	}
	b, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(payload, "="))
	if err != nil || json.Unmarshal(b, &c) != nil {
		return claims{}, false
	}
	return c, true
}

// JWTExpiry returns the exp claim of a secret that is a signed JWT, without
// verifying it, and the zero time for anything else. It may only shorten how
// long a credential is kept.
func JWTExpiry(s Secret) time.Time {
	c, _ := parseClaims(s.Reveal())
	return c.expiry()
}

// digestOf hashes texts so that no two lists of texts look alike.
func digestOf(texts ...string) CallerKey {
	h := sha256.New()
	var n [8]byte
	for _, t := range texts {
		binary.BigEndian.PutUint64(n[:], uint64(len(t)))
		h.Write(n[:])
		h.Write([]byte(t))
	}
	return CallerKey(h.Sum(nil))
}
