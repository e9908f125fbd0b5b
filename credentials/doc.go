// SPDX-License-Identifier: Apache-2.0

// Package credentials hands a user's credentials to tool functions.
//
// A [Source] supplies one kind of credential for the caller in the context. A
// decorator binds it to a function, which receives the credential as a typed
// parameter of its own:
//
//	key := credentials.NewAPIKeySource(agent, credentials.APIKeyConfig{Provider: "weather"})
//
//	weather := credentials.RequiresAPIKey(key,
//		func(ctx context.Context, key credentials.APIKey, in Query) (Report, error) { … })
//
//	report, err := weather(ctx, Query{City: "Hangzhou"}) // func(ctx, Query) (Report, error)
//
// The credential is never part of the input, so a model that calls the tool
// can neither see nor invent it. Sources hold configuration, never a user: one
// made at start serves everybody.
//
// # Consent
//
// An [OAuth2Source] may need the user's consent. Without OnAuthorization its
// error is an [*AuthorizationRequiredError] with the link, at once. With it,
// the source tells the link and waits: until the user grants, refuses
// ([ErrAuthorizationDenied]), the session expires ([ErrAuthorizationExpired]),
// nobody answers in time ([ErrAuthorizationTimeout]) or ctx ends. All that
// wait for the same grant of the same user share one session and one link.
//
// Every service or sign-in page that a user returns from needs to be told apart
// from a link that somebody sent them. A [CallbackHandler] is the page that
// CallbackURL names: it checks that the browser that comes back belongs to the
// user who was asked, confirms the grant with the very ID token that asked for
// it, once, and wakes the tools that wait. Replicas share a [PendingStore], and
// a [Notifier] carries wake-ups between processes; polling alone is enough for
// correctness. A handler of one's own calls
// [identity.Client.CompleteResourceTokenAuth] and [NotifyAuthorization].
//
// After a restart, [OAuth2Source.Resume] goes on with a session that was begun
// before.
//
// # HTTP clients
//
// A [Transport] adds the credential of each request's caller to the requests
// of an HTTP client, for the hosts that may have it and no others. Packages
// tokensource (golang.org/x/oauth2), tools/oss (aliyun-oss-go-sdk) and
// [AlibabaCredential] (credentials-go) hand credentials to other libraries.
//
// # When a resource rejects a credential
//
// A function that finds its credential rejected (HTTP status 401) returns an
// error that wraps [ErrRejected]. The decorator drops exactly that credential,
// gets a new one, and calls the function once more. What was obtained with a
// rejected workload token is renewed before its next use.
package credentials
