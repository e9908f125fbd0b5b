// SPDX-License-Identifier: Apache-2.0

package credentials_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"
	"time"

	"github.com/agent-identity/agent-identity-go/credentials"
	"github.com/agent-identity/agent-identity-go/identity"
	"github.com/agent-identity/agent-identity-go/identity/identitytest"
	"github.com/agent-identity/agent-identity-go/workload"
)

// An agent of the local cloud, which tests and examples run against.
func exampleAgent() (*workload.Agent, *identitytest.Server, func()) {
	cloud, err := identitytest.Start(identitytest.Config{})
	if err != nil {
		log.Fatal(err)
	}
	client, err := identity.New(cloud.ClientConfig())
	if err != nil {
		log.Fatal(err)
	}
	agent, err := workload.New(workload.Config{Client: client, Name: identitytest.Workload})
	if err != nil {
		log.Fatal(err)
	}
	return agent, cloud, func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_ = cloud.Close(ctx)
	}
}

func ExampleRequiresAPIKey() {
	agent, cloud, stop := exampleAgent()
	defer stop()
	key := credentials.NewAPIKeySource(agent, credentials.APIKeyConfig{Provider: identitytest.APIKeyProvider})

	weather := credentials.RequiresAPIKey(key, func(_ context.Context, key credentials.APIKey, city string) (string, error) {
		// Send key.Key.Reveal() to the weather service here.
		return fmt.Sprintf("sunny in %s (key %v of %s)", city, key.Key, key.Provider), nil
	})

	ctx := identity.NewContext(context.Background(), identity.Caller{UserToken: cloud.IDToken("alice")})
	report, err := weather(ctx, "Hangzhou") // the caller never sees a key
	fmt.Println(report, err)
	// Output: sunny in Hangzhou (key [REDACTED] of test-api-key) <nil>
}

// Without OnAuthorization, a missing consent is an error with the link.
func ExampleAuthorizationRequiredError() {
	agent, cloud, stop := exampleAgent()
	defer stop()
	docs := credentials.NewOAuth2Source(agent, credentials.OAuth2Config{
		Provider: identitytest.OAuth2Provider, Scopes: []string{"openid"}, CallbackURL: identitytest.DefaultReturnURL,
	})
	ctx := identity.NewContext(context.Background(), identity.Caller{UserToken: cloud.IDToken("alice")})

	_, err := docs.Credential(ctx)
	required, ok := errors.AsType[*credentials.AuthorizationRequiredError](err)
	fmt.Println("consent needed:", ok)

	// The user opens the link and allows; the application's callback handler
	// checks that it is this user's browser and confirms.
	back, err := cloud.Authorize(ctx, required.URL, "alice", identitytest.Allow)
	if err != nil {
		log.Fatal(err)
	}
	err = agent.Client().CompleteResourceTokenAuth(ctx, back.Query().Get("session_uri"),
		identity.UserIdentifier{UserToken: required.Caller.UserToken})
	if err != nil {
		log.Fatal(err)
	}

	token, err := docs.Credential(ctx)
	fmt.Println("token:", token.AccessToken, err)
	// Output:
	// consent needed: true
	// token: [REDACTED] <nil>
}

// With OnAuthorization, the source tells the link and waits.
func ExampleOAuth2Source() {
	agent, cloud, stop := exampleAgent()
	defer stop()
	docs := credentials.NewOAuth2Source(agent, credentials.OAuth2Config{
		Provider: identitytest.OAuth2Provider, Scopes: []string{"openid"}, CallbackURL: identitytest.DefaultReturnURL,
		OnAuthorization: func(ctx context.Context, a credentials.Authorization) error {
			fmt.Println("show the link for", a.Provider, a.Scopes)
			go func() { // the user, in a browser
				if _, err := cloud.Authorize(context.WithoutCancel(ctx), a.URL, "alice", identitytest.Deny); err == nil {
					credentials.NotifyAuthorization(a.SessionURI)
				}
			}()
			return nil
		},
	})
	write := credentials.RequiresOAuth2(docs, func(context.Context, credentials.OAuth2Token, string) (string, error) {
		return "written", nil
	})
	ctx := identity.NewContext(context.Background(), identity.Caller{UserToken: cloud.IDToken("alice")})
	_, err := write(ctx, "text")
	fmt.Println("refused:", errors.Is(err, credentials.ErrAuthorizationDenied))
	// Output:
	// show the link for test-oauth2 [openid]
	// refused: true
}

// The callback handler of a web application. What a user grants is confirmed
// only in the browser, and for the user, that was asked.
func ExampleCallbackHandler() {
	agent, cloud, stop := exampleAgent()
	defer stop()

	// The application's own sessions: who is signed in in which browser.
	alice := identity.Caller{UserToken: cloud.IDToken("alice"), State: "chat-1"}
	logins := map[string]credentials.Login{"cookie-of-alice": {ID: "login-1", Caller: alice}}

	callback, err := credentials.NewCallbackHandler(credentials.CallbackConfig{
		Client: agent.Client(),
		Login: func(r *http.Request) (credentials.Login, error) {
			c, err := r.Cookie("session")
			if err != nil {
				return credentials.Login{}, nil // nobody is signed in
			}
			return logins[c.Value], nil
		},
	})
	if err != nil {
		log.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle("GET /callback", callback)

	docs := credentials.NewOAuth2Source(agent, credentials.OAuth2Config{
		Provider: identitytest.OAuth2Provider, Scopes: []string{"openid"}, CallbackURL: identitytest.DefaultReturnURL,
		OnAuthorization: func(ctx context.Context, a credentials.Authorization) error {
			if _, err := callback.Expect(ctx, logins["cookie-of-alice"], a); err != nil {
				return err
			}
			// Show a.URL in the chat here. Alice opens it, and returns.
			back, err := cloud.Authorize(ctx, a.URL, "alice", identitytest.Allow)
			if err != nil {
				return err
			}
			r := httptest.NewRequest(http.MethodGet, back.RequestURI(), nil)
			stolen := httptest.NewRecorder()
			mux.ServeHTTP(stolen, r) // in a browser where nobody is signed in
			r.AddCookie(&http.Cookie{Name: "session", Value: "cookie-of-alice"})
			hers := httptest.NewRecorder()
			mux.ServeHTTP(hers, r)
			fmt.Println("another browser:", stolen.Code, "hers:", hers.Code)
			return nil
		},
	})
	token, err := docs.Credential(identity.NewContext(context.Background(), alice))
	fmt.Println(token.AccessToken, err)
	// Output:
	// another browser: 401 hers: 200
	// [REDACTED] <nil>
}

func ExampleBoth() {
	key := credentials.SourceFunc[credentials.APIKey](func(context.Context) (credentials.APIKey, error) {
		return credentials.APIKey{Key: identity.NewSecret("k"), Provider: "search"}, nil
	})
	token := credentials.SourceFunc[credentials.WorkloadToken](func(context.Context) (credentials.WorkloadToken, error) {
		return credentials.WorkloadToken{Token: identity.NewSecret("t")}, nil
	})
	tool := credentials.Require(credentials.Both(key, token),
		func(_ context.Context, c credentials.Pair[credentials.APIKey, credentials.WorkloadToken], in int) (string, error) {
			return fmt.Sprint(c.First.Provider, " ", !c.Second.Token.IsZero(), " ", in), nil
		})
	fmt.Println(tool(context.Background(), 7))
	// Output: search true 7 <nil>
}
