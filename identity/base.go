// SPDX-License-Identifier: Apache-2.0

package identity

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/alibabacloud-go/tea/tea"
	"github.com/aliyun/credentials-go/credentials"

	"github.com/agent-identity/agent-identity-go/internal/acs"
	"github.com/agent-identity/agent-identity-go/internal/tokencache"
)

// baseLife is how long what the credential chain said is used before it is
// asked again. The chain renews temporary credentials three minutes before
// they end, so a snapshot this old is still alive.
const baseLife = time.Minute

// baseCredential stands in front of the credentials-go chain, which has no
// locks and takes no context: one goroutine at a time asks it, all others
// read immutable snapshots and may stop waiting.
type baseCredential struct {
	cache *tokencache.Cache[struct{}, acs.Credential]
	// busy holds one element while somebody uses chain.
	busy  chan struct{}
	given credentials.Credential // nil for the default chain
	chain credentials.Credential // what is asked; nil until it is first needed
}

func newBaseCredential(given credentials.Credential) *baseCredential {
	return &baseCredential{
		cache: tokencache.New[struct{}, acs.Credential](tokencache.Config[struct{}]{MaxEntries: 1, LoadTimeout: time.Minute}),
		busy:  make(chan struct{}, 1),
		given: given,
	}
}

func (b *baseCredential) get(ctx context.Context) (acs.Credential, error) {
	return b.cache.Get(ctx, struct{}{}, b.load)
}

// rejected drops the snapshot that the service did not accept, and reports
// whether it did.
func (b *baseCredential) rejected(err error, used acs.Credential) bool {
	return errors.Is(err, ErrInvalidSigner) && b.cache.Drop(struct{}{}, func(c acs.Credential) bool { return c == used })
}

func (b *baseCredential) load(ctx context.Context) (acs.Credential, time.Time, error) {
	select {
	case b.busy <- struct{}{}:
	case <-ctx.Done():
		return acs.Credential{}, time.Time{}, ctx.Err()
	}
	type result struct {
		cred acs.Credential
		err  error
	}
	done := make(chan result, 1)
	go func() {
		// The chain cannot be cancelled. If everybody has gone, this goes on
		// alone: the next load waits for it.
		defer func() { <-b.busy }()
		cred, err := b.ask()
		done <- result{cred, err}
	}()
	select {
	case r := <-done:
		return r.cred, time.Now().Add(baseLife), r.err
	case <-ctx.Done():
		return acs.Credential{}, time.Time{}, ctx.Err()
	}
}

// ask asks the chain. Only the holder of busy may call it.
func (b *baseCredential) ask() (cred acs.Credential, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("identity: the credential provider panicked with a %T", p)
		}
	}()
	if b.chain == nil {
		if b.chain = b.given; b.chain == nil {
			if b.chain, err = credentials.NewCredential(nil); err != nil {
				return acs.Credential{}, &baseError{"the default credential chain cannot be made", err}
			}
		}
	}
	m, err := b.chain.GetCredential()
	if err != nil {
		// The chain remembers what it tried last, even where that failed, and
		// would ask nothing else again: the next time is with a new one.
		b.chain = nil
		if b.given != nil {
			return acs.Credential{}, &baseError{"the credential of Config.Credential cannot be had", err}
		}
		return acs.Credential{}, &baseError{"the default credential chain found none (" + lookedAt() +
			"); set ALIBABA_CLOUD_ACCESS_KEY_ID and ALIBABA_CLOUD_ACCESS_KEY_SECRET, or configure Config.Credential", err}
	}
	if m == nil {
		return acs.Credential{}, errors.New("identity: the credential provider returned nothing")
	}
	cred = acs.Credential{
		AccessKeyID:     tea.StringValue(m.AccessKeyId),
		AccessKeySecret: tea.StringValue(m.AccessKeySecret),
		SecurityToken:   tea.StringValue(m.SecurityToken),
		BearerToken:     tea.StringValue(m.BearerToken),
		ProviderName:    tea.StringValue(m.ProviderName),
	}
	if cred.BearerToken == "" && (cred.AccessKeyID == "" || cred.AccessKeySecret == "") {
		return acs.Credential{}, errors.New("identity: the credential provider returned an incomplete access key")
	}
	return cred, nil
}

// baseError is a failure of a credential provider. Its text is ours: providers
// quote answers and configuration files, secrets included. Their own words are
// behind errors.Unwrap.
type baseError struct {
	text string
	err  error
}

func (e *baseError) Error() string {
	return "identity: no Alibaba Cloud credential of the agent's own: " + e.text
}

func (e *baseError) Unwrap() error { return e.err }

// lookedAt says what the default chain had to look at.
func lookedAt() string {
	set := func(what string, names ...string) string {
		for _, name := range names {
			if os.Getenv(name) == "" {
				return what + ": " + name + " is not set"
			}
		}
		return what + ": is set"
	}
	file := func(what, env string, parts ...string) string {
		path := os.Getenv(env)
		if path == "" {
			home, err := os.UserHomeDir()
			if err != nil {
				return what + ": there is no home directory"
			}
			path = filepath.Join(append([]string{home}, parts...)...)
		}
		if _, err := os.Stat(path); err != nil {
			return what + ": there is no " + path
		}
		return what + ": " + path + " has none that can be used"
	}
	instance := "instance role: no answer"
	if strings.EqualFold(os.Getenv("ALIBABA_CLOUD_ECS_METADATA_DISABLED"), "true") {
		instance = "instance role: disabled"
	}
	return strings.Join([]string{
		set("environment", "ALIBABA_CLOUD_ACCESS_KEY_ID", "ALIBABA_CLOUD_ACCESS_KEY_SECRET"),
		set("OIDC role", "ALIBABA_CLOUD_ROLE_ARN", "ALIBABA_CLOUD_OIDC_PROVIDER_ARN", "ALIBABA_CLOUD_OIDC_TOKEN_FILE"),
		file("CLI profile", "ALIBABA_CLOUD_CONFIG_FILE", ".aliyun", "config.json"),
		file("credentials file", "ALIBABA_CLOUD_CREDENTIALS_FILE", ".alibabacloud", "credentials"),
		instance,
		set("credentials URI", "ALIBABA_CLOUD_CREDENTIALS_URI"),
	}, "; ")
}
