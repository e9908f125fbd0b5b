// SPDX-License-Identifier: Apache-2.0

package control_test

import (
	"context"
	"errors"
	"fmt"
	"log"

	"github.com/agent-identity/agent-identity-go/identity"
	"github.com/agent-identity/agent-identity-go/identity/control"
	"github.com/agent-identity/agent-identity-go/identity/identitytest"
)

// Makes an agent's identity if it is not there, and lists all that are. Here it
// runs against the local cloud; identity.Config{} is the real one.
func Example() {
	cloud, err := identitytest.Start(identitytest.Config{})
	if err != nil {
		log.Fatal(err)
	}
	ctx := context.Background()
	defer cloud.Close(ctx)
	client, err := identity.New(cloud.ClientConfig())
	if err != nil {
		log.Fatal(err)
	}
	plane := control.New(client)

	_, err = plane.CreateWorkloadIdentity(ctx, &identity.CreateWorkloadIdentityRequest{
		Name: "my-agent", IdentityProvider: identitytest.IdentityProvider, SessionBindingEnabled: new(true),
		AllowedReturnURLs: []string{"https://my.app/callback"},
	})
	if err != nil && !errors.Is(err, identity.ErrAlreadyExists) {
		log.Fatal(err)
	}
	for w, err := range plane.WorkloadIdentities(ctx, nil) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(w.Name, w.SessionBindingEnabled)
	}
	// Output:
	// my-agent true
	// test-agent true
}
