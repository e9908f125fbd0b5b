// SPDX-License-Identifier: Apache-2.0

package credentials

import (
	"context"
	"slices"
	"sync"
	"time"
)

// PendingStore keeps, for each authorization session, the short list of those
// who were asked, until the user comes back or the time is over. Replicas of an
// application share one, so that it does not matter which of them the user
// comes back to; with Redis the operations are RPUSH with EXPIRE, LRANGE, and
// LRANGE with DEL in one transaction. One that is a [Notifier], too, is told
// when a session was answered.
//
// Keys are digests. Values hold users' tokens: keep them as secret as those.
// Implementations are safe for concurrent use and obey ctx.
type PendingStore interface {
	// Append adds value to key's list, and keeps the list for ttl from now.
	Append(ctx context.Context, key string, value []byte, ttl time.Duration) error
	// List returns key's list; that of an unknown key is empty.
	List(ctx context.Context, key string) ([][]byte, error)
	// TakeAll returns key's list and removes it in one step: of several callers
	// only one gets it. The others get an empty one.
	TakeAll(ctx context.Context, key string) ([][]byte, error)
}

// maxPending bounds the sessions that a MemoryPendingStore keeps.
const maxPending = 10_000

// MemoryPendingStore is a [PendingStore] in the process's memory, for an
// application that runs as one process and may lose what is pending. It keeps
// at most 10,000 sessions; beyond them the oldest go. The zero value is ready
// to use, and it is safe for concurrent use.
type MemoryPendingStore struct {
	mu    sync.Mutex // guards the rest
	lists map[string]*pendingList
	swept time.Time
}

type pendingList struct {
	values  [][]byte
	expires time.Time
}

var _ PendingStore = (*MemoryPendingStore)(nil)

// Append implements [PendingStore].
func (m *MemoryPendingStore) Append(ctx context.Context, key string, value []byte, ttl time.Duration) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	now := time.Now()
	l := m.find(key, now)
	if l == nil {
		l = &pendingList{}
		if m.lists == nil {
			m.lists = make(map[string]*pendingList)
		}
		m.lists[key] = l
	}
	l.values = append(l.values, slices.Clone(value))
	l.expires = now.Add(ttl)
	m.trim(now)
	return nil
}

// List implements [PendingStore].
func (m *MemoryPendingStore) List(ctx context.Context, key string) ([][]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if l := m.find(key, time.Now()); l != nil {
		return copied(l.values), nil
	}
	return nil, nil
}

// TakeAll implements [PendingStore].
func (m *MemoryPendingStore) TakeAll(ctx context.Context, key string) ([][]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	l := m.find(key, time.Now())
	if l == nil {
		return nil, nil
	}
	delete(m.lists, key)
	return l.values, nil
}

func (m *MemoryPendingStore) find(key string, now time.Time) *pendingList {
	l := m.lists[key]
	if l != nil && !now.Before(l.expires) {
		delete(m.lists, key)
		return nil
	}
	return l
}

// trim drops what has expired, now and then, and what is too much.
func (m *MemoryPendingStore) trim(now time.Time) {
	if len(m.lists) <= maxPending && now.Sub(m.swept) < time.Minute {
		return
	}
	m.swept = now
	first := ""
	for key, l := range m.lists {
		if !now.Before(l.expires) {
			delete(m.lists, key)
		} else if first == "" || l.expires.Before(m.lists[first].expires) {
			first = key
		}
	}
	if len(m.lists) > maxPending {
		delete(m.lists, first)
	}
}

func copied(values [][]byte) [][]byte {
	out := make([][]byte, len(values))
	for i, v := range values {
		out[i] = slices.Clone(v)
	}
	return out
}
