// SPDX-License-Identifier: Apache-2.0

package llm_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"time"

	"github.com/agent-identity/agent-identity-go/identity"
	"github.com/agent-identity/agent-identity-go/identity/identitytest"
	"github.com/agent-identity/agent-identity-go/llm"
)

// A model of the local cloud: rule-based, but it speaks the real protocol.
func exampleModel(key identity.Secret) (*llm.Client, func()) {
	cloud, err := identitytest.Start(identitytest.Config{})
	if err != nil {
		log.Fatal(err)
	}
	if key.IsZero() {
		key = cloud.ModelKey()
	}
	model, err := llm.New(llm.Config{Model: "simulated", BaseURL: cloud.ModelURL(), APIKey: llm.StaticKey(key)})
	if err != nil {
		log.Fatal(err)
	}
	return model, func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_ = cloud.Close(ctx)
	}
}

func ExampleClient_Stream() {
	model, stop := exampleModel(identity.Secret{})
	defer stop()
	req := &llm.Request{Messages: []llm.Message{{Role: llm.RoleUser, Content: "Hello"}}}
	for chunk, err := range model.Stream(context.Background(), req) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Print(chunk.Content)
	}
	fmt.Println()
	// Output: I am the local cloud's simulated model: rule-based, not a real language model. I have no tools and cannot answer this.
}

func ExampleCollect() {
	model, stop := exampleModel(identity.Secret{})
	defer stop()
	resp, err := llm.Collect(model.Stream(context.Background(), &llm.Request{
		Messages: []llm.Message{{Role: llm.RoleUser, Content: "Will it rain in Paris?"}},
		Tools: []llm.Tool{{
			Name: "weather_search", Description: "Weather of a city.",
			Schema: json.RawMessage(`{"type":"object","properties":{"city":{"type":"string"}},"required":["city"]}`),
		}},
	}))
	if err != nil {
		log.Fatal(err)
	}
	for _, call := range resp.Message.ToolCalls {
		fmt.Println(resp.FinishReason, call.Name, call.Arguments)
	}
	// Output: tool_calls weather_search {"city":"Paris"}
}

func ExampleError() {
	model, stop := exampleModel(identity.NewSecret("sk-wrong"))
	defer stop()
	_, err := model.Complete(context.Background(), &llm.Request{Messages: []llm.Message{{Role: llm.RoleUser, Content: "Hello"}}})
	fmt.Println(errors.Is(err, llm.ErrInvalidKey))
	// Output: true
}
