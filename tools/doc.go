// SPDX-License-Identifier: Apache-2.0

// Package tools describes Go functions to language models and calls them with
// what a model wrote.
//
//	weather := tools.New("weather_search", "Weather of a city.",
//		func(ctx context.Context, in Query) (Report, error) { … })
//	set, err := tools.NewSet(weather, …)
//	text, err := set.Call(ctx, "weather_search", `{"city":"Hangzhou"}`)
//
// The JSON schema of the arguments is made from the Go struct: a field is
// required unless its json tag says omitempty or omitzero, and its jsonschema
// tag is its description. Arguments are checked against the schema before the
// function runs; what is wrong is told in words that a model can act on.
//
// Functions decorated by package credentials fit as they are: their credential
// is not part of the input, so no schema shows it. An input type that holds an
// identity.Secret is refused.
package tools
