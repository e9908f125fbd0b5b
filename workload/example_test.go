// SPDX-License-Identifier: Apache-2.0

package workload_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"time"

	"github.com/agent-identity/agent-identity-go/identity"
	"github.com/agent-identity/agent-identity-go/identity/identitytest"
	"github.com/agent-identity/agent-identity-go/workload"
)

func ExampleAgent() {
	cloud, err := identitytest.Start(identitytest.Config{}) // the local cloud instead of the real one
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
	ctx := identity.NewContext(context.Background(), identity.Caller{UserToken: cloud.IDToken("alice")})
	for range 3 {
		cred, err := agent.Session(ctx, workload.SessionOptions{})
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println("lives for about", time.Until(cred.Expiration).Round(time.Hour))
	}
	fmt.Println("calls:", cloud.Count("AssumeRoleForWorkloadIdentity"))
	// Output:
	// lives for about 1h0m0s
	// lives for about 1h0m0s
	// lives for about 1h0m0s
	// calls: 1
}

func ExampleNew_noName() {
	client, err := identity.New(identity.Config{})
	if err != nil {
		log.Fatal(err)
	}
	_, err = workload.New(workload.Config{Client: client, ConfigFile: "does-not-exist.json"})
	fmt.Println(errors.Is(err, workload.ErrNoName))
	// Output: true
}
