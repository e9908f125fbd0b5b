// SPDX-License-Identifier: Apache-2.0

package store

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	bolt "go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"
)

// File is a store in one file, for one process: what was put survives the
// process, however it ends. Make one with [OpenFile].
type File struct {
	db    *bolt.DB
	swept atomic.Int64 // Unix nanoseconds
}

var _ Store = (*File)(nil)

var (
	valueBucket = []byte("values")
	listBucket  = []byte("lists")
)

// sweepEvery is how often expired entries are looked for.
const sweepEvery = 10 * time.Minute

// OpenFile opens the store in the file at path, and makes it, and its folder, if
// there is none. Only this user may read it. A file that another process has
// open is an error.
func OpenFile(path string) (*File, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("store: %w", err)
	}
	db, err := bolt.Open(path, 0o600, &bolt.Options{Timeout: time.Second})
	switch {
	case errors.Is(err, bolterrors.ErrTimeout):
		return nil, fmt.Errorf("store: the file %s is open in another process; stop that, or choose another file", path)
	case err != nil:
		return nil, fmt.Errorf("store: opening the file %s: %w; if it is no store, move it away", path, err)
	}
	f := &File{db: db}
	err = db.Update(func(tx *bolt.Tx) error {
		for _, name := range [][]byte{valueBucket, listBucket} {
			if _, err := tx.CreateBucketIfNotExists(name); err != nil {
				return err
			}
		}
		return f.sweep(tx)
	})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("store: the file %s: %w", path, err), db.Close())
	}
	return f, nil
}

// Close closes the file. Later calls fail.
func (f *File) Close() error { return f.db.Close() }

// An entry is its end in Unix milliseconds, eight bytes, and the value.
func entry(value []byte, ttl time.Duration) []byte {
	b := binary.BigEndian.AppendUint64(make([]byte, 0, 8+len(value)), uint64(time.Now().Add(ttl).UnixMilli()))
	return append(b, value...)
}

// alive returns an entry's value, which is good within the transaction only, or
// nil if it has ended.
func alive(entry []byte) []byte {
	if len(entry) < 8 || time.Now().UnixMilli() >= int64(binary.BigEndian.Uint64(entry)) {
		return nil
	}
	return entry[8:]
}

func (f *File) read(ctx context.Context, do func(tx *bolt.Tx) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return f.db.View(do)
}

// write runs do, perhaps together with others' and perhaps more than once: it
// must set its results anew each time. It returns when the disk has it.
func (f *File) write(ctx context.Context, do func(tx *bolt.Tx) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return f.db.Batch(func(tx *bolt.Tx) error {
		if time.Since(time.Unix(0, f.swept.Load())) > sweepEvery {
			if err := f.sweep(tx); err != nil {
				return err
			}
		}
		return do(tx)
	})
}

// sweep deletes what has ended.
func (f *File) sweep(tx *bolt.Tx) error {
	for _, name := range [][]byte{valueBucket, listBucket} {
		c := tx.Bucket(name).Cursor()
		for k, v := c.First(); k != nil; k, v = c.Next() {
			if alive(v) == nil {
				if err := c.Delete(); err != nil {
					return err
				}
			}
		}
	}
	f.swept.Store(time.Now().UnixNano())
	return nil
}

// Get implements [Store].
func (f *File) Get(ctx context.Context, key string) (value []byte, err error) {
	err = f.read(ctx, func(tx *bolt.Tx) error {
		v := alive(tx.Bucket(valueBucket).Get([]byte(key)))
		if v == nil {
			return ErrNotFound
		}
		value = bytes.Clone(v)
		return nil
	})
	return value, err
}

// Put implements [Store].
func (f *File) Put(ctx context.Context, key string, value []byte, ttl time.Duration) error {
	return f.write(ctx, func(tx *bolt.Tx) error {
		return tx.Bucket(valueBucket).Put([]byte(key), entry(value, ttl))
	})
}

// Update implements [Store].
func (f *File) Update(ctx context.Context, key string, ttl time.Duration, change func([]byte) ([]byte, error)) error {
	return f.write(ctx, func(tx *bolt.Tx) error {
		b := tx.Bucket(valueBucket)
		value, err := change(alive(b.Get([]byte(key))))
		switch {
		case err != nil:
			return err
		case value == nil:
			return b.Delete([]byte(key))
		}
		return b.Put([]byte(key), entry(value, ttl))
	})
}

// Take implements [Store].
func (f *File) Take(ctx context.Context, key string) (value []byte, err error) {
	found := false
	err = f.write(ctx, func(tx *bolt.Tx) error {
		b := tx.Bucket(valueBucket)
		v := alive(b.Get([]byte(key)))
		value, found = bytes.Clone(v), v != nil
		return b.Delete([]byte(key))
	})
	if err == nil && !found {
		err = ErrNotFound
	}
	if err != nil {
		return nil, err
	}
	return value, nil
}

// Delete implements [Store].
func (f *File) Delete(ctx context.Context, key string) error {
	return f.write(ctx, func(tx *bolt.Tx) error { return tx.Bucket(valueBucket).Delete([]byte(key)) })
}

// Append implements [credentials.PendingStore].
func (f *File) Append(ctx context.Context, key string, value []byte, ttl time.Duration) error {
	return f.write(ctx, func(tx *bolt.Tx) error {
		b := tx.Bucket(listBucket)
		values, err := pending(b.Get([]byte(key)))
		if err != nil {
			return err
		}
		text, err := json.Marshal(append(values, value))
		if err != nil {
			return err
		}
		return b.Put([]byte(key), entry(text, ttl))
	})
}

// List implements [credentials.PendingStore].
func (f *File) List(ctx context.Context, key string) (values [][]byte, err error) {
	err = f.read(ctx, func(tx *bolt.Tx) error {
		values, err = pending(tx.Bucket(listBucket).Get([]byte(key)))
		return err
	})
	return values, err
}

// TakeAll implements [credentials.PendingStore].
func (f *File) TakeAll(ctx context.Context, key string) (values [][]byte, err error) {
	err = f.write(ctx, func(tx *bolt.Tx) error {
		b := tx.Bucket(listBucket)
		var err error
		if values, err = pending(b.Get([]byte(key))); err != nil {
			return err
		}
		return b.Delete([]byte(key))
	})
	if err != nil {
		return nil, err
	}
	return values, nil
}

// pending reads a list's entry.
func pending(entry []byte) (values [][]byte, err error) {
	text := alive(entry)
	if text == nil {
		return nil, nil
	}
	if err := json.Unmarshal(text, &values); err != nil {
		return nil, fmt.Errorf("store: a list is damaged: %w", err)
	}
	return values, nil
}
