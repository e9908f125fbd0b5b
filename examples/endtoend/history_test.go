// SPDX-License-Identifier: Apache-2.0

package main

import (
	"net/http"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// A chat that is deleted is forgotten by the page's list and by the agent, and
// by nobody else's.
func TestADeletedChatIsForgotten(t *testing.T) {
	var mu sync.Mutex
	shown := ""
	model, use := spy(t, func(b []byte) { mu.Lock(); defer mu.Unlock(); shown = string(b) })
	a, _ := newApp(t, "-model", model)
	use(a)
	alice, bob := newBrowser(t, a), newBrowser(t, a)
	alice.signIn("alice")
	bob.signIn("bob")
	alice.say("hello from alice", nil)
	bob.say("hello from bob", nil) // the same chat id
	status, body := alice.do(http.MethodGet, "/chats", nil, "SESSION-ID", alice.handle)
	require.Equal(t, 200, status)
	require.Contains(t, body, `"title":"hello from alice"`)
	require.NotContains(t, body, "bob")

	status, body = alice.do(http.MethodDelete, "/chats/chat-1", nil, "SESSION-ID", alice.handle)
	require.Equal(t, 200, status, body)
	status, _ = alice.do(http.MethodDelete, "/chats/chat-1", nil, "SESSION-ID", alice.handle, "Origin", "https://evil.example.com")
	require.Equal(t, 403, status)
	alice.say("hello again", nil)
	mu.Lock()
	require.NotContains(t, shown, "hello from alice", "the agent has forgotten, too")
	mu.Unlock()
	bob.say("hello again", nil)
	mu.Lock()
	require.Contains(t, shown, "hello from bob")
	mu.Unlock()
	for _, token := range []string{"", "Bearer x", "Basic " + a.cloud.IDToken("alice").Reveal()} {
		status, _ = bob.do(http.MethodDelete, a.agentURL+"/conversations/chat-1", nil, "Authorization", token)
		require.Equal(t, 401, status)
	}
}
