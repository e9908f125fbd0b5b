// SPDX-License-Identifier: Apache-2.0

// Package identity is the client of Alibaba Cloud Agent Identity.
//
// An agent has a workload identity. With it, and with proof of the user it
// acts for, it gets a workload access token, and with that the user's OAuth2
// tokens, API keys and STS credentials:
//
//	client, err := identity.New(identity.Config{Region: "cn-beijing"})
//	token, err := client.GetWorkloadAccessTokenForJWT(ctx, "my-agent", idToken)
//	key, err := client.GetResourceAPIKey(ctx, &identity.GetResourceAPIKeyRequest{
//		WorkloadAccessToken: token,
//		Provider:            "weather",
//	})
//
// Most programs do not call these operations: package workload keeps the
// agent's tokens, and package credentials hands the user's credentials to tool
// functions.
//
// # Who the agent acts for
//
// The [Caller] is put into the context once, where a request comes in, with
// [NewContext]. Every layer reads it from there with [FromContext]; none takes
// a user from anywhere else.
//
// # Secrets
//
// Tokens and keys are of type [Secret], which prints as [REDACTED] with every
// verb, in JSON and in slog. [Secret.Reveal] is the one way out.
//
// # Errors
//
// What the service refuses, and calls that got no answer, are [*APIError];
// branch with errors.Is on [ErrNotFound], [ErrAlreadyExists], [ErrThrottled],
// [ErrAccessDenied], [ErrUnavailable], [ErrInvalidUserToken] and
// [ErrInvalidWorkloadToken]. Code written for the official SDKs can use
// errors.As with *tea.SDKError. The error of an ended ctx comes back as it is.
//
// # Session binding
//
// Keep session binding switched on for workload identities that ask users for
// OAuth2 consent ([CreateWorkloadIdentityRequest.SessionBindingEnabled]).
// Without it, a forwarded authorization link stores the victim's grant for the
// one who sent it.
package identity
