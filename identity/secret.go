// SPDX-License-Identifier: Apache-2.0

package identity

import (
	"crypto/subtle"
	"fmt"
	"io"
	"log/slog"
)

const redacted = "[REDACTED]"

// Secret is a token, key or JWT that does not show itself: it prints as
// [REDACTED] with every fmt verb, in JSON, text and slog. The zero value is
// the empty secret. Values are immutable and safe for concurrent use.
//
// Compare secrets with [Secret.Equal], not with ==.
type Secret struct {
	// A pointer, because fmt calls no methods on unexported fields of other
	// types: there it prints an address.
	p *string
}

// NewSecret wraps s.
func NewSecret(s string) Secret {
	if s == "" {
		return Secret{}
	}
	return Secret{p: &s}
}

// Reveal returns the text, for the header or body that needs it.
func (s Secret) Reveal() string {
	if s.p == nil {
		return ""
	}
	return *s.p
}

// IsZero reports whether the secret is empty.
func (s Secret) IsZero() bool { return s.p == nil || *s.p == "" }

// Equal reports whether both secrets have the same text, in a time that does
// not depend on where they differ.
func (s Secret) Equal(t Secret) bool {
	return subtle.ConstantTimeCompare([]byte(s.Reveal()), []byte(t.Reveal())) == 1
}

// String returns [REDACTED].
func (Secret) String() string { return redacted }

// Format writes [REDACTED] for every verb.
func (Secret) Format(w fmt.State, _ rune) { _, _ = io.WriteString(w, redacted) }

// LogValue returns [REDACTED].
func (Secret) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText returns [REDACTED]: secrets are not written by accident.
func (Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// UnmarshalText reads the secret, so that answers and settings decode
// straight into one.
func (s *Secret) UnmarshalText(b []byte) error {
	*s = NewSecret(string(b))
	return nil
}
