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

// readDocument stands for a tool of your own.
func readDocument(agent *workload.Agent) func(context.Context, string) (string, error) {
	docs := credentials.NewOAuth2Source(agent, credentials.OAuth2Config{
		Provider: identitytest.OAuth2Provider, Scopes: []string{"openid"}, CallbackURL: identitytest.DefaultReturnURL,
		OnAuthorization: func(context.Context, credentials.Authorization) error { return nil },
	})
	return credentials.RequiresOAuth2(docs, func(_ context.Context, token credentials.OAuth2Token, name string) (string, error) {
		return fmt.Sprint(name, " with ", token.AccessToken), nil
	})
}

var testReadDocument func(*testing.T)

func TestTheExample(t *testing.T) {
	ExampleNewServer()
	testReadDocument(t)
}

// Your own tool, tested in ten lines: a user who is asked for consent, and
// grants it. The same with identitytest.Deny, and with a service that fails.
func ExampleNewServer() {
	testReadDocument = func(t *testing.T) {
		cloud := identitytest.NewServer(t)
		client, _ := identity.New(cloud.ClientConfig())
		agent, _ := workload.New(workload.Config{Client: client, Name: identitytest.Workload})
		cloud.ScriptUser("alice", identitytest.Allow)
		cloud.Inject("GetResourceOAuth2Token", identitytest.ServiceError(503, "ServiceUnavailable").Times(1))

		ctx := identity.NewContext(t.Context(), identity.Caller{UserToken: cloud.IDToken("alice")})
		if text, err := readDocument(agent)(ctx, "notes"); err != nil || text != "notes with [REDACTED]" {
			t.Errorf("got %q, %v", text, err)
		}
		if n := cloud.Count("CompleteResourceTokenAuth", "alice"); n != 1 {
			t.Errorf("%d grants", n)
		}
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
