// SPDX-License-Identifier: Apache-2.0

package credentials

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/agent-identity/agent-identity-go/identity"
	"github.com/agent-identity/agent-identity-go/workload"
)

const (
	// DefaultOAuth2Life is how long an OAuth2 token is kept. The service
	// returns no expiry and renews tokens in its vault; keeping one longer
	// would outlive a user's revocation.
	DefaultOAuth2Life = time.Minute
	// DefaultAuthorizationTimeout is how long a source waits for a person.
	DefaultAuthorizationTimeout = 5 * time.Minute
)

// OAuth2Token is an access token for a resource, granted by the user.
type OAuth2Token struct {
	AccessToken identity.Secret
	Provider    string   // the credential provider it comes from
	Scopes      []string // asked for; do not modify
	// Expires is when the source keeps it no longer and another use may get
	// another one; zero if it keeps nothing. The service does not say how long
	// the token itself lives.
	Expires time.Time
}

// Authorization asks for a user's consent.
type Authorization struct {
	Provider   string   // OAuth2 credential provider
	Scopes     []string // asked for; do not modify
	URL        string   // for this user's browser only; works once
	SessionURI string   // for identity.Client.CompleteResourceTokenAuth
	// Caller is who began the session: its token or user id, and no other of
	// the same user, must confirm it.
	Caller identity.Caller
	// Deadline is when the source stops waiting.
	Deadline time.Time
	// Tool is the tool that asks, in words for the user. Sources leave it
	// empty; who passes the authorization on may know.
	Tool string
}

// OAuth2Config configures an [OAuth2Source].
type OAuth2Config struct {
	// Provider is the name of the OAuth2 credential provider. Required.
	Provider string
	// Scopes are the scopes asked for.
	Scopes []string
	// Flow is the OAuth2 flow. If empty, [identity.FlowUserFederation].
	Flow string
	// Audience names the target application of [identity.FlowOnBehalfOf].
	Audience string
	// CallbackURL is where the user's browser returns after consent. Needed
	// while session binding is on.
	CallbackURL string
	// CustomParameters are added to the authorization request. The custom
	// state is the State of the caller.
	CustomParameters map[string]string
	// ForceAuthentication asks the user again although they have granted
	// access before: once for each token, which is kept for Life.
	ForceAuthentication bool
	// OnAuthorization is told that the user must consent. If nil, the source
	// does not wait: its error is an [*AuthorizationRequiredError]. If it
	// returns an error, that is the source's. It is called once for each ctx
	// that waits, however many calls wait with it, with the same link for all
	// that wait for the same grant of the same user, and must be safe for
	// concurrent use.
	OnAuthorization func(ctx context.Context, a Authorization) error
	// Timeout is how long to wait for the user. If zero,
	// [DefaultAuthorizationTimeout].
	Timeout time.Duration
	// Life is how long a token is kept. If nil, [DefaultOAuth2Life]; zero
	// shares a call among those who wait and keeps nothing. A token that is a
	// JWT is never kept past its own end.
	Life *time.Duration
}

// OAuth2Source supplies OAuth2 tokens. It is safe for concurrent use.
type OAuth2Source struct {
	agent  *workload.Agent
	cfg    OAuth2Config
	life   time.Duration
	params string // canonical form of what a grant depends on
	key    workload.CacheKey
	loader func(context.Context) (OAuth2Token, time.Time, error) // load, bound once
}

var (
	_ Source[OAuth2Token]   = (*OAuth2Source)(nil)
	_ Rejecter[OAuth2Token] = (*OAuth2Source)(nil)
)

// NewOAuth2Source makes a source. A missing provider name is reported by each
// use.
func NewOAuth2Source(agent *workload.Agent, cfg OAuth2Config) *OAuth2Source {
	cfg.Scopes = slices.Clone(cfg.Scopes)
	if cfg.Timeout <= 0 {
		cfg.Timeout = DefaultAuthorizationTimeout
	}
	s := &OAuth2Source{
		agent: agent, cfg: cfg, life: DefaultOAuth2Life, params: canonicalParams(cfg),
	}
	s.key = workload.NewCacheKey(workload.KindOAuth2, cfg.Provider, s.params)
	if cfg.Life != nil {
		s.life = *cfg.Life
	}
	s.loader = s.load
	return s
}

// canonicalParams tells grants apart: sorted unique scopes, return URL, flow,
// audience and custom parameters, each text with its length.
func canonicalParams(cfg OAuth2Config) string {
	var b strings.Builder
	put := func(s string) {
		b.WriteString(strconv.Itoa(len(s)) + ":" + s)
	}
	scopes := slices.Compact(slices.Sorted(slices.Values(cfg.Scopes)))
	put(cfg.Provider)
	put(cfg.Flow)
	put(cfg.Audience)
	put(cfg.CallbackURL)
	put(strconv.FormatBool(cfg.ForceAuthentication))
	for _, scope := range scopes {
		put(scope)
	}
	put("")
	names := make([]string, 0, len(cfg.CustomParameters))
	for name := range cfg.CustomParameters {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		put(name)
		put(cfg.CustomParameters[name])
	}
	return b.String()
}

// Credential returns an OAuth2 token for the caller in ctx, as the package
// documentation describes.
func (s *OAuth2Source) Credential(ctx context.Context) (OAuth2Token, error) {
	if s.cfg.Provider == "" {
		return OAuth2Token{}, errNoProvider("OAuth2Config")
	}
	if key, _ := identity.KeysFromContext(ctx); key.IsZero() {
		return OAuth2Token{}, wrap(s.cfg.Provider, identity.ErrNoCaller)
	}
	token, err := workload.Cached(ctx, s.agent, s.key, s.loader)
	if err == nil {
		return token, nil
	}
	if pending, ok := errors.AsType[*pendingError](err); ok {
		ask := s.cfg.OnAuthorization
		if other, ok := ctx.Value(askKey{}).(asker); ok {
			ask = other
		}
		if ask == nil {
			return OAuth2Token{}, required(pending.consent.authorization(&s.cfg, time.Time{}))
		}
		if token, err = s.await(ctx, ask, pending.consent); err == nil {
			return token, nil
		}
	}
	return OAuth2Token{}, wrap(s.cfg.Provider, err)
}

type askKey struct{}

type asker func(context.Context, Authorization) error

// WithAuthorizer returns a context in which every [OAuth2Source] asks the user
// by onAuthorization instead of its own, and waits: for callers who know better
// how to reach the person, such as the server of a protocol that has a way of
// its own to ask.
func WithAuthorizer(ctx context.Context, onAuthorization func(context.Context, Authorization) error) context.Context {
	return context.WithValue(ctx, askKey{}, asker(onAuthorization))
}

// WithoutAsking returns a context in which no [OAuth2Source] asks the user:
// where one would, its error is an [*AuthorizationRequiredError], as without
// OnAuthorization. It is for what may use a grant that is there and is not worth
// asking for one, such as listing the tools of a server.
func WithoutAsking(ctx context.Context) context.Context { return WithAuthorizer(ctx, nil) }

// Resume goes on with an authorization session that was begun elsewhere: in
// another process, or in this one before it was started anew. For the rest it
// does what Credential does. A session that has ended, or that is not this
// user's, is replaced by a new one.
//
// Within one process nothing needs to be resumed: Credential joins the session
// that is open.
func (s *OAuth2Source) Resume(ctx context.Context, sessionURI string) (OAuth2Token, error) {
	caller, _ := identity.FromContext(ctx)
	if s.cfg.Provider != "" && sessionURI != "" && !caller.Key().IsZero() {
		key := consentKey{s.agent, caller.Subject(), s.params}
		unlock, err := consents.lock(ctx, key)
		if err != nil {
			return OAuth2Token{}, wrap(s.cfg.Provider, err)
		}
		if c := consents.find(key); c == nil || c.sessionURI != sessionURI {
			// The state is the one thing known of who began it.
			consents.add(newConsent(key, identity.Caller{State: caller.State}, "", sessionURI))
		}
		unlock()
	}
	return s.Credential(ctx)
}

// Reject drops token for the caller in ctx, if it is still the one kept.
func (s *OAuth2Source) Reject(ctx context.Context, token OAuth2Token) {
	workload.Reject(ctx, s.agent, s.key, func(kept OAuth2Token) bool { return kept.AccessToken.Equal(token.AccessToken) })
}

// pendingError carries a consent out of the cache, which keeps no errors.
type pendingError struct{ consent *consent }

func (*pendingError) Error() string { return "the user must authorize access first" }

// Expected tells the cache that this is no failure.
func (*pendingError) Expected() {}

// load asks for a token. If the user must consent, it joins the consent that
// is pending for this user and grant, or begins it.
func (s *OAuth2Source) load(ctx context.Context) (OAuth2Token, time.Time, error) {
	caller, _ := identity.FromContext(ctx)
	// The service has to accept this very caller before anything is shared
	// with it: the subject of a token alone proves nothing.
	if _, err := s.agent.Token(ctx); err != nil {
		return OAuth2Token{}, time.Time{}, err
	}
	key := consentKey{s.agent, caller.Subject(), s.params}
	unlock, err := consents.lock(ctx, key)
	if err != nil {
		return OAuth2Token{}, time.Time{}, err
	}
	defer unlock()

	if c := consents.find(key); c != nil {
		token, err := s.ask(ctx, c)
		if err == nil {
			return token, token.Expires, nil
		}
		if ended(err) && !errors.Is(err, identity.ErrInvalidUserToken) {
			c.finish(OAuth2Token{}, err) // the service does not know it any more
		}
		if c.pending() || errors.Is(err, ErrAuthorizationDenied) {
			return OAuth2Token{}, time.Time{}, err
		}
		// That consent is over without a decision: begin another. A refusal, on
		// the other hand, is told once before the user is asked again.
	}
	token, err := s.ask(ctx, nil)
	return token, token.Expires, err
}

// ask sends the full request, as the next step of consent c or, with nil, as
// the first. A token that comes ends c for all who wait.
func (s *OAuth2Source) ask(ctx context.Context, c *consent) (OAuth2Token, error) {
	caller, _ := identity.FromContext(ctx)
	req := identity.GetResourceOAuth2TokenRequest{
		Provider: s.cfg.Provider, Flow: s.cfg.Flow, Scopes: s.cfg.Scopes, Audience: s.cfg.Audience,
		ReturnURL: s.cfg.CallbackURL, CustomState: caller.State, CustomParameters: s.cfg.CustomParameters,
		ForceAuthentication: new(s.cfg.ForceAuthentication && c == nil),
	}
	if c != nil {
		req.SessionURI = c.sessionURI
	}
	var answer *identity.ResourceOAuth2Token
	err := s.agent.Do(ctx, func(token identity.Secret, signer *identity.STSCredentials) (err error) {
		req.WorkloadAccessToken, req.Signer = token, signer
		answer, err = s.agent.Client().GetResourceOAuth2Token(ctx, &req)
		return err
	})
	if err != nil {
		return OAuth2Token{}, err
	}
	if !answer.AccessToken.IsZero() {
		token := OAuth2Token{
			AccessToken: answer.AccessToken, Provider: s.cfg.Provider, Scopes: s.cfg.Scopes,
			Expires: expiry(ctx, s.life, answer.AccessToken),
		}
		if c != nil {
			c.finish(token, nil)
		}
		return token, nil
	}
	if err := outcome(answer.SessionStatus); err != nil {
		if c != nil {
			c.finish(OAuth2Token{}, err)
		}
		return OAuth2Token{}, err
	}
	if c == nil {
		if answer.AuthorizationURL == "" || answer.SessionURI == "" {
			return OAuth2Token{}, errNoLink
		}
		c = consents.add(newConsent(consentKey{s.agent, caller.Subject(), s.params}, caller, answer.AuthorizationURL, answer.SessionURI))
	} else if answer.AuthorizationURL != "" {
		c.learn(answer.AuthorizationURL)
	}
	return OAuth2Token{}, &pendingError{c}
}

var errNoLink = errors.New("the service returned neither a token nor a link to authorize access")

// await shows c to the caller and waits for its end.
func (s *OAuth2Source) await(ctx context.Context, ask asker, c *consent) (OAuth2Token, error) {
	deadline, epoch := time.Now().Add(s.cfg.Timeout), s.agent.Epoch()
	w, first, stop := c.watch(ctx, s)
	defer stop()
	if first {
		w.err = ask(ctx, c.authorization(&s.cfg, deadline))
		close(w.told)
	}
	timer := time.NewTimer(time.Until(deadline))
	defer timer.Stop()
	told := w.told
	for {
		select {
		case <-told:
			if w.err != nil {
				return OAuth2Token{}, w.err
			}
			told = nil
		case <-c.done:
			if c.err != nil {
				return OAuth2Token{}, c.err
			}
			// Through the cache, so that the next call of this caller finds it.
			return workload.Cached(ctx, s.agent, s.key, func(ctx context.Context) (OAuth2Token, time.Time, error) {
				token := c.token
				token.Expires = expiry(ctx, s.life, token.AccessToken)
				if s.agent.Epoch() != epoch {
					token.Expires = time.Time{} // forgotten meanwhile: for those who waited alone
				}
				return token, token.Expires, nil
			})
		case err := <-w.lost:
			w.lost <- err // for the other calls with this ctx
			return OAuth2Token{}, err
		case <-timer.C:
			return OAuth2Token{}, ErrAuthorizationTimeout
		case <-s.agent.Done():
			return OAuth2Token{}, workload.ErrClosed
		case <-ctx.Done():
			return OAuth2Token{}, ctx.Err()
		}
	}
}
