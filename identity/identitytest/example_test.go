// SPDX-License-Identifier: Apache-2.0

package identitytest_test

import (
	"context"
	"fmt"
	"log"
	"testing"
	"time"

	"github.com/agent-identity/agent-identity-go/credentials"
	"github.com/agent-identity/agent-identity-go/identity"
	"github.com/agent-identity/agent-identity-go/identity/identitytest"
	"github.com/agent-identity/agent-identity-go/workload"
)

// In a test, one line starts a cloud of its own.
func ExampleNewServer() {
	_ = func(t *testing.T) {
		cloud := identitytest.NewServer(t)
		client, err := identity.New(cloud.ClientConfig())
		if err != nil {
			t.Fatal(err)
		}
		ctx := identity.NewContext(t.Context(), identity.Caller{UserToken: cloud.IDToken("alice")})
		_, _ = client, ctx
	}
}

// The whole way: a user, an agent, a tool, and what the cloud saw.
func ExampleStart() {
	cloud, err := identitytest.Start(identitytest.Config{})
	if err != nil {
		log.Fatal(err)
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_ = cloud.Close(ctx)
	}()
	client, err := identity.New(cloud.ClientConfig())
	if err != nil {
		log.Fatal(err)
	}
	agent, err := workload.New(workload.Config{Client: client, Name: identitytest.Workload})
	if err != nil {
		log.Fatal(err)
	}
	key := credentials.NewAPIKeySource(agent, credentials.APIKeyConfig{Provider: identitytest.APIKeyProvider})
	tool := credentials.RequiresAPIKey(key, func(_ context.Context, _ credentials.APIKey, city string) (string, error) {
		return "sunny in " + city, nil
	})
	ctx := identity.NewContext(context.Background(), identity.Caller{UserToken: cloud.IDToken("alice")})
	for range 3 {
		out, err := tool(ctx, "Hangzhou")
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(out)
	}
	fmt.Println("calls for alice:", cloud.Count("GetResourceAPIKey", "alice"))
	// Output:
	// sunny in Hangzhou
	// sunny in Hangzhou
	// sunny in Hangzhou
	// calls for alice: 1
}
