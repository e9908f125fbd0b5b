// SPDX-License-Identifier: Apache-2.0

// Package llm talks to language models: messages, tools, streaming, and a
// client for DashScope (Alibaba Cloud Model Studio) that speaks its native
// generation API.
//
//	model, err := llm.New(llm.Config{Model: "qwen3-max", APIKey: llm.StaticKey(key)})
//	for chunk, err := range model.Stream(ctx, &llm.Request{Messages: []llm.Message{
//		{Role: llm.RoleUser, Content: "Hello"},
//	}}) {
//		if err != nil {
//			return err
//		}
//		fmt.Print(chunk.Content)
//	}
//
// A sequence sends its request when the loop starts; leaving the loop cancels
// it. An error is the last element: nothing that went wrong is hidden.
// [Collect] joins a stream into one [Response].
//
// The API key is a function of the context, so that the key itself can live in
// Agent Identity.
package llm
