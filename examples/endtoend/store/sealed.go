// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/agent-identity/agent-identity-go/credentials"
)

// ErrSealed reports a value that was sealed with another key, moved to another
// place, or changed.
var ErrSealed = errors.New("store: a value cannot be opened with this key; all replicas of a service need the same one")

// keySize is the length of a key, for AES-256.
const keySize = 32

// ParseKey reads a key from text: 32 bytes in base64.
func ParseKey(text string) ([]byte, error) {
	key, err := base64.StdEncoding.DecodeString(strings.TrimSpace(text))
	if err != nil || len(key) != keySize {
		return nil, errors.New("store: the key is not 32 bytes in base64; make one with: openssl rand -base64 32")
	}
	return key, nil
}

// KeyFile reads the key in the file at path, or makes one there that only this
// user may read.
func KeyFile(path string) ([]byte, error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		key := make([]byte, keySize)
		_, _ = rand.Read(key) // never fails, by its contract
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			return nil, fmt.Errorf("store: %w", err)
		}
		// Whole or not at all, however the process ends.
		f, err := os.CreateTemp(filepath.Dir(path), ".key-*") // mode 0600
		if err != nil {
			return nil, fmt.Errorf("store: making a key: %w", err)
		}
		defer os.Remove(f.Name())
		_, err = f.WriteString(base64.StdEncoding.EncodeToString(key) + "\n")
		if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
			return nil, fmt.Errorf("store: making a key: %w", err)
		}
		// Link fails where another process was first: then its key is the one.
		if err := os.Link(f.Name(), path); err != nil && !errors.Is(err, fs.ErrExist) {
			return nil, fmt.Errorf("store: making a key: %w", err)
		}
		text, err = os.ReadFile(path)
		if err != nil {
			return nil, fmt.Errorf("store: %w", err)
		}
	} else if err != nil {
		return nil, fmt.Errorf("store: %w", err)
	}
	key, err := ParseKey(string(text))
	if err != nil {
		return nil, fmt.Errorf("%w (file %s)", err, path)
	}
	return key, nil
}

// sealed encrypts what a store keeps with AES-256-GCM. Each value is bound to
// its place, so that whoever can write to the store cannot give one user's
// value to another. Keys are not encrypted: callers use digests.
type sealed struct {
	inner Closer
	aead  cipher.AEAD
}

// sealedNotifier is sealed over a store that wakes other processes.
type sealedNotifier struct {
	*sealed
	credentials.Notifier
}

// Seal encrypts all values of a store with a key of 32 bytes.
func Seal(inner Closer, key []byte) (Closer, error) {
	if len(key) != keySize {
		return nil, fmt.Errorf("store: a key has %d bytes, not %d", keySize, len(key))
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		return nil, err
	}
	s := &sealed{inner, aead}
	if n, ok := inner.(credentials.Notifier); ok {
		return &sealedNotifier{s, n}, nil
	}
	return s, nil
}

func (s *sealed) close(kind, key string, value []byte) []byte {
	return s.aead.Seal(nil, nil, value, []byte(kind+key))
}

func (s *sealed) open(kind, key string, value []byte) ([]byte, error) {
	plain, err := s.aead.Open(nil, nil, value, []byte(kind+key))
	if err != nil {
		return nil, ErrSealed
	}
	return plain, nil
}

// What a value is, as part of its place.
const (
	aValue   = "value/"
	aListing = "list/"
)

func (s *sealed) Close() error { return s.inner.Close() }

func (s *sealed) Get(ctx context.Context, key string) ([]byte, error) {
	value, err := s.inner.Get(ctx, key)
	if err != nil {
		return nil, err
	}
	return s.open(aValue, key, value)
}

func (s *sealed) Put(ctx context.Context, key string, value []byte, ttl time.Duration) error {
	return s.inner.Put(ctx, key, s.close(aValue, key, value), ttl)
}

func (s *sealed) Update(ctx context.Context, key string, ttl time.Duration, change func([]byte) ([]byte, error)) error {
	return s.inner.Update(ctx, key, ttl, func(old []byte) ([]byte, error) {
		if old != nil {
			plain, err := s.open(aValue, key, old)
			if err != nil {
				return nil, err
			}
			if plain == nil {
				plain = []byte{} // there, and empty
			}
			old = plain
		}
		value, err := change(old)
		if err != nil || value == nil {
			return nil, err
		}
		return s.close(aValue, key, value), nil
	})
}

func (s *sealed) Take(ctx context.Context, key string) ([]byte, error) {
	value, err := s.inner.Take(ctx, key)
	if err != nil {
		return nil, err
	}
	return s.open(aValue, key, value)
}

func (s *sealed) Delete(ctx context.Context, key string) error { return s.inner.Delete(ctx, key) }

func (s *sealed) Append(ctx context.Context, key string, value []byte, ttl time.Duration) error {
	return s.inner.Append(ctx, key, s.close(aListing, key, value), ttl)
}

func (s *sealed) List(ctx context.Context, key string) ([][]byte, error) {
	return s.openAll(key)(s.inner.List(ctx, key))
}

func (s *sealed) TakeAll(ctx context.Context, key string) ([][]byte, error) {
	return s.openAll(key)(s.inner.TakeAll(ctx, key))
}

func (s *sealed) openAll(key string) func([][]byte, error) ([][]byte, error) {
	return func(values [][]byte, err error) ([][]byte, error) {
		if err != nil {
			return nil, err
		}
		for i, v := range values {
			if values[i], err = s.open(aListing, key, v); err != nil {
				return nil, err
			}
		}
		return values, nil
	}
}
