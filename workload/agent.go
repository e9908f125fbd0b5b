// SPDX-License-Identifier: Apache-2.0

package workload

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/agent-identity/agent-identity-go/identity"
	"github.com/agent-identity/agent-identity-go/internal/randid"
)

// DefaultTokenLife is how long a workload access token is kept. The service
// returns no expiry; measured, tokens live about five minutes.
const DefaultTokenLife = 4 * time.Minute

// Environment variables, the same as the Python SDK's.
const (
	EnvName        = "AGENT_IDENTITY_WORKLOAD_IDENTITY_NAME"
	EnvAccessToken = "AGENT_IDENTITY_WORKLOAD_ACCESS_TOKEN"
	EnvUseSTS      = "AGENT_IDENTITY_USE_STS"
)

// Config configures an [Agent].
type Config struct {
	// Client calls the service. Required.
	Client *identity.Client
	// Name is the name of the workload identity. If empty, the environment
	// variable AGENT_IDENTITY_WORKLOAD_IDENTITY_NAME names it, else the key
	// workload_identity_name of ConfigFile; else New returns [ErrNoName].
	Name string
	// ConfigFile is the JSON file that may name the workload identity. If
	// empty, ".config.json" in the working directory. It is read only where
	// the name comes from nowhere else, and written only by CreateIfMissing.
	ConfigFile string
	// CreateIfMissing creates a workload identity on first use when no name
	// is configured anywhere, and records its name in ConfigFile.
	CreateIfMissing bool
	// NewIdentity describes what CreateIfMissing creates. Without a Name,
	// one is made up; unless it says otherwise, session binding is on.
	NewIdentity identity.CreateWorkloadIdentityRequest
	// AccessToken is a ready-made workload access token for calls without a
	// user. If empty, AGENT_IDENTITY_WORKLOAD_ACCESS_TOKEN. It is never used
	// for a call that has a user.
	AccessToken identity.Secret
	// DisableSTS signs the calls that fetch resource credentials with the
	// client's own credential instead of the STS credentials of the workload
	// identity's role. The environment variable AGENT_IDENTITY_USE_STS with
	// any other value than "true" does the same.
	DisableSTS bool
	// TokenLife is how long workload access tokens are kept, at most until
	// the user's own token ends. If nil, [DefaultTokenLife]; zero shares a
	// call among those who wait and keeps nothing.
	TokenLife *time.Duration
	// MaxEntries bounds the tokens, and likewise the sessions, kept. If
	// zero, 10,000.
	MaxEntries int
}

// Agent is the agent's own identity. It is safe for concurrent use; one serves
// a whole program and all its users. Make one with [New].
type Agent struct {
	client      *identity.Client
	name        *name
	accessToken identity.Secret
	useSTS      bool
	tokenLife   time.Duration
	caches      *caches
	epoch       atomic.Uint64
	closed      chan struct{}
	closeOnce   sync.Once
}

// New makes an agent. It reads the environment and the configuration file, as
// [Config] says, and sends nothing.
func New(cfg Config) (*Agent, error) {
	if cfg.Client == nil {
		return nil, errors.New("workload: Config.Client is required")
	}
	n, err := resolveName(cfg)
	if err != nil {
		return nil, err
	}
	a := &Agent{
		client:      cfg.Client,
		name:        n,
		accessToken: cfg.AccessToken,
		tokenLife:   DefaultTokenLife,
		caches:      newCaches(cfg.MaxEntries),
		closed:      make(chan struct{}),
	}
	if cfg.TokenLife != nil {
		a.tokenLife = *cfg.TokenLife
	}
	if a.accessToken.IsZero() {
		a.accessToken = identity.NewSecret(strings.TrimSpace(os.Getenv(EnvAccessToken)))
	}
	useSTS, set := os.LookupEnv(EnvUseSTS)
	a.useSTS = !cfg.DisableSTS && (!set || useSTS == "true")
	return a, nil
}

// Client returns the service client that the agent uses.
func (a *Agent) Client() *identity.Client { return a.client }

// Name returns the workload identity's name. Only with CreateIfMissing may it
// call the service.
func (a *Agent) Name(ctx context.Context) (string, error) { return a.name.get(ctx, a.client) }

// Token returns a workload access token for the caller in ctx. It is a bearer
// secret worth the workload identity's role on behalf of that user: send it
// only where it must go.
func (a *Agent) Token(ctx context.Context) (identity.Secret, error) {
	token, _, err := a.token(ctx)
	return token, err
}

var tokenKey = NewCacheKey(KindWorkloadToken, "", "")

// token is Token, with the token's id.
func (a *Agent) token(ctx context.Context) (identity.Secret, uint64, error) {
	if key, _ := identity.KeysFromContext(ctx); key.IsZero() && !a.accessToken.IsZero() {
		return a.accessToken, 0, nil
	}
	if k := a.lookup(ctx, tokenKey); k != nil {
		return k.value.(identity.Secret), k.id, nil
	}
	caller, _ := identity.FromContext(ctx)
	k, err := cached(ctx, a, tokenKey, func(ctx context.Context) (identity.Secret, time.Time, error) {
		token, err := a.fetchToken(ctx, caller)
		return token, a.tokenExpiry(caller), err
	})
	if err != nil {
		return identity.Secret{}, 0, err
	}
	return k.value.(identity.Secret), k.id, nil
}

func (a *Agent) fetchToken(ctx context.Context, caller identity.Caller) (identity.Secret, error) {
	name, err := a.Name(ctx)
	if err != nil {
		return identity.Secret{}, err
	}
	switch {
	case !caller.UserToken.IsZero():
		return a.client.GetWorkloadAccessTokenForJWT(ctx, name, caller.UserToken)
	case caller.UserID != "":
		return a.client.GetWorkloadAccessTokenForUserID(ctx, name, caller.UserID)
	}
	return a.client.GetWorkloadAccessToken(ctx, name)
}

// tokenExpiry is when a token obtained now is to be dropped: never later than
// the user's own token ends. The zero time keeps it for nobody.
func (a *Agent) tokenExpiry(caller identity.Caller) time.Time {
	now := time.Now()
	if a.tokenLife <= 0 {
		return time.Time{}
	}
	expires := now.Add(a.tokenLife)
	if end := caller.TokenExpiry(); !end.IsZero() && end.Before(expires) {
		expires = end
	}
	if !expires.After(now) {
		return time.Time{} // the service took the user's token all the same
	}
	return expires
}

// RejectToken drops token for the caller in ctx, if it is still the one kept,
// because the service or a resource did not accept it.
func (a *Agent) RejectToken(ctx context.Context, token identity.Secret) {
	Reject(ctx, a, tokenKey, token.Equal)
}

// SessionOptions narrow an STS session. The zero value is the whole role for
// the service's default duration.
type SessionOptions struct {
	// Policy is a RAM policy document; the session may do what both it and
	// the role allow.
	Policy string
	// Duration is how long the session lives. If zero, one hour.
	Duration time.Duration
}

// key pins everything that a session depends on.
func (o SessionOptions) key() CacheKey {
	if o.Duration <= 0 {
		o.Duration = defaultSession
	}
	return NewCacheKey(KindSTS, "", fmt.Sprintf("%d:%s", o.Duration, o.Policy))
}

// Session returns STS credentials of the workload identity's RAM role on
// behalf of the caller in ctx. They are kept until shortly before they end.
func (a *Agent) Session(ctx context.Context, opts SessionOptions) (identity.STSCredentials, error) {
	cred, _, err := a.session(ctx, opts)
	return cred, err
}

// session is Session, with the credentials' id.
func (a *Agent) session(ctx context.Context, opts SessionOptions) (identity.STSCredentials, uint64, error) {
	key := wholeRole
	if opts != (SessionOptions{}) {
		key = opts.key()
	}
	if k := a.lookup(ctx, key); k != nil {
		return *k.value.(*identity.STSCredentials), k.id, nil
	}
	k, err := cached(ctx, a, key, func(ctx context.Context) (*identity.STSCredentials, time.Time, error) {
		return a.assumeRole(ctx, opts)
	})
	if err != nil {
		return identity.STSCredentials{}, 0, err
	}
	return *k.value.(*identity.STSCredentials), k.id, nil
}

const defaultSession = time.Hour

// wholeRole is the key of the commonest session, made once.
var wholeRole = SessionOptions{}.key()

// RejectSession drops cred for the caller in ctx, if it is still the one kept.
func (a *Agent) RejectSession(ctx context.Context, opts SessionOptions, cred identity.STSCredentials) {
	Reject(ctx, a, opts.key(), func(kept *identity.STSCredentials) bool {
		return kept.AccessKeyID == cred.AccessKeyID && kept.SecurityToken.Equal(cred.SecurityToken)
	})
}

func (a *Agent) assumeRole(ctx context.Context, opts SessionOptions) (*identity.STSCredentials, time.Time, error) {
	if opts.Duration <= 0 {
		opts.Duration = defaultSession
	}
	var role *identity.AssumedRole
	err := a.withToken(ctx, func(token identity.Secret) (err error) {
		role, err = a.client.AssumeRoleForWorkloadIdentity(ctx, &identity.AssumeRoleRequest{
			WorkloadAccessToken: token,
			SessionName:         "AgentIdentitySessionRole-" + randid.UUID(),
			Duration:            opts.Duration,
			Policy:              opts.Policy,
		})
		return err
	})
	if err != nil {
		return nil, time.Time{}, err
	}
	// The server's clock and its expiry tell how long the session lives even
	// where the local clock is wrong.
	expires := role.Credentials.Expiration
	if !role.ServerTime.IsZero() {
		expires = time.Now().Add(expires.Sub(role.ServerTime))
	}
	// What stands for a user is not kept past the user's own token.
	caller, _ := identity.FromContext(ctx)
	if end := caller.TokenExpiry(); !end.IsZero() && end.Before(expires) && !time.Now().After(expires) {
		expires = end
		if !end.After(time.Now()) {
			expires = time.Time{} // the service took it all the same
		}
	}
	return &role.Credentials, expires, nil
}

// withToken runs call with a workload access token, and once more with a new
// one if the service says that this one is not valid.
func (a *Agent) withToken(ctx context.Context, call func(token identity.Secret) error) error {
	used := lineageOf(ctx)
	token, id, err := a.token(ctx)
	if err != nil {
		return err
	}
	used.token = id
	err = call(token)
	if !errors.Is(err, identity.ErrInvalidWorkloadToken) {
		return err
	}
	a.RejectToken(ctx, token)
	renewed, id, tokenErr := a.token(ctx)
	if tokenErr != nil {
		return tokenErr
	}
	if renewed.Equal(token) {
		return err
	}
	used.token = id
	return call(renewed)
}

// Do runs call, which fetches a resource credential, with a workload access
// token for the caller in ctx and the credentials to sign with (nil: the
// client's own). If the service says that one of them is not valid any more,
// it is renewed and call runs once more.
func (a *Agent) Do(ctx context.Context, call func(token identity.Secret, signer *identity.STSCredentials) error) error {
	return a.withToken(ctx, func(token identity.Secret) error {
		if !a.useSTS {
			return call(token, nil)
		}
		used := lineageOf(ctx)
		signer, id, err := a.session(ctx, SessionOptions{})
		if err != nil {
			return err
		}
		used.signer = id
		err = call(token, &signer)
		if !errors.Is(err, identity.ErrInvalidSigner) {
			return err
		}
		a.RejectSession(ctx, SessionOptions{}, signer)
		if signer, used.signer, err = a.session(ctx, SessionOptions{}); err != nil {
			return err
		}
		return call(token, &signer)
	})
}
