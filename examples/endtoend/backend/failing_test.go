// SPDX-License-Identifier: Apache-2.0

package backend

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/agent-identity/agent-identity-go/examples/endtoend/store"
)

var errDown = errors.New("connection refused")

// failingStore is a store whose methods fail while it is down.
type failingStore struct {
	*store.Memory
	down atomic.Bool
}

func (f *failingStore) err() error {
	if f.down.Load() {
		return errDown
	}
	return nil
}

func (f *failingStore) Get(ctx context.Context, key string) ([]byte, error) {
	if err := f.err(); err != nil {
		return nil, err
	}
	return f.Memory.Get(ctx, key)
}

func (f *failingStore) Put(ctx context.Context, key string, value []byte, ttl time.Duration) error {
	if err := f.err(); err != nil {
		return err
	}
	return f.Memory.Put(ctx, key, value, ttl)
}

func (f *failingStore) Update(ctx context.Context, key string, ttl time.Duration, change func([]byte) ([]byte, error)) error {
	if err := f.err(); err != nil {
		return err
	}
	return f.Memory.Update(ctx, key, ttl, change)
}

func (f *failingStore) Take(ctx context.Context, key string) ([]byte, error) {
	if err := f.err(); err != nil {
		return nil, err
	}
	return f.Memory.Take(ctx, key)
}

func (f *failingStore) Delete(ctx context.Context, key string) error {
	if err := f.err(); err != nil {
		return err
	}
	return f.Memory.Delete(ctx, key)
}

func readJSON(t *testing.T, r *http.Request, v any) {
	if err := json.NewDecoder(r.Body).Decode(v); err != nil {
		t.Error(err)
	}
}

func decode(t *testing.T, data []byte) *event {
	e := new(event)
	if err := json.Unmarshal(data, e); err != nil {
		t.Error(err)
	}
	return e
}
