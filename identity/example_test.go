// SPDX-License-Identifier: Apache-2.0

package identity_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"time"

	"github.com/agent-identity/agent-identity-go/identity"
	"github.com/agent-identity/agent-identity-go/identity/identitytest"
)

// A client for the local cloud, which tests and examples run against; for the
// real service, use identity.New(identity.ConfigFromEnv()).
func exampleClient() (*identity.Client, *identitytest.Server, func()) {
	cloud, err := identitytest.Start(identitytest.Config{})
	if err != nil {
		log.Fatal(err)
	}
	client, err := identity.New(cloud.ClientConfig())
	if err != nil {
		log.Fatal(err)
	}
	return client, cloud, func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_ = cloud.Close(ctx)
	}
}

func ExampleClient() {
	client, cloud, stop := exampleClient()
	defer stop()
	ctx := context.Background()

	token, err := client.GetWorkloadAccessTokenForJWT(ctx, identitytest.Workload, cloud.IDToken("alice"))
	if err != nil {
		log.Fatal(err)
	}
	key, err := client.GetResourceAPIKey(ctx, &identity.GetResourceAPIKeyRequest{
		WorkloadAccessToken: token, Provider: identitytest.APIKeyProvider,
	})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("the token prints as", token)
	fmt.Println("got a key:", len(key.Reveal()) > 0)
	// Output:
	// the token prints as [REDACTED]
	// got a key: true
}

func ExampleAPIError() {
	client, _, stop := exampleClient()
	defer stop()
	_, err := client.GetWorkloadAccessToken(context.Background(), "no-such-agent")
	fmt.Println(errors.Is(err, identity.ErrNotFound))
	if apiErr, ok := errors.AsType[*identity.APIError](err); ok {
		fmt.Println(apiErr.Op, apiErr.Code)
	}
	// Output:
	// true
	// GetWorkloadAccessToken EntityNotExists.WorkloadIdentity
}

func ExampleNewContext() {
	// Once, where the request comes in, after the user has been verified:
	ctx := identity.NewContext(context.Background(), identity.Caller{UserID: "u-17", State: "chat-1"})

	// Anywhere below:
	caller, ok := identity.FromContext(ctx)
	fmt.Println(caller.UserID, caller.State, ok)
	// Output: u-17 chat-1 true
}

func ExampleSecret() {
	key := identity.NewSecret("sk-very-secret")
	fmt.Printf("%v %+v %#v %s %q %x\n", key, key, key, key, key, key)
	fmt.Println(key.Reveal()[:3])
	// Output:
	// [REDACTED] [REDACTED] [REDACTED] [REDACTED] [REDACTED] [REDACTED]
	// sk-
}
