// SPDX-License-Identifier: Apache-2.0

package backend

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/agent-identity/agent-identity-go/examples/endtoend/protocol"
	"github.com/agent-identity/agent-identity-go/examples/endtoend/store"
	"github.com/agent-identity/agent-identity-go/examples/endtoend/web"
)

// What is kept of a user's chats, for the page to show them again: the youngest
// maxChats chats, of each the youngest maxExchanges exchanges that fit into
// maxChatBytes, for chatLife after the last message.
const (
	chatLife     = 30 * 24 * time.Hour
	maxChats     = 100
	maxExchanges = 100
	maxChatBytes = 1 << 20
	maxTitle     = 80 // characters
)

// chatHead is a chat in the list.
type chatHead struct {
	ID    string    `json:"id"`
	Title string    `json:"title"`
	At    time.Time `json:"at"`
}

// exchange is a message with its answer: the events that the page was sent,
// without what it does not need to show them again.
type exchange struct {
	Question string            `json:"question"`
	At       time.Time         `json:"at"`
	Events   []json.RawMessage `json:"events"`
}

// owner names a user's entries. Whoever names another user's chat has a chat of
// their own.
func (in *session) owner() string { return digest(in.Issuer + "\x00" + in.Subject) }

func chatsKey(owner string) string    { return "chats/" + owner }
func chatKey(owner, id string) string { return "chat/" + owner + "/" + digest(id) }

// listChats answers with the user's chats, youngest first.
func (s *Server) listChats(w http.ResponseWriter, r *http.Request) {
	in := s.signedIn(w, r)
	if in == nil {
		return
	}
	heads := []chatHead{}
	b, err := s.cfg.Sessions.Get(r.Context(), chatsKey(in.owner()))
	if err == nil {
		err = json.Unmarshal(b, &heads)
	}
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		s.storeDown(w, r, err)
		return
	}
	web.JSON(w, http.StatusOK, map[string]any{"chats": heads})
}

// readChat answers with one chat; one that has not begun is empty.
func (s *Server) readChat(w http.ResponseWriter, r *http.Request) {
	in := s.signedIn(w, r)
	if in == nil {
		return
	}
	exchanges := []exchange{}
	b, err := s.cfg.Sessions.Get(r.Context(), chatKey(in.owner(), r.PathValue("id")))
	if err == nil {
		err = json.Unmarshal(b, &exchanges)
	}
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		s.storeDown(w, r, err)
		return
	}
	web.JSON(w, http.StatusOK, map[string]any{"id": r.PathValue("id"), "exchanges": exchanges})
}

// deleteChat forgets a chat, here and at the agent.
func (s *Server) deleteChat(w http.ResponseWriter, r *http.Request) {
	in := s.signedIn(w, r)
	if in == nil {
		return
	}
	id := r.PathValue("id")
	err := s.changeChats(r.Context(), in.owner(), func(heads []chatHead) []chatHead {
		return slices.DeleteFunc(heads, func(h chatHead) bool { return h.ID == id })
	})
	if err == nil {
		err = s.cfg.Sessions.Delete(r.Context(), chatKey(in.owner(), id))
	}
	if err != nil {
		s.storeDown(w, r, err)
		return
	}
	if err := s.forget(r.Context(), in, id); err != nil {
		s.log(r).Warn("the agent could not forget a chat; it does so by itself in time", "error", err)
	}
	web.JSON(w, http.StatusOK, map[string]string{"status": "deleted"})
}

func (s *Server) changeChats(ctx context.Context, owner string, change func([]chatHead) []chatHead) error {
	return s.cfg.Sessions.Update(ctx, chatsKey(owner), chatLife, func(old []byte) ([]byte, error) {
		var heads []chatHead
		if old != nil {
			if err := json.Unmarshal(old, &heads); err != nil {
				return nil, err
			}
		}
		if heads = change(heads); len(heads) == 0 {
			return nil, nil
		}
		return json.Marshal(heads)
	})
}

// keepExchange adds an exchange to a chat, and the chat to the list.
func (s *Server) keepExchange(ctx context.Context, owner, id string, e *exchange) error {
	err := s.cfg.Sessions.Update(ctx, chatKey(owner, id), chatLife, func(old []byte) ([]byte, error) {
		var all []json.RawMessage
		if old != nil {
			if err := json.Unmarshal(old, &all); err != nil {
				return nil, err
			}
		}
		one, err := json.Marshal(e)
		if err != nil {
			return nil, err
		}
		all = append(all, one)
		size, first := 0, len(all)
		for first > 0 && len(all)-first < maxExchanges && (first == len(all) || size+len(all[first-1]) <= maxChatBytes) {
			first--
			size += len(all[first])
		}
		return json.Marshal(all[first:])
	})
	if err != nil {
		return err
	}
	var dropped []chatHead
	err = s.changeChats(ctx, owner, func(heads []chatHead) []chatHead {
		head := chatHead{ID: id, Title: title(e.Question), At: e.At}
		if i := slices.IndexFunc(heads, func(h chatHead) bool { return h.ID == id }); i >= 0 {
			head.Title = heads[i].Title
			heads = slices.Delete(heads, i, i+1)
		}
		heads = slices.Insert(heads, 0, head)
		dropped = slices.Clone(heads[min(len(heads), maxChats):])
		return heads[:min(len(heads), maxChats)]
	})
	for _, h := range dropped {
		err = errors.Join(err, s.cfg.Sessions.Delete(ctx, chatKey(owner, h.ID)))
	}
	return err
}

// title is a chat's first question, shortened.
func title(question string) string {
	text := strings.Join(strings.Fields(question), " ")
	if runes := []rune(text); len(runes) > maxTitle {
		return string(runes[:maxTitle-1]) + "…"
	}
	return text
}

// recorder collects the events of an answer that show it again: characters that
// came one by one are joined, links and what is said twice are left out.
type recorder struct {
	events []json.RawMessage
	text   *textDelta // the last event, while it grows
	size   int
}

// textDelta is a piece of a text as the page reads it.
type textDelta struct {
	Object    string `json:"object"`
	Type      string `json:"type"`
	Delta     bool   `json:"delta"`
	MessageID string `json:"msg_id"`
	Text      string `json:"text"`
}

func (c *recorder) add(event any) {
	c.flush()
	b, err := json.Marshal(event)
	if err != nil || c.size+len(b) > maxChatBytes/2 {
		return
	}
	c.size += len(b)
	c.events = append(c.events, b)
}

func (c *recorder) flush() {
	if t := c.text; t != nil {
		c.text = nil
		c.add(t)
	}
}

// record takes an event as the page is sent it.
func (c *recorder) record(e *event, data []byte) {
	switch {
	case e.Object == protocol.ObjectContent && e.Type == "text":
		if !e.Delta {
			return
		}
		if c.text == nil || c.text.MessageID != e.MessageID {
			c.flush()
			c.text = &textDelta{Object: e.Object, Type: e.Type, Delta: true, MessageID: e.MessageID}
		}
		if c.size+len(c.text.Text)+len(e.Text) <= maxChatBytes/2 {
			c.text.Text += e.Text
		}
	case e.Object == protocol.ObjectContent && e.Type == "data" && e.Status == protocol.StatusCompleted:
		c.add(map[string]any{"object": e.Object, "type": e.Type, "status": e.Status, "data": e.Data})
	case e.Object == protocol.ObjectMessage && e.Type == protocol.TypePluginCallOutput && e.Status == protocol.StatusCompleted:
		c.add(map[string]any{"object": e.Object, "type": e.Type, "status": e.Status, "content": e.Content})
	case e.Object == protocol.ObjectMessage && e.Status == protocol.StatusInProgress && (e.Type == protocol.TypeMessage || e.Type == protocol.TypeReasoning):
		c.add(map[string]any{"object": e.Object, "type": e.Type, "status": e.Status, "id": e.ID})
	case e.Object == protocol.ObjectAuthorization:
		var a protocol.Authorization
		if json.Unmarshal(data, &a) == nil {
			a.URL = ""
			c.add(a)
		}
	case e.Object == protocol.ObjectResponse && (e.Status == protocol.StatusCompleted || e.Status == protocol.StatusFailed):
		c.add(map[string]any{"object": e.Object, "status": e.Status, "error": e.Error})
	case e.Object == objectChunk:
		c.add(json.RawMessage(data))
	}
}
