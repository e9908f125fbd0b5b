// SPDX-License-Identifier: Apache-2.0

package mcp

import (
	"encoding/json"
	"fmt"
	"strings"

	mcpgo "github.com/mark3labs/mcp-go/mcp"
)

// ToolError is a result that the server marked as an error. Its text is made
// for the model.
type ToolError struct {
	Tool string
	Text string
}

func (e *ToolError) Error() string { return fmt.Sprintf("%s failed: %s", e.Tool, e.Text) }

// text puts a result into words for a model: texts as they are, structured
// content as JSON where there is no text, everything else described.
func (c *Client) text(tool string, result *mcpgo.CallToolResult) (string, error) {
	if result.NeedsInput() {
		return "", &ToolError{tool, "the server asks for input that only a person can give"}
	}
	var parts []string
	for _, content := range result.Content {
		if part := describe(content); part != "" {
			parts = append(parts, part)
		}
	}
	if len(parts) == 0 && result.StructuredContent != nil {
		b := []byte(result.RawStructuredContent)
		if b == nil {
			b, _ = json.Marshal(result.StructuredContent)
		}
		parts = append(parts, string(b))
	}
	text := strings.ToValidUTF8(strings.Join(parts, "\n"), "�")
	if len(text) > c.cfg.MaxResult {
		text = strings.ToValidUTF8(text[:c.cfg.MaxResult], "") + fmt.Sprintf("\n[cut off: the whole result has %d bytes]", len(text))
	}
	if result.IsError {
		if text == "" {
			text = "the server gave no reason"
		}
		return "", &ToolError{tool, text}
	}
	if text == "" {
		text = "(done, without a result)"
	}
	return text, nil
}

func describe(content mcpgo.Content) string {
	switch c := content.(type) {
	case mcpgo.TextContent:
		return c.Text
	case mcpgo.ImageContent:
		return fmt.Sprintf("[an image, %s, %d bytes]", c.MIMEType, decodedLen(c.Data))
	case mcpgo.AudioContent:
		return fmt.Sprintf("[a sound, %s, %d bytes]", c.MIMEType, decodedLen(c.Data))
	case mcpgo.ResourceLink:
		return fmt.Sprintf("[a resource: %s %s]", c.Name, c.URI)
	case mcpgo.EmbeddedResource:
		switch r := c.Resource.(type) {
		case mcpgo.TextResourceContents:
			return r.Text
		case mcpgo.BlobResourceContents:
			return fmt.Sprintf("[a resource: %s, %s, %d bytes]", r.URI, r.MIMEType, decodedLen(r.Blob))
		}
	}
	return fmt.Sprintf("[content of a kind that is not known here: %T]", content)
}

// decodedLen is the size of base64 text once it is decoded.
func decodedLen(s string) int { return len(strings.TrimRight(s, "=")) * 3 / 4 }
