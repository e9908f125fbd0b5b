// SPDX-License-Identifier: Apache-2.0

// Package randid makes random identifiers that cannot be guessed.
package randid

import (
	"crypto/rand"
	"encoding/hex"
)

// Hex is n random bytes as hexadecimal text.
func Hex(n int) string {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails, by its contract
	return hex.EncodeToString(b)
}

// UUID is a random UUID (RFC 9562, version 4).
func UUID() string {
	b := make([]byte, 16)
	_, _ = rand.Read(b)
	b[6] = b[6]&0x0f | 0x40
	b[8] = b[8]&0x3f | 0x80
	h := hex.EncodeToString(b)
	return h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:]
}
