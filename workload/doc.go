// SPDX-License-Identifier: Apache-2.0

// Package workload is the agent's own identity: it knows the name of the
// workload identity, and obtains and keeps workload access tokens and STS
// sessions for each caller.
//
//	agent, err := workload.New(workload.Config{Client: client, Name: "my-agent"})
//	...
//	ctx = identity.NewContext(ctx, identity.Caller{UserToken: idToken})
//	token, err := agent.Token(ctx)
//
// The user comes from the context alone: the user's token wins, then the user
// id, then the agent acts for itself. What is kept for one user is never
// served to another; any number of goroutines that need the same thing share
// one call.
//
// Programs that want the credentials of a resource use package credentials.
package workload
