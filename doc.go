// SPDX-License-Identifier: Apache-2.0

// Package agentidentity is the map of the module: the Go SDK for giving AI
// agents an identity and the credentials to act for a user, with Alibaba Cloud
// Agent Identity.
//
// An agent has a workload identity. With it, and with proof of which user it
// acts for, it gets a workload access token, and with that the user's OAuth2
// tokens, API keys and STS credentials from a token vault; where needed, the
// user is asked for consent.
//
//	identity     the service client, Caller (who the agent acts for), Secret, APIError
//	workload     the agent's own identity: its name, tokens and STS sessions for each caller
//	credentials  sources of credentials, and the decorators RequiresOAuth2,
//	             RequiresAPIKey, RequiresSTS and RequiresWorkloadToken around tool functions
//	tools        tools for models: JSON schema from Go structs, checked arguments
//	llm          messages, streaming, and the DashScope client
//
//	identity/control       the control plane: workload identities, providers, token vaults
//	identity/identitytest  the local cloud, to test against offline
//	examples/endtoend      the full sample: agent, backend and web page
//
// Imports run one way: identity ← workload ← credentials ← tools; llm stands
// beside them and the examples on top. This package itself has no code.
package agentidentity
