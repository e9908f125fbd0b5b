// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/agent-identity/agent-identity-go/credentials"
)

// Redis is a store that the replicas of a service share; through it they also
// wake each other's tools when a consent has been answered. An outage gives
// errors, and heals by itself. Make one with [OpenRedis].
type Redis struct {
	client *redis.Client
	prefix string
}

var (
	_ Store                = (*Redis)(nil)
	_ credentials.Notifier = (*Redis)(nil)
)

// OpenRedis makes a store of the database at address,
// redis://user:password@host:port/db. All keys begin with prefix. It does no
// I/O: whether the server answers shows at the first call.
func OpenRedis(address, prefix string) (*Redis, error) {
	opts, err := redis.ParseURL(address)
	if err != nil { // quotes the address, which may have a password
		return nil, errors.New("store: the address of Redis is not of the form redis://user:password@host:port/0")
	}
	opts.DialTimeout, opts.ReadTimeout, opts.WriteTimeout = 2*time.Second, 2*time.Second, 2*time.Second
	opts.ContextTimeoutEnabled = true
	return &Redis{redis.NewClient(opts), prefix}, nil
}

// Close ends the connections. Later calls fail.
func (r *Redis) Close() error { return r.client.Close() }

func failed(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, redis.Nil):
		return ErrNotFound
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return err
	}
	return fmt.Errorf("store: Redis: %w", err)
}

// Get implements [Store].
func (r *Redis) Get(ctx context.Context, key string) ([]byte, error) {
	value, err := r.client.Get(ctx, r.prefix+key).Bytes()
	return value, failed(err)
}

// Put implements [Store].
func (r *Redis) Put(ctx context.Context, key string, value []byte, ttl time.Duration) error {
	return failed(r.client.Set(ctx, r.prefix+key, value, ttl).Err())
}

// Update implements [Store], by optimistic locking (WATCH and MULTI).
func (r *Redis) Update(ctx context.Context, key string, ttl time.Duration, change func([]byte) ([]byte, error)) error {
	key = r.prefix + key
	for {
		var refused error // change's own, which is not Redis's
		err := r.client.Watch(ctx, func(tx *redis.Tx) error {
			old, err := tx.Get(ctx, key).Bytes()
			if errors.Is(err, redis.Nil) {
				old, err = nil, nil
			}
			if err != nil {
				return err
			}
			var value []byte
			if value, refused = change(old); refused != nil {
				return refused
			}
			_, err = tx.TxPipelined(ctx, func(p redis.Pipeliner) error {
				if value == nil {
					p.Del(ctx, key)
				} else {
					p.Set(ctx, key, value, ttl)
				}
				return nil
			})
			return err
		}, key)
		switch {
		case refused != nil:
			return refused
		case !errors.Is(err, redis.TxFailedErr):
			return failed(err)
		}
		// Somebody else was faster. A little jitter keeps many apart.
		select {
		case <-time.After(rand.N(5 * time.Millisecond)):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Take implements [Store].
func (r *Redis) Take(ctx context.Context, key string) ([]byte, error) {
	value, err := r.client.GetDel(ctx, r.prefix+key).Bytes()
	return value, failed(err)
}

// Delete implements [Store].
func (r *Redis) Delete(ctx context.Context, key string) error {
	return failed(r.client.Del(ctx, r.prefix+key).Err())
}

// Append implements [credentials.PendingStore].
func (r *Redis) Append(ctx context.Context, key string, value []byte, ttl time.Duration) error {
	_, err := r.client.TxPipelined(ctx, func(p redis.Pipeliner) error {
		p.RPush(ctx, r.list(key), value)
		p.PExpire(ctx, r.list(key), ttl)
		return nil
	})
	return failed(err)
}

// List implements [credentials.PendingStore].
func (r *Redis) List(ctx context.Context, key string) ([][]byte, error) {
	values, err := r.client.LRange(ctx, r.list(key), 0, -1).Result()
	return raw(values), failed(err)
}

// TakeAll implements [credentials.PendingStore].
func (r *Redis) TakeAll(ctx context.Context, key string) ([][]byte, error) {
	var values *redis.StringSliceCmd
	_, err := r.client.TxPipelined(ctx, func(p redis.Pipeliner) error {
		values = p.LRange(ctx, r.list(key), 0, -1)
		p.Del(ctx, r.list(key))
		return nil
	})
	if err != nil {
		return nil, failed(err)
	}
	return raw(values.Val()), nil
}

func (r *Redis) list(key string) string { return r.prefix + "list/" + key }

func raw(values []string) [][]byte {
	out := make([][]byte, len(values))
	for i, v := range values {
		out[i] = []byte(v)
	}
	return out
}

// wakeChannel is the same for all services: the backend tells, the agent
// listens. Topics are no secrets.
const wakeChannel = "agent-identity-endtoend/consent"

// Notify implements [credentials.Notifier].
func (r *Redis) Notify(ctx context.Context, topic string) error {
	return failed(r.client.Publish(ctx, wakeChannel, topic).Err())
}

// Listen implements [credentials.Notifier].
func (r *Redis) Listen(ctx context.Context, heard func(topic string)) error {
	sub := r.client.Subscribe(ctx, wakeChannel)
	defer sub.Close()
	for {
		message, err := sub.ReceiveMessage(ctx)
		if err != nil {
			return failed(err)
		}
		heard(message.Payload)
	}
}
