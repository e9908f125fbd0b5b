// SPDX-License-Identifier: Apache-2.0

package tools

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"regexp"
	"strings"

	"github.com/google/jsonschema-go/jsonschema"

	"github.com/agent-identity/agent-identity-go/identity"
)

// Tool is a function that a model may call. It is immutable and safe for
// concurrent use if its function is. Make one with [New] or [Raw].
type Tool struct {
	name, description string
	schema            json.RawMessage
	resolved          *jsonschema.Resolved
	call              func(ctx context.Context, args json.RawMessage) (string, error)
	err               error // what is wrong with it, told by NewSet
}

// Name is the tool's name, as models call it.
func (t *Tool) Name() string { return t.name }

// Renamed is the same tool under another name.
func (t *Tool) Renamed(name string) *Tool {
	other := *t
	other.name = name
	return &other
}

// Description says what the tool is for.
func (t *Tool) Description() string { return t.description }

// Schema is the JSON schema of the arguments. Do not modify it.
func (t *Tool) Schema() json.RawMessage { return t.schema }

// New makes a tool from a function. In is a struct, or struct{} for a tool
// without arguments. An Out that is a string is the result as it is; any other
// is encoded as JSON. What is wrong with the name or types is reported by
// [NewSet].
func New[In, Out any](name, description string, fn func(ctx context.Context, in In) (Out, error)) *Tool {
	t := &Tool{name: name, description: description}
	if fn == nil {
		t.err = errors.New("the function is nil")
		return t
	}
	in := reflect.TypeFor[In]()
	if in.Kind() != reflect.Struct {
		t.err = fmt.Errorf("its input is %s; want a struct", in)
		return t
	}
	if holdsSecret(in, map[reflect.Type]bool{}) {
		t.err = fmt.Errorf("its input %s holds an identity.Secret; a model must neither see nor write one: use a credentials source", in)
		return t
	}
	schema, err := jsonschema.For[In](nil)
	if err != nil {
		t.err = fmt.Errorf("no schema for %s: %w", in, err)
		return t
	}
	t.setSchema(schema)
	t.call = func(ctx context.Context, args json.RawMessage) (string, error) {
		var in In
		if err := json.Unmarshal(args, &in); err != nil {
			return "", &ArgumentError{Tool: name, Reason: plain(err)}
		}
		out, err := fn(ctx, in)
		if err != nil {
			return "", err
		}
		return resultText(out)
	}
	return t
}

// Raw makes a tool from a JSON schema and a function that gets the arguments
// as JSON, for tools that are described elsewhere.
func Raw(name, description string, schema json.RawMessage, call func(ctx context.Context, args json.RawMessage) (string, error)) *Tool {
	t := &Tool{name: name, description: description, call: call}
	if call == nil {
		t.err = errors.New("the function is nil")
		return t
	}
	var s jsonschema.Schema
	if err := json.Unmarshal(schema, &s); err != nil {
		t.err = fmt.Errorf("its schema is no JSON schema: %w", err)
		return t
	}
	t.setSchema(&s)
	return t
}

func (t *Tool) setSchema(s *jsonschema.Schema) {
	if t.schema, t.err = json.Marshal(s); t.err != nil {
		return
	}
	t.resolved, t.err = s.Resolve(&jsonschema.ResolveOptions{ValidateDefaults: true})
}

var secretType = reflect.TypeFor[identity.Secret]()

func holdsSecret(t reflect.Type, seen map[reflect.Type]bool) bool {
	if t == secretType {
		return true
	}
	if seen[t] {
		return false
	}
	seen[t] = true
	switch t.Kind() {
	case reflect.Pointer, reflect.Slice, reflect.Array:
		return holdsSecret(t.Elem(), seen)
	case reflect.Map:
		return holdsSecret(t.Key(), seen) || holdsSecret(t.Elem(), seen)
	case reflect.Struct:
		for f := range t.Fields() {
			if holdsSecret(f.Type, seen) {
				return true
			}
		}
	}
	return false
}

func resultText(out any) (string, error) {
	if s, ok := out.(string); ok {
		return s, nil
	}
	b, err := json.Marshal(out)
	if err != nil {
		return "", fmt.Errorf("tools: the result cannot be encoded: %w", err)
	}
	return string(b), nil
}

// ArgumentError reports arguments that do not fit a tool's schema. Its text is
// made for the model that wrote them.
type ArgumentError struct {
	Tool   string
	Reason string
}

func (e *ArgumentError) Error() string {
	return fmt.Sprintf("the arguments of %s are not valid: %s; correct them and call the tool again", e.Tool, e.Reason)
}

// Call checks args, which should be a JSON object ("" stands for an empty
// one), and calls the function. The result is text for the model. A panic of
// the function becomes an error.
func (t *Tool) Call(ctx context.Context, args string) (text string, err error) {
	if t.err != nil {
		return "", fmt.Errorf("tools: %s: %w", t.name, t.err)
	}
	if strings.TrimSpace(args) == "" {
		args = "{}"
	}
	var object map[string]any
	if err := json.Unmarshal([]byte(args), &object); err != nil || object == nil {
		return "", &ArgumentError{Tool: t.name, Reason: "they are not a JSON object"}
	}
	if err := t.resolved.ApplyDefaults(&object); err != nil {
		return "", &ArgumentError{Tool: t.name, Reason: plain(err)}
	}
	if err := t.resolved.Validate(object); err != nil {
		return "", &ArgumentError{Tool: t.name, Reason: plain(err)}
	}
	checked, err := json.Marshal(object)
	if err != nil {
		return "", &ArgumentError{Tool: t.name, Reason: plain(err)}
	}
	defer func() {
		if p := recover(); p != nil {
			// Not its value: it may quote a secret.
			text, err = "", fmt.Errorf("tools: %s panicked with a %T", t.name, p)
		}
	}()
	return t.call(ctx, checked)
}

// plain says what a validation found without the path to the schema's root.
var validatingPrefix = regexp.MustCompile(`^validating (root|/properties/([^:]*)): `)

func plain(err error) string {
	text := err.Error()
	for {
		m := validatingPrefix.FindStringSubmatch(text)
		if m == nil {
			break
		}
		text = text[len(m[0]):]
		if m[2] != "" {
			text = fmt.Sprintf("%q: %s", m[2], text)
			break
		}
	}
	if len(text) > 500 {
		text = text[:500] + "…"
	}
	return text
}
