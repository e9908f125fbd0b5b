// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/agent-identity/agent-identity-go/internal/sse"
)

// model is DashScope as far as an answer in words needs it.
type model struct {
	url  string
	open atomic.Int64
	end  chan struct{}
}

func (m *model) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body)
	begun := time.Now()
	w.Header().Set("Content-Type", "text/event-stream")
	events := http.NewResponseController(w)
	say := func(word, reason string) {
		fmt.Fprintf(w, "data:{\"output\":{\"choices\":[{\"message\":{\"role\":\"assistant\",\"content\":%q},\"finish_reason\":%q}]}}\n\n", word, reason)
		_ = events.Flush()
	}
	if r.URL.Path == ownPath {
		time.Sleep(think - time.Since(begun))
		say("word", "stop")
		return
	}
	if r.Header.Get("X-Request-Id") != warmID {
		time.Sleep(think - time.Since(begun))
		m.open.Add(1)
		defer m.open.Add(-1)
		ticker := time.NewTicker(time.Second)
		defer ticker.Stop()
		for talking := true; talking; {
			say("word ", "null")
			select {
			case <-ticker.C:
			case <-m.end:
				talking = false
			case <-r.Context().Done():
				return
			}
		}
	}
	say("end", "stop")
}

const (
	warmID  = "warm-up-request"
	ownPath = "/own"
)

// ask asks the model itself: how long its first word takes.
func (m *model) ask() (time.Duration, error) {
	begun := time.Now()
	resp, err := http.Post(m.url+ownPath, "application/json", strings.NewReader("{}"))
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	for ev, err := range sse.Read(resp.Body, 0) {
		if err != nil {
			return 0, err
		}
		if ev.Data != nil {
			return time.Since(begun), nil
		}
	}
	return 0, io.ErrUnexpectedEOF
}
