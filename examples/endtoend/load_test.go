// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/agent-identity/agent-identity-go/examples/endtoend/protocol"
	"github.com/agent-identity/agent-identity-go/identity/identitytest"
	"github.com/agent-identity/agent-identity-go/internal/sse"
)

// process asks the agent itself and returns the answer's end and all its text.
func (a *app) process(token, session string, content ...map[string]any) (end protocol.Error, status, text string, err error) {
	body, err := json.Marshal(map[string]any{
		"session_id": session, "user_id": token, "input": []any{map[string]any{"role": "user", "content": content}},
	})
	if err != nil {
		return end, "", "", err
	}
	resp, err := http.Post(a.agentURL+"/process", "application/json", strings.NewReader(string(body)))
	if err != nil {
		return end, "", "", err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		b, _ := io.ReadAll(resp.Body)
		return end, "", "", fmt.Errorf("%s: %s", resp.Status, b)
	}
	var all strings.Builder
	for ev, err := range sse.Read(resp.Body, 0) {
		if err != nil {
			return end, "", "", err
		}
		if ev.Data == nil {
			continue
		}
		all.Write(ev.Data)
		var e struct {
			Object, Status string
			Error          *protocol.Error
		}
		if err := json.Unmarshal(ev.Data, &e); err != nil {
			return end, "", "", err
		}
		if e.Object == "response" {
			status = e.Status
			if e.Error != nil {
				end = *e.Error
			}
		}
	}
	return end, status, all.String(), nil
}

func words(s string) map[string]any { return map[string]any{"type": "text", "text": s} }

// 200 users chat at once, each with two tools. Nobody sees a line of another's
// schedule, and the schedule service saw each user once, signed with
// credentials of their own.
func TestManyChatsAtOnce(t *testing.T) {
	t.Setenv("ALIBABA_CLOUD_ECS_METADATA_DISABLED", "true")
	const chats = 200
	opts, err := parse([]string{
		"-agent-addr", "localhost:0", "-backend-addr", "localhost:0", "-log-level", "error", "-store", filepath.Join(t.TempDir(), "agent.db"),
	}, io.Discard)
	require.NoError(t, err)
	for i := range chats {
		opts.users = append(opts.users, identitytest.User{Subject: fmt.Sprintf("user-%03d", i), Name: fmt.Sprintf("Person%03d Test", i)})
	}
	a, err := start(opts, slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, a.stop()) })
	answers, sessions := make([]string, chats), make([]string, chats)
	for i, user := range opts.users {
		sessions[i] = a.cloud.IDToken(user.Subject).Reveal()
	}
	var before, after runtime.MemStats
	for round := range 2 {
		var wg sync.WaitGroup
		for i, user := range opts.users {
			wg.Go(func() {
				_, status, text, err := a.process(sessions[i], "same-id", words("How's the weather today, and what's my schedule?"))
				if err != nil || status != protocol.StatusCompleted {
					t.Errorf("%s: %s, %v", user.Subject, status, err)
				}
				answers[i] = text
			})
		}
		wg.Wait()
		http.DefaultClient.CloseIdleConnections()
		runtime.GC()
		if round == 0 {
			runtime.ReadMemStats(&before)
		} else {
			runtime.ReadMemStats(&after)
		}
	}
	for i, user := range opts.users {
		own := strings.Fields(user.Name)[0]
		require.Contains(t, answers[i], own)
		require.Contains(t, answers[i], "weather_search")
		require.NotContains(t, strings.ReplaceAll(answers[i], own, ""), "Person", "another's schedule")
		require.Equal(t, 2, a.cloud.Count("GetSchedule", user.Subject))
	}
	signers := map[string]string{}
	for _, c := range a.cloud.Calls() {
		if c.Op == "GetSchedule" {
			require.Equal(t, 200, c.Status)
			if user, ok := signers[c.Signer]; ok {
				require.Equal(t, user, c.User, "credentials of another user")
			}
			signers[c.Signer] = c.User
		}
	}
	require.Equal(t, chats, len(signers), "each user's credentials were fetched once")
	grown := int64(after.HeapAlloc) - int64(before.HeapAlloc)
	t.Logf("heap after the first 200 chats %d KiB, after the second %+d KiB", before.HeapAlloc>>10, grown>>10)
	require.Less(t, grown, int64(64<<20))
}

// A model that sees no images says so, and the chat goes on.
func TestAnImageForAModelThatSeesNone(t *testing.T) {
	a, _ := newApp(t)
	token := a.cloud.IDToken("alice").Reveal()
	end, status, _, err := a.process(token, "c", words("What is this?"), map[string]any{"type": "image", "image_url": "data:image/png;base64,AA=="})
	require.NoError(t, err)
	require.Equal(t, protocol.StatusFailed, status)
	require.Equal(t, "MODEL_SEES_NO_IMAGES", end.Code)
	_, status, _, err = a.process(token, "c", words("How's the weather today?"))
	require.NoError(t, err)
	require.Equal(t, protocol.StatusCompleted, status)
}

// A client that knows nothing of authorization events, as the original page,
// gets the link as a message; ours does not get it twice.
func TestLinksForTheOriginalPage(t *testing.T) {
	a, _ := newApp(t, "-consent-timeout", "300ms")
	_, status, text, err := a.process(a.cloud.IDToken("alice").Reveal(), "c", words("What time is it now?"))
	require.NoError(t, err)
	require.Equal(t, protocol.StatusCompleted, status)
	require.Contains(t, text, `"text":"get_current_time needs your authorization. Open this link to go on: http://127.0.0.1`)

	resp := a.chat(t, a.cloud.IDToken("bob").Reveal(), "c", `{"stream":true,"messages":[{"role":"user","content":"What time is it now?"}]}`)
	b, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	require.Contains(t, string(b), "Open this link to go on: http://127.0.0.1")

	browser := newBrowser(t, a)
	browser.signIn("alice")
	got := browser.say("What time is it now?", nil)
	require.NotEmpty(t, got.asks)
	require.NotContains(t, browser.seen.String(), "Open this link")
}
