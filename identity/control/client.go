// SPDX-License-Identifier: Apache-2.0

// Package control is the control plane of Agent Identity (agentidentity
// 2025-09-01): workload identities, the identity providers whose users they act
// for, OAuth2 and API key credential providers, and token vaults.
//
//	client, err := identity.New(identity.Config{})
//	plane := control.New(client)
//	for id, err := range plane.WorkloadIdentities(ctx, nil) { … }
//
// One type describes a resource, as what is wanted and as what there is. Fields
// at their zero value are not sent: an update leaves them as they are.
//
// Errors are *identity.APIError; errors.Is tells identity.ErrNotFound,
// ErrAlreadyExists, ErrAccessDenied, ErrThrottled and ErrUnavailable apart.
// Calls that change something are not repeated when their answer is lost:
// whether they were done shows in Get. Operations without a method here are
// called with identity.Client.CallControl.
package control

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"

	"github.com/agent-identity/agent-identity-go/identity"
)

// Client calls the control plane. It is safe for concurrent use. Make one with
// [New].
type Client struct {
	c *identity.Client
}

// New makes a client that uses c's endpoint and credential.
func New(c *identity.Client) *Client { return &Client{c} }

// Page says where a listing begins, and how it is fetched. The zero value and
// nil list everything.
type Page struct {
	// Size is how many are fetched with one call; if zero, the service decides.
	Size int
	// Token is the NextToken of an earlier listing; "" begins at the first.
	Token string
}

// params are parameters that leave out what has its zero value.
type params map[string]any

func (p params) text(name, value string) params {
	if value != "" {
		p[name] = value
	}
	return p
}

// write makes a call that changes something. key names the object in the
// answer, "" if there is none.
func write[T any](ctx context.Context, c *Client, action, key string, p params, secrets ...identity.Secret) (*T, error) {
	return object[T](ctx, c, &identity.ControlCall{Action: action, Params: p, Secrets: secrets}, key)
}

// read makes a call that changes nothing.
func read[T any](ctx context.Context, c *Client, action, key string, p params) (*T, error) {
	return object[T](ctx, c, &identity.ControlCall{Action: action, Params: p, Repeatable: true}, key)
}

func object[T any](ctx context.Context, c *Client, call *identity.ControlCall, key string) (*T, error) {
	var answer map[string]json.RawMessage
	requestID, err := c.c.CallControl(ctx, call, &answer)
	if err != nil || key == "" {
		return nil, err
	}
	out := new(T)
	if err := json.Unmarshal(answer[key], out); err != nil || string(answer[key]) == "null" {
		return nil, malformed(call.Action, requestID, "the answer has no "+key)
	}
	return out, nil
}

// change makes a call that answers nothing.
func change(ctx context.Context, c *Client, action string, p params, secrets ...identity.Secret) error {
	_, err := write[struct{}](ctx, c, action, "", p, secrets...)
	return err
}

// list lists all objects from a page on. Only an error ends it early.
func list[T any](ctx context.Context, c *Client, action, key string, page *Page, p params) iter.Seq2[*T, error] {
	return func(yield func(*T, error) bool) {
		at := Page{}
		if page != nil {
			at = *page
		}
		for {
			call := &identity.ControlCall{Action: action, Params: map[string]any{}, Repeatable: true}
			for name, value := range p {
				call.Params[name] = value
			}
			if at.Size > 0 {
				call.Params["MaxResults"] = at.Size
			}
			if at.Token != "" {
				call.Params["NextToken"] = at.Token
			}
			var answer map[string]json.RawMessage
			requestID, err := c.c.CallControl(ctx, call, &answer)
			var objects []*T
			next := ""
			if err == nil && json.Unmarshal(orNull(answer[key]), &objects) != nil {
				err = malformed(action, requestID, "the answer's "+key+" is no list of objects")
			}
			if err == nil && json.Unmarshal(orNull(answer["NextToken"]), &next) != nil {
				err = malformed(action, requestID, "the answer's NextToken is no text")
			}
			if err == nil && next != "" && next == at.Token {
				err = malformed(action, requestID, "the list goes on with the page that was asked for")
			}
			if err != nil {
				yield(nil, err)
				return
			}
			for _, o := range objects {
				if o != nil && !yield(o, nil) {
					return
				}
			}
			if next == "" {
				return
			}
			at.Token = next
		}
	}
}

func orNull(b json.RawMessage) json.RawMessage {
	if b == nil {
		return json.RawMessage("null")
	}
	return b
}

func malformed(action, requestID, what string) error {
	return &identity.APIError{Op: action, Code: identity.CodeMalformedResponse, StatusCode: 200, RequestID: requestID, Message: what}
}

// required refuses a resource without a name: the service's own answer to that
// is hard to read.
func required(action, field, value string) error {
	if value == "" {
		return fmt.Errorf("control: %s: %s is required", action, field)
	}
	return nil
}
