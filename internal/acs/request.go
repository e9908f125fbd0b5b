// SPDX-License-Identifier: Apache-2.0

package acs

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// A Request describes one call of one operation. The zero value of each
// field but Action and Version has a meaning.
type Request struct {
	// Action is the operation, Version the API version. Both required.
	Action, Version string
	// Method is the HTTP method; "" means POST.
	Method string
	// Path is the escaped path of a ROA operation; "" means "/", the path
	// of every RPC operation. Use [EscapePath] for variable segments.
	Path string
	// Query holds parameters for the query string.
	Query Params
	// Form holds parameters for a form body. A nil map sends no body, an
	// empty one sends a form content type with an empty body, as the
	// official clients do.
	Form Params
	// JSON, if not nil, is sent as the body instead of Form.
	JSON []byte
	// Anonymous sends the call unsigned, in the form that the official
	// clients use for operations with the auth type Anonymous.
	Anonymous bool
	// Secrets are values among the parameters that no error may show, should
	// the service quote them.
	Secrets []string
	// Repeatable says that sending the call twice is harmless. Others are
	// sent again only when it is sure that the service did not act on them.
	Repeatable bool
}

// Params are the parameters of a call by name, in their wire form.
type Params map[string]string

// Set encodes v the way the official clients do: strings as they are,
// booleans and integers as text, everything else as compact JSON that is not
// HTML-escaped. It panics on a value that has no JSON form, which only a
// mistake in this module can pass.
func (p Params) Set(name string, v any) {
	switch v := v.(type) {
	case string:
		p[name] = v
	case bool:
		p[name] = strconv.FormatBool(v)
	case int:
		p[name] = strconv.Itoa(v)
	case int64:
		p[name] = strconv.FormatInt(v, 10)
	default:
		b, err := EncodeJSON(v)
		if err != nil {
			panic(fmt.Sprintf("acs: parameter %s: %v", name, err))
		}
		p[name] = string(b)
	}
}

// SetNonEmpty is Set for a text parameter that is left out when empty.
func (p Params) SetNonEmpty(name, v string) {
	if v != "" {
		p[name] = v
	}
}

// encode is form encoding with sorted names: a blank is "+".
func (p Params) encode() []byte { return p.join(url.QueryEscape, url.QueryEscape) }

// canonical is the query as it is signed: the values percent-encoded as RFC
// 3986 has it, the names left as they are.
func (p Params) canonical() string {
	return string(p.join(func(s string) string { return s }, percentEncode))
}

func (p Params) join(name, value func(string) string) []byte {
	if len(p) == 0 {
		return nil
	}
	var few [16]string
	keys, size := few[:0], 0
	for k, v := range p {
		keys = append(keys, k)
		size += len(k) + len(v) + 2
	}
	slices.Sort(keys)
	b := make([]byte, 0, size+size/4)
	for i, k := range keys {
		if i > 0 {
			b = append(b, '&')
		}
		b = append(b, name(k)...)
		b = append(b, '=')
		b = append(b, value(p[k])...)
	}
	return b
}

// EncodeJSON is the JSON of a parameter or body: compact, map keys sorted,
// and &, <, > left alone.
func EncodeJSON(v any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}

// EscapePath escapes one variable segment of a ROA path.
func EscapePath(segment string) string { return percentEncode(segment) }

// percentEncode is RFC 3986: only letters, digits and "-_.~" stay.
func percentEncode(s string) string {
	s = url.QueryEscape(s)
	if !strings.ContainsAny(s, "+") {
		return s
	}
	return strings.ReplaceAll(s, "+", "%20")
}
