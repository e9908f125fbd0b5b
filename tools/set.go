// SPDX-License-Identifier: Apache-2.0

package tools

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"regexp"
	"slices"
	"strings"
)

// namePattern is what models accept as a name.
var namePattern = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)

// Set is a collection of tools with distinct names. It is immutable and safe
// for concurrent use. The zero value and nil are empty.
type Set struct {
	tools []*Tool
}

// NewSet collects tools, in their order. The error names everything that is
// wrong with any of them.
func NewSet(tools ...*Tool) (*Set, error) {
	var errs []error
	seen := map[string]bool{}
	for i, t := range tools {
		switch {
		case t == nil:
			errs = append(errs, fmt.Errorf("tools: tool %d is nil", i))
			continue
		case !namePattern.MatchString(t.name):
			errs = append(errs, fmt.Errorf("tools: name %.80q: want 1 to 64 letters, digits, _ and -", t.name))
		case seen[t.name]:
			errs = append(errs, fmt.Errorf("tools: two tools are called %s", t.name))
		case t.err != nil:
			errs = append(errs, fmt.Errorf("tools: %s: %w", t.name, t.err))
		}
		seen[t.name] = true
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return &Set{slices.Clone(tools)}, nil
}

// All yields the tools in their order.
func (s *Set) All() iter.Seq[*Tool] {
	if s == nil {
		return func(func(*Tool) bool) {}
	}
	return slices.Values(s.tools)
}

// Len is the number of tools.
func (s *Set) Len() int {
	if s == nil {
		return 0
	}
	return len(s.tools)
}

// UnknownToolError reports a call of a tool that is not in the set. Its text
// is made for the model that called.
type UnknownToolError struct {
	Name  string
	Known []string
}

func (e *UnknownToolError) Error() string {
	if len(e.Known) == 0 {
		return fmt.Sprintf("there is no tool %.80q; there are no tools at all", e.Name)
	}
	return fmt.Sprintf("there is no tool %.80q; the tools are: %s", e.Name, strings.Join(e.Known, ", "))
}

// Call calls the tool of that name; see [Tool.Call].
func (s *Set) Call(ctx context.Context, name, args string) (string, error) {
	var known []string
	for t := range s.All() {
		if t.name == name {
			return t.Call(ctx, args)
		}
		known = append(known, t.name)
	}
	return "", &UnknownToolError{Name: name, Known: known}
}
