// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"regexp"
	"strings"
	"time"

	"github.com/agent-identity/agent-identity-go/internal/sse"
)

// person is signed in.
type person struct {
	http   *http.Client
	handle string
}

func (p *person) send(page, chat, id string) (*http.Response, error) {
	body := fmt.Sprintf(`{"session_id":%q,"accept_events":["authorization"],"input":[{"role":"user","content":[{"type":"text","text":"Tell me a story"}]}]}`, chat)
	req, err := http.NewRequest(http.MethodPost, page+"/chat", strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("SESSION-ID", p.handle)
	if id != "" {
		req.Header.Set("X-Request-Id", id)
	}
	return p.http.Do(req)
}

// warm lets both services do what they do once: fetch keys, connect.
func (p *person) warm(page string) error {
	resp, err := p.send(page, "warm-up", warmID)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err == nil && !bytes.Contains(text, []byte(`"completed"`)) {
		err = fmt.Errorf("status %s: %s", resp.Status, text)
	}
	return err
}

// ask reads an answer to its end: how long its first word took, and how many
// there were.
func (p *person) ask(page, chat string) (first time.Duration, words int, err error) {
	begun := time.Now()
	resp, err := p.send(page, chat, "")
	if err != nil {
		return 0, 0, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return 0, 0, fmt.Errorf("status %s", resp.Status)
	}
	for ev, err := range sse.Read(resp.Body, 0) {
		switch {
		case err != nil:
			return 0, words, err
		case bytes.Contains(ev.Data, []byte(`"delta":true`)):
			if words++; words == 1 {
				first = time.Since(begun)
			}
		case bytes.Contains(ev.Data, []byte(`"object":"response"`)) && bytes.Contains(ev.Data, []byte(`"status":"completed"`)):
			return first, words, nil
		}
	}
	return 0, words, errors.New("the answer broke off")
}

var (
	hidden = regexp.MustCompile(`<input type="hidden" name="([a-z]+)" value="([^"]*)">`)
	target = regexp.MustCompile(`<form method="post" action="([^"]+)">`)
)

// signIn goes through the local cloud's page as a browser does.
func signIn(page, cloud string) (*person, error) {
	jar, err := cookiejar.New(nil)
	if err != nil {
		return nil, err
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.MaxIdleConnsPerHost = 64
	p := &person{http: &http.Client{Jar: jar, Transport: transport, CheckRedirect: func(r *http.Request, _ []*http.Request) error {
		if strings.HasPrefix(r.URL.String(), page) {
			return http.ErrUseLastResponse
		}
		return nil
	}}}
	resp, err := p.http.Get(page + "/auth")
	if err != nil {
		return nil, err
	}
	var link string
	err = json.NewDecoder(resp.Body).Decode(&link)
	_ = resp.Body.Close()
	if err != nil {
		return nil, err
	}
	if resp, err = p.http.Get(link); err != nil {
		return nil, err
	}
	form := url.Values{"user": {"alice"}}
	text, err := io.ReadAll(resp.Body)
	_ = resp.Body.Close()
	action := target.FindSubmatch(text)
	if err != nil || action == nil {
		return nil, fmt.Errorf("no sign-in page: %s", resp.Status)
	}
	for _, f := range hidden.FindAllSubmatch(text, -1) {
		form.Set(string(f[1]), string(f[2]))
	}
	if resp, err = p.http.PostForm(cloud+string(action[1]), form); err != nil {
		return nil, err
	}
	_ = resp.Body.Close()
	back, err := resp.Location()
	if err != nil {
		return nil, err
	}
	body, err := json.Marshal(map[string]string{"code": back.Query().Get("code"), "state": back.Query().Get("state")})
	if err != nil {
		return nil, err
	}
	if resp, err = p.http.Post(page+"/callback_for_oauth", "application/json", bytes.NewReader(body)); err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	var in struct {
		SessionID string `json:"session_id"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&in); err != nil || in.SessionID == "" {
		return nil, fmt.Errorf("status %s", resp.Status)
	}
	p.handle = in.SessionID
	return p, nil
}
