// SPDX-License-Identifier: Apache-2.0

package tools_test

import (
	"context"
	"fmt"
	"log"

	"github.com/agent-identity/agent-identity-go/credentials"
	"github.com/agent-identity/agent-identity-go/identity"
	"github.com/agent-identity/agent-identity-go/tools"
)

func ExampleNew() {
	type Query struct {
		City string `json:"city" jsonschema:"the city's name"`
	}
	key := credentials.SourceFunc[credentials.APIKey](func(context.Context) (credentials.APIKey, error) {
		return credentials.APIKey{Key: identity.NewSecret("k")}, nil
	})
	weather := credentials.RequiresAPIKey(key, func(_ context.Context, _ credentials.APIKey, in Query) (string, error) {
		return "sunny in " + in.City, nil
	})
	set, err := tools.NewSet(tools.New("weather_search", "Weather of a city.", weather))
	if err != nil {
		log.Fatal(err)
	}
	for t := range set.All() {
		fmt.Println(t.Name(), string(t.Schema())) // no credential in it
	}
	ctx := context.Background()
	fmt.Println(set.Call(ctx, "weather_search", `{"city":"Hangzhou"}`))
	_, err = set.Call(ctx, "weather_search", `{}`)
	fmt.Println(err)
	// Output:
	// weather_search {"type":"object","properties":{"city":{"type":"string","description":"the city's name"}},"required":["city"],"additionalProperties":false}
	// sunny in Hangzhou <nil>
	// the arguments of weather_search are not valid: required: missing properties: ["city"]; correct them and call the tool again
}
