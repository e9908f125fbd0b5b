// SPDX-License-Identifier: Apache-2.0

package store

import (
	"container/list"
	"context"
	"sync"
	"time"

	"github.com/agent-identity/agent-identity-go/credentials"
)

// Memory is a store in the process's memory, for one process that may lose it.
// Make one with [NewMemory].
type Memory struct {
	credentials.MemoryPendingStore

	limit int

	mu      sync.Mutex // guards the rest
	entries map[string]*list.Element
	recent  list.List // of *item, most recently used first
}

type item struct {
	key     string
	value   []byte
	expires time.Time
}

var _ Store = (*Memory)(nil)

// NewMemory makes a store of at most limit entries; beyond them the least
// recently used go.
func NewMemory(limit int) *Memory {
	return &Memory{limit: limit, entries: map[string]*list.Element{}}
}

func (m *Memory) find(key string) (*list.Element, bool) {
	el, ok := m.entries[key]
	if !ok {
		return nil, false
	}
	if !time.Now().Before(el.Value.(*item).expires) {
		m.remove(el)
		return nil, false
	}
	return el, true
}

func (m *Memory) remove(el *list.Element) {
	m.recent.Remove(el)
	delete(m.entries, el.Value.(*item).key)
}

func (m *Memory) put(key string, value []byte, ttl time.Duration) {
	if el, ok := m.entries[key]; ok {
		m.remove(el)
	}
	m.entries[key] = m.recent.PushFront(&item{key, append([]byte{}, value...), time.Now().Add(ttl)})
	for len(m.entries) > m.limit {
		m.remove(m.recent.Back())
	}
}

// Get implements [Store].
func (m *Memory) Get(ctx context.Context, key string) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	el, ok := m.find(key)
	if !ok {
		return nil, ErrNotFound
	}
	m.recent.MoveToFront(el)
	return append([]byte{}, el.Value.(*item).value...), nil
}

// Put implements [Store].
func (m *Memory) Put(ctx context.Context, key string, value []byte, ttl time.Duration) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.put(key, value, ttl)
	return nil
}

// Update implements [Store].
func (m *Memory) Update(ctx context.Context, key string, ttl time.Duration, change func([]byte) ([]byte, error)) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	var old []byte
	el, ok := m.find(key)
	if ok {
		old = el.Value.(*item).value
	}
	value, err := change(old)
	switch {
	case err != nil:
		return err
	case value != nil:
		m.put(key, value, ttl)
	case ok:
		m.remove(el)
	}
	return nil
}

// Take implements [Store].
func (m *Memory) Take(ctx context.Context, key string) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	el, ok := m.find(key)
	if !ok {
		return nil, ErrNotFound
	}
	m.remove(el)
	return el.Value.(*item).value, nil
}

// Delete implements [Store].
func (m *Memory) Delete(ctx context.Context, key string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if el, ok := m.entries[key]; ok {
		m.remove(el)
	}
	return nil
}
