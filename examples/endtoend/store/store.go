// SPDX-License-Identifier: Apache-2.0

// Package store keeps the little state that the services of the sample have:
// logins, pending logins and consents, conversations. Each service has a store
// of its own; every entry ends by itself.
package store

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/agent-identity/agent-identity-go/credentials"
)

// ErrNotFound reports a key that has no value, or none any more.
var ErrNotFound = errors.New("store: not found")

// Store keeps values by key until they expire. Implementations are safe for
// concurrent use and obey ctx. Values are copied in and out.
type Store interface {
	// Get returns the value, or [ErrNotFound].
	Get(ctx context.Context, key string) ([]byte, error)
	// Put sets the value for ttl, which must be positive.
	Put(ctx context.Context, key string, value []byte, ttl time.Duration) error
	// Update changes the value in one step: change gets it, or nil if there is
	// none, and returns the new one, or nil to delete it. The new one is kept
	// for ttl. An error of change leaves everything as it is and is returned.
	// change may be called more than once, and must not keep or change old.
	Update(ctx context.Context, key string, ttl time.Duration, change func(old []byte) ([]byte, error)) error
	// Take returns the value and deletes it, in one step: of several callers
	// only one gets it. The others get [ErrNotFound].
	Take(ctx context.Context, key string) ([]byte, error)
	// Delete removes the value, if there is one.
	Delete(ctx context.Context, key string) error

	// Lists of pending consents have keys of their own.
	credentials.PendingStore
}

// Closer is a store that has to be closed.
type Closer interface {
	Store
	Close() error
}

// Open opens the store that address names: redis://host:port/db (rediss:// with
// TLS) with keys that begin with prefix, "memory:" for one that ends with the
// process, or else the path of a file, see [OpenFile].
//
// What leaves the process is sealed with key, see [Seal]. Redis needs one; for a
// file it is made where there is none, in a file beside it that ends in ".key".
func Open(address, prefix string, key []byte) (Closer, error) {
	switch {
	case address == "":
		return nil, errors.New("store: want redis://host:port/0, memory: or the path of a file")
	case address == "memory:":
		return closer{NewMemory(10_000)}, nil
	case strings.HasPrefix(address, "redis://"), strings.HasPrefix(address, "rediss://"):
		if key == nil {
			return nil, errors.New("store: Redis needs a key that all replicas share, to keep secrets sealed; make one with: openssl rand -base64 32")
		}
		r, err := OpenRedis(address, prefix)
		if err != nil {
			return nil, err
		}
		return Seal(r, key)
	}
	if key == nil {
		var err error
		if key, err = KeyFile(address + ".key"); err != nil {
			return nil, err
		}
	}
	f, err := OpenFile(address)
	if err != nil {
		return nil, err
	}
	return Seal(f, key)
}

// Shared reports whether other processes may use the same store.
func Shared(s Store) bool {
	_, ok := s.(credentials.Notifier)
	return ok
}

type closer struct{ *Memory }

func (closer) Close() error { return nil }
