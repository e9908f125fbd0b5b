// SPDX-License-Identifier: Apache-2.0

package tools_test

import (
	"context"
	"encoding/json"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/agent-identity/agent-identity-go/credentials"
	"github.com/agent-identity/agent-identity-go/identity"
	"github.com/agent-identity/agent-identity-go/tools"
)

type query struct {
	City string `json:"city"           jsonschema:"the city's name"`
	Days int    `json:"days,omitempty" jsonschema:"how many days"`
}

func echo(_ context.Context, in query) (query, error) { return in, nil }

func TestSchema(t *testing.T) {
	tool := tools.New("weather", "Weather of a city.", echo)
	require.JSONEq(t, `{"type":"object","required":["city"],"additionalProperties":false,"properties":{
		"city":{"type":"string","description":"the city's name"},
		"days":{"type":"integer","description":"how many days"}}}`, string(tool.Schema()))
}

// The credential of a decorated function is in no schema, and what a model
// makes up for it is refused.
func TestNoCredentialInTheSchema(t *testing.T) {
	src := credentials.SourceFunc[credentials.APIKey](func(context.Context) (credentials.APIKey, error) {
		return credentials.APIKey{Key: identity.NewSecret("real")}, nil
	})
	tool := tools.New("weather", "", credentials.RequiresAPIKey(src, func(_ context.Context, key credentials.APIKey, in query) (string, error) {
		return key.Key.Reveal() + in.City, nil
	}))
	require.NotContains(t, string(tool.Schema()), "ey\"")
	out, err := tool.Call(t.Context(), `{"city":"x"}`)
	require.NoError(t, err)
	require.Equal(t, "realx", out)
	_, err = tool.Call(t.Context(), `{"city":"x","api_key":"invented"}`)
	var argument *tools.ArgumentError
	require.ErrorAs(t, err, &argument)
}

func TestArguments(t *testing.T) {
	tool := tools.New("weather", "", echo)
	for _, args := range []string{``, `{}`, `[]`, `null`, `7`, `{"city":7}`, `{"city":"x","days":"two"}`, `{"city":"x","other":1}`, `{"city":"x"`, `{"city":"x"}{}`} {
		_, err := tool.Call(t.Context(), args)
		var argument *tools.ArgumentError
		require.ErrorAs(t, err, &argument, args)
		require.Equal(t, "weather", argument.Tool)
		require.NotEmpty(t, argument.Reason)
	}
	_, err := tool.Call(t.Context(), `{"days":1}`)
	require.ErrorContains(t, err, "city", "the model is told what is missing")
	_, err = tool.Call(t.Context(), `{"city":"x","days":"two"}`)
	require.ErrorContains(t, err, "days")

	out, err := tool.Call(t.Context(), ` {"city":"杭州","days":2} `)
	require.NoError(t, err)
	require.JSONEq(t, `{"city":"杭州","days":2}`, out)
	out, err = tools.New("none", "", func(context.Context, struct{}) (string, error) { return "plain", nil }).Call(t.Context(), "")
	require.NoError(t, err)
	require.Equal(t, "plain", out)
}

func TestFailures(t *testing.T) {
	boom := errors.New("boom")
	set, err := tools.NewSet(
		tools.New("fails", "", func(context.Context, struct{}) (string, error) { return "", boom }),
		tools.New("panics", "", func(context.Context, struct{}) (string, error) { panic("secret-mark") }),
		tools.New("no_json", "", func(context.Context, struct{}) (any, error) { return func() {}, nil }),
		tools.Raw("raw", "", json.RawMessage(`{"type":"object","properties":{"n":{"type":"integer","default":3}}}`),
			func(_ context.Context, args json.RawMessage) (string, error) { return string(args), nil }),
	)
	require.NoError(t, err)
	require.Equal(t, 4, set.Len())
	_, err = set.Call(t.Context(), "fails", "")
	require.ErrorIs(t, err, boom)
	_, err = set.Call(t.Context(), "panics", "")
	require.ErrorContains(t, err, "panicked")
	require.NotContains(t, err.Error(), "secret-mark")
	_, err = set.Call(t.Context(), "no_json", "")
	require.Error(t, err)
	out, err := set.Call(t.Context(), "raw", "")
	require.NoError(t, err)
	require.JSONEq(t, `{"n":3}`, out, "defaults of the schema")
	_, err = set.Call(t.Context(), "unknown", "")
	require.ErrorContains(t, err, "the tools are: fails, panics, no_json, raw")
	_, err = (*tools.Set)(nil).Call(t.Context(), "unknown", "")
	require.Error(t, err)
}

func TestNewSetRefuses(t *testing.T) {
	type withSecret struct {
		Deep []map[string]*struct{ Token identity.Secret }
	}
	ok := tools.New("ok", "", echo)
	for name, tool := range map[string]*tools.Tool{
		"nil":             nil,
		"bad name":        tools.New("a b", "", echo),
		"no struct":       tools.New("x", "", func(context.Context, string) (string, error) { return "", nil }),
		"secret":          tools.New("x", "", func(context.Context, withSecret) (string, error) { return "", nil }),
		"nil function":    tools.New[query, string]("x", "", nil),
		"broken schema":   tools.Raw("x", "", json.RawMessage(`{"type":7}`), func(context.Context, json.RawMessage) (string, error) { return "", nil }),
		"same name twice": tools.New("ok", "", echo),
	} {
		_, err := tools.NewSet(ok, tool)
		require.Error(t, err, name)
	}
}

func FuzzCall(f *testing.F) {
	f.Add(`{"city":"x","days":3}`)
	f.Add(`{"city":null}`)
	tool := tools.New("weather", "", echo)
	f.Fuzz(func(t *testing.T, args string) {
		out, err := tool.Call(t.Context(), args)
		if err == nil && !json.Valid([]byte(out)) {
			t.Fatal("a result that is no JSON")
		}
	})
}
