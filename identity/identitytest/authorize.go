// SPDX-License-Identifier: Apache-2.0

package identitytest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"regexp"
	"strings"
	"time"
)

// Decision is what a user does with a request for consent.
type Decision string

// Decisions.
const (
	Allow Decision = "allow"
	Deny  Decision = "deny"
)

// Authorize does what a person does who opens link in a browser of their own:
// signs in as the user and, where asked, decides. It goes through the cloud's
// pages and forms, and returns the address on the application's side that the
// browser is sent to in the end, without opening it.
//
// link is an authorization URL of the cloud: that of an authorization request,
// or of a sign-in.
func (s *Server) Authorize(ctx context.Context, link, subject string, decision Decision) (*url.URL, error) {
	jar, err := cookiejar.New(nil)
	if err != nil {
		return nil, err
	}
	b := &person{
		cloud: s.cloud.URL,
		http: &http.Client{
			Jar: jar, Timeout: 10 * time.Second,
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}
	return b.run(ctx, link, subject, decision)
}

// person is a browser with somebody before it.
type person struct {
	cloud string
	http  *http.Client
}

var (
	hiddenField = regexp.MustCompile(`<input type="hidden" name="([a-z]+)" value="([^"]*)">`)
	formAction  = regexp.MustCompile(`<form method="post" action="([^"]+)">`)
)

func (p *person) run(ctx context.Context, link, subject string, decision Decision) (*url.URL, error) {
	next, err := http.NewRequestWithContext(ctx, http.MethodGet, link, nil)
	if err != nil {
		return nil, err
	}
	for range 12 {
		resp, err := p.http.Do(next)
		if err != nil {
			return nil, err
		}
		body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
		_ = resp.Body.Close()
		if err != nil {
			return nil, err
		}
		if location, err := resp.Location(); err == nil {
			if !strings.HasPrefix(location.String(), p.cloud+"/") {
				return location, nil
			}
			if next, err = http.NewRequestWithContext(ctx, http.MethodGet, location.String(), nil); err != nil {
				return nil, err
			}
			continue
		}
		action := formAction.FindSubmatch(body)
		if resp.StatusCode != http.StatusOK || action == nil {
			return nil, fmt.Errorf("identitytest: %s answered status %d without a form", next.URL.Path, resp.StatusCode)
		}
		form := url.Values{}
		for _, m := range hiddenField.FindAllSubmatch(body, -1) {
			form.Set(string(m[1]), string(m[2]))
		}
		if strings.HasSuffix(string(action[1]), "/signin") {
			form.Set("user", subject)
		} else {
			form.Set("decision", string(decision))
		}
		next, err = http.NewRequestWithContext(ctx, http.MethodPost, p.cloud+string(action[1]), strings.NewReader(form.Encode()))
		if err != nil {
			return nil, err
		}
		next.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	return nil, errors.New("identitytest: the pages lead in circles")
}
