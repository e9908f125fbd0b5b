// SPDX-License-Identifier: Apache-2.0

package protocol

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
)

// Request is the body of POST /process. Unknown fields are ignored, as in the
// original.
type Request struct {
	Input     []Input `json:"input"`
	SessionID string  `json:"session_id"`
	UserID    string  `json:"user_id"` // the user's ID token
	// AcceptEvents are the added kinds of events that the client understands.
	// One that does not name "authorization" gets the links for consent as
	// messages, too, as the original sends them.
	AcceptEvents []string `json:"accept_events"`
}

// ReadsAuthorization reports whether the client shows authorization events.
func (r *Request) ReadsAuthorization() bool {
	return slices.Contains(r.AcceptEvents, ObjectAuthorization)
}

// Input is one message of a request.
type Input struct {
	Role    string      `json:"role"`
	Type    string      `json:"type"`
	Content []InputPart `json:"content"`
}

// InputPart is a part of an input message.
type InputPart struct {
	Type     string   `json:"type"`
	Text     *string  `json:"text"`
	ImageURL imageURL `json:"image_url"`
}

// imageURL is an image's address. Chat completions have it within an object.
type imageURL string

func (u *imageURL) UnmarshalJSON(b []byte) error {
	var object struct {
		URL string `json:"url"`
	}
	if err := json.Unmarshal(b, &object); err == nil {
		*u = imageURL(object.URL)
		return nil
	}
	return json.Unmarshal(b, (*string)(u))
}

// Turn is a message that a request may add to a conversation.
type Turn struct {
	Role   string // user or assistant
	Text   string
	Images []string // addresses, or data: URLs; the user's only
}

// Turns returns the conversation that the request carries; the last turn is
// the user's question. Only text of the user and the assistant is taken,
// and images of the user: a client can set neither the system's instructions nor a tool's result.
//
// The original page sends its whole history as JSON text within one message;
// of that, the last message counts, since the agent remembers the rest.
func (r *Request) Turns() ([]Turn, error) {
	var turns []Turn
	for i, in := range r.Input {
		if in.Type != "" && in.Type != TypeMessage {
			continue
		}
		role := in.Role
		if role == "" {
			role = "assistant" // as the original reads it
		}
		if role != "user" && role != "assistant" {
			if role == "system" || role == "tool" {
				continue
			}
			return nil, fmt.Errorf("input[%d].role: want user or assistant, not %.40q", i, role)
		}
		var texts, images []string
		for j, part := range in.Content {
			switch {
			case part.Type == "text" && part.Text != nil:
				texts = append(texts, *part.Text)
			case (part.Type == "image" || part.Type == "image_url") && role == "user" && isImage(string(part.ImageURL)):
				images = append(images, string(part.ImageURL))
			default:
				return nil, fmt.Errorf("input[%d].content[%d]: want {\"type\":\"text\",\"text\":…}, or of the user {\"type\":\"image\",\"image_url\":…} with an http address or a data: URL of an image; other content is not supported", i, j)
			}
		}
		text := strings.TrimSpace(unwrap(strings.Join(texts, "\n")))
		if text != "" || images != nil {
			turns = append(turns, Turn{role, text, images})
		}
	}
	if len(turns) == 0 || turns[len(turns)-1].Role != "user" {
		return nil, errors.New("input: want a list that ends with a message of the user that has text or an image")
	}
	return turns, nil
}

func isImage(address string) bool {
	if strings.HasPrefix(address, "data:image/") {
		return true
	}
	u, err := url.Parse(address)
	return err == nil && u.Host != "" && (u.Scheme == "https" || u.Scheme == "http")
}

// unwrap takes the last message out of the history that the original page
// sends as text, and leaves any other text alone.
func unwrap(text string) string {
	if !strings.HasPrefix(strings.TrimSpace(text), "[{") {
		return text
	}
	var history []struct {
		Role    string  `json:"role"`
		Content *string `json:"content"`
		Cards   []struct {
			Code string `json:"code"`
			Data struct {
				Content string `json:"content"`
			} `json:"data"`
		} `json:"cards"`
	}
	if json.Unmarshal([]byte(text), &history) != nil || len(history) == 0 {
		return text
	}
	last := history[len(history)-1]
	if last.Role != "user" || last.Cards == nil {
		return text
	}
	if last.Content != nil && *last.Content != "" {
		return *last.Content
	}
	var b strings.Builder
	for _, card := range last.Cards {
		if card.Code == "Text" {
			b.WriteString(card.Data.Content)
		}
	}
	return b.String()
}
