// SPDX-License-Identifier: Apache-2.0

// Package identitytest is the local cloud as a test server: Agent Identity
// with verified signatures, an OpenID Connect and OAuth 2.1 server, a
// DashScope endpoint with a simulated model, and example resources. Everything
// runs on one loopback listener and speaks the real wire protocols.
//
//	func TestMyTool(t *testing.T) {
//		cloud := identitytest.NewServer(t)
//		client, err := identity.New(cloud.ClientConfig())
//		agent, err := workload.New(workload.Config{Client: client, Name: identitytest.Workload})
//		ctx := identity.NewContext(t.Context(), identity.Caller{UserToken: cloud.IDToken("alice")})
//		…
//	}
//
// At the start there are the users alice and bob, the workload identity
// [Workload], the API key provider [APIKeyProvider] and the OAuth2 provider
// [OAuth2Provider]; more can be added. A user's consent is given in a browser, by
// [Server.Authorize] in a test of one's own callback, or by [Server.ScriptUser]
// where the callback does not matter.
//
// [Server.Inject] lets operations fail, [Server.Advance] moves the time, and
// [Server.Calls] tells what was asked, secrets masked. Each cloud has its own
// port and state, so that tests run in parallel; it starts in a millisecond.
//
// The cloud is strict: unregistered names, wrong signatures, return URLs that
// are not allowed, sessions of another user and unknown parameters are
// refused. It is a simulation all the same, and says so on every page.
package identitytest
