// SPDX-License-Identifier: Apache-2.0

// # When a call goes wrong
//
// The tables are written by TestFaultTable, which lets each call of the service
// go wrong in each way. An error is found with errors.Is, an
// [AuthorizationRequiredError] and the Code of an [identity.APIError] with
// errors.As. No caller waits longer than 16 seconds, or its own ctx.
//
// Without a value that is kept:
//
//	fault                workload token         STS                    API key                OAuth2 token                confirmation
//	throttled, wait 1 s  ErrThrottled           ErrThrottled           ErrThrottled           ErrThrottled                ErrThrottled
//	throttled, wait 1 h  ErrThrottled           ErrThrottled           ErrThrottled           ErrThrottled                ErrThrottled
//	status 503           ErrUnavailable         ErrUnavailable         ErrUnavailable         ErrUnavailable              ErrUnavailable
//	access denied        ErrAccessDenied        ErrAccessDenied        ErrAccessDenied        ErrAccessDenied             ErrAccessDenied
//	answer after 1 s     ok                     ok                     ok                     ok                          ok
//	connection dropped   ErrUnavailable         ErrUnavailable         ErrUnavailable         ErrUnavailable              ErrUnavailable
//	no answer            ErrUnavailable         ErrUnavailable         ErrUnavailable         ErrUnavailable              ErrUnavailable
//	JSON cut short       CodeMalformedResponse  CodeMalformedResponse  CodeMalformedResponse  CodeMalformedResponse       CodeMalformedResponse
//	HTML page, 502       ErrUnavailable         ErrUnavailable         ErrUnavailable         ErrUnavailable              ErrUnavailable
//	HTML page, 200       CodeMalformedResponse  CodeMalformedResponse  CodeMalformedResponse  CodeMalformedResponse       CodeMalformedResponse
//	empty object         CodeMalformedResponse  CodeMalformedResponse  CodeMalformedResponse  CodeMalformedResponse       ok
//	expired on arrival   –                      ErrExpiredOnArrival    –                      –                           –
//	grant revoked        –                      –                      –                      AuthorizationRequiredError  –
//	session failed       –                      –                      –                      ErrAuthorizationDenied      –
//
// With a value in its last stretch, the caller gets that value, after two
// seconds at most, and the renewal is tried again until the value ends:
//
//	fault                workload token  STS  API key  OAuth2 token
//	throttled, wait 1 s  ok              ok   ok       ok
//	throttled, wait 1 h  ok              ok   ok       ok
//	status 503           ok              ok   ok       ok
//	access denied        ok              ok   ok       ok
//	answer after 1 s     ok              ok   ok       ok
//	connection dropped   ok              ok   ok       ok
//	no answer            ok              ok   ok       ok
//	JSON cut short       ok              ok   ok       ok
//	HTML page, 502       ok              ok   ok       ok
//	HTML page, 200       ok              ok   ok       ok
//	empty object         ok              ok   ok       ok
//	expired on arrival   –               ok   –        –
//	grant revoked        –               –    –        ok
//	session failed       –               –    –        ok
//
// A value that is not in its last stretch is served without a call. An OAuth2
// token has no last stretch, so that a revocation takes effect at its end.
package credentials
