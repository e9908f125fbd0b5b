// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"context"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/agent-identity/agent-identity-go/tools/mcp"
)

// bearer adds a token to each request.
type bearer string

func (b bearer) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set("Authorization", "Bearer "+string(b))
	return http.DefaultTransport.RoundTrip(r)
}

// open does what a user does in a browser who opens a link: fills in the local
// cloud's forms until there are none.
func open(t *testing.T, link, user string) string {
	t.Helper()
	jar, err := cookiejar.New(nil)
	require.NoError(t, err)
	browser := &http.Client{Jar: jar}
	resp, err := browser.Get(link)
	for range 5 {
		require.NoError(t, err)
		b, readErr := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		require.NoError(t, readErr)
		action := regexp.MustCompile(`<form method="post" action="([^"]+)">`).FindSubmatch(b)
		if action == nil {
			return string(b)
		}
		form := url.Values{"user": {user}, "decision": {"allow"}}
		for _, m := range regexp.MustCompile(`<input type="hidden" name="([a-z]+)" value="([^"]*)">`).FindAllSubmatch(b, -1) {
			form.Set(string(m[1]), string(m[2]))
		}
		resp, err = browser.PostForm(resp.Request.URL.Scheme+"://"+resp.Request.URL.Host+string(action[1]), form)
	}
	return ""
}

func TestRun(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	out, write := io.Pipe()
	ended := make(chan error, 1)
	go func() { ended <- run(ctx, []string{"-addr", "127.0.0.1:0"}, nil, write, io.Discard) }()
	lines := bufio.NewScanner(out)
	read := func(prefix string) string {
		require.True(t, lines.Scan())
		rest, ok := strings.CutPrefix(lines.Text(), prefix)
		require.True(t, ok, lines.Text())
		return rest
	}
	address, token := read("ready "), read("bearer token of alice, for an hour: ")
	client, err := mcp.New(mcp.Config{Name: "example", URL: address, Transport: bearer(token), Timeout: 10 * time.Second})
	require.NoError(t, err)
	set, err := mcp.Combine(ctx, nil, client)
	require.NoError(t, err)
	text, err := set.Call(ctx, "weather", `{"city":"Hangzhou"}`)
	require.NoError(t, err)
	require.Contains(t, text, "Hangzhou")
	_, err = set.Call(ctx, "time", "{}")
	require.ErrorContains(t, err, "/consent/")
	link := regexp.MustCompile(`http://localhost:\d+/consent/[0-9a-f]+`).FindString(err.Error())
	require.NotEmpty(t, link)
	for user, want := range map[string]string{"bob": "Somebody else was asked", "alice": "Access granted"} {
		require.Contains(t, open(t, link, user), want, user)
	}
	text, err = set.Call(ctx, "time", "{}")
	require.NoError(t, err)
	require.Contains(t, text, "Asia/Shanghai")
	stranger, err := mcp.New(mcp.Config{Name: "example", URL: address})
	require.NoError(t, err)
	set, err = mcp.Combine(ctx, nil, stranger)
	require.NoError(t, err)
	_, err = set.Call(ctx, "example_connect", "")
	require.ErrorContains(t, err, "authorization required")
	client.Close()
	stranger.Close()
	cancel()
	require.NoError(t, <-ended)
}
