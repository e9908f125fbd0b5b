// SPDX-License-Identifier: Apache-2.0

package mcp

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strings"

	mcpgo "github.com/mark3labs/mcp-go/mcp"

	"github.com/agent-identity/agent-identity-go/credentials"
	"github.com/agent-identity/agent-identity-go/tools"
)

// Tools returns the server's tools for the caller in ctx, or, where the user
// must grant access before they can be listed, or the server cannot be reached,
// a stand-in for all of them. The user is not asked. Only a ctx error is an
// error.
func (c *Client) Tools(ctx context.Context) ([]*tools.Tool, error) {
	s, err := c.session(ctx)
	if err != nil {
		return nil, err
	}
	if s.needsConsent(ctx) {
		return []*tools.Tool{c.standIn()}, nil
	}
	listed, err := s.list(credentials.WithoutAsking(ctx))
	if ctxErr := ctx.Err(); ctxErr != nil {
		return nil, ctxErr
	}
	if err != nil {
		if _, ok := errors.AsType[*credentials.AuthorizationRequiredError](err); ok {
			s.setNeedsConsent()
		} else {
			c.cfg.Logger.WarnContext(ctx, "mcp: listing tools", "server", c.cfg.Name, "error", err)
		}
		return []*tools.Tool{c.standIn()}, nil
	}
	out := make([]*tools.Tool, 0, len(listed))
	for _, t := range listed {
		out = append(out, c.tool(t))
	}
	return out, nil
}

// tool makes a tool of the server one of ours.
func (c *Client) tool(t mcpgo.Tool) *tools.Tool {
	call := func(ctx context.Context, args json.RawMessage) (string, error) {
		s, err := c.session(ctx)
		if err != nil {
			return "", err
		}
		result, err := s.call(ctx, t.Name, args)
		if err != nil {
			return "", c.explain(ctx, t.Name, err)
		}
		return c.text(t.Name, result)
	}
	schema := t.RawInputSchema
	if schema == nil {
		schema, _ = json.Marshal(t.InputSchema)
	}
	made := tools.Raw(t.Name, t.Description, schema, call)
	if _, err := tools.NewSet(made.Renamed("x")); err != nil {
		// A schema that cannot be checked here is the server's to check.
		made = tools.Raw(t.Name, t.Description, json.RawMessage(`{"type":"object"}`), call)
	}
	return made
}

// standIn is offered while the real tools cannot be listed.
func (c *Client) standIn() *tools.Tool {
	about := c.cfg.Description
	if about == "" {
		about = c.cfg.Name
	}
	description := fmt.Sprintf("Opens the tools for: %s. Call it first, and only when the request is about that; the user may have to authorize access. Afterwards the tools themselves are available.", about)
	return tools.Raw(c.cfg.Name+"_connect", description, json.RawMessage(`{"type":"object","properties":{}}`),
		func(ctx context.Context, _ json.RawMessage) (string, error) {
			s, err := c.session(ctx)
			if err != nil {
				return "", err
			}
			listed, err := s.list(ctx)
			if err != nil {
				return "", c.explain(ctx, "", err)
			}
			var b strings.Builder
			b.WriteString("Access is granted. These tools are available now; go on with the one that fits:\n")
			for _, t := range listed {
				fmt.Fprintf(&b, "- %s: %s\n", t.Name, firstLine(t.Description))
			}
			return b.String(), nil
		})
}

func firstLine(s string) string {
	s, _, _ = strings.Cut(strings.TrimSpace(s), "\n")
	if len(s) > 200 {
		s = strings.ToValidUTF8(s[:200], "") + "…"
	}
	return s
}

// explain keeps errors that callers branch on and puts the rest into words for
// the model and the person.
func (c *Client) explain(ctx context.Context, tool string, err error) error {
	if ctxErr := ctx.Err(); ctxErr != nil {
		return ctxErr
	}
	what := "the tools of " + c.cfg.Name
	if tool != "" {
		what = tool + " of " + c.cfg.Name
	}
	if e, ok := errors.AsType[mcpgo.URLElicitationRequiredError](err); ok {
		return fmt.Errorf("mcp: %s: the server wants the user to open a page first: %w", what, e)
	}
	return fmt.Errorf("mcp: %s: %w", what, err)
}

var (
	badInName   = regexp.MustCompile(`[^A-Za-z0-9_-]+`)
	nameAllowed = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)
)

// Combine puts an agent's own tools and those of servers, for the caller in ctx,
// into one set. A server's tool whose name is taken, or is none that models
// accept, gets its server's name in front. Make a set before each call of the
// model: what a user may use changes when they grant access, and when a server
// says so. Only a ctx error is an error.
func Combine(ctx context.Context, own *tools.Set, servers ...*Client) (*tools.Set, error) {
	var all []*tools.Tool
	taken := map[string]bool{}
	for t := range own.All() {
		all = append(all, t)
		taken[t.Name()] = true
	}
	for _, c := range servers {
		offered, err := c.Tools(ctx)
		if err != nil {
			return nil, err
		}
		for _, t := range offered {
			name := t.Name()
			if taken[name] || !nameAllowed.MatchString(name) {
				name = distinct(c.cfg.Name+"_"+badInName.ReplaceAllString(name, "_"), t.Name(), taken)
				t = t.Renamed(name)
			}
			taken[name] = true
			all = append(all, t)
		}
	}
	return tools.NewSet(all...)
}

// distinct shortens a name to what models accept and makes it one of its own.
func distinct(name, original string, taken map[string]bool) string {
	if len(name) <= 64 && !taken[name] {
		return name
	}
	for n := 0; ; n++ {
		sum := sha256.Sum256(fmt.Appendf(nil, "%s/%d", original, n))
		short := name[:min(len(name), 55)] + "_" + hex.EncodeToString(sum[:4])
		if !taken[short] {
			return short
		}
	}
}
