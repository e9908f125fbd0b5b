// SPDX-License-Identifier: Apache-2.0

package credentials

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"html/template"
	"log/slog"
	"net/http"
	"strings"

	"github.com/agent-identity/agent-identity-go/identity"
)

// CallbackOutcome is how a user's return ended.
type CallbackOutcome string

// Outcomes of a user's return.
const (
	// CallbackGranted: the grant is confirmed, and the tools that wait go on.
	CallbackGranted CallbackOutcome = "granted"
	// CallbackRefused: the user refused, or the authorization server did.
	CallbackRefused CallbackOutcome = "refused"
	// CallbackMalformed: the address lacks what it must have.
	CallbackMalformed CallbackOutcome = "malformed"
	// CallbackSignedOut: nobody is signed in in this browser.
	CallbackSignedOut CallbackOutcome = "signed_out"
	// CallbackUnknown: nothing is pending with this session and state; it was
	// never asked for, was answered before, or is too old.
	CallbackUnknown CallbackOutcome = "unknown"
	// CallbackOtherLogin: another browser, sign-in or user was asked.
	CallbackOtherLogin CallbackOutcome = "other_login"
	// CallbackUnavailable: it could not be confirmed now. Nothing is lost:
	// reloading the page tries again.
	CallbackUnavailable CallbackOutcome = "unavailable"
	// CallbackNotAccepted: the service did not accept the confirmation.
	CallbackNotAccepted CallbackOutcome = "not_accepted"
)

// CallbackResult is what a page about a user's return can say.
type CallbackResult struct {
	Outcome CallbackOutcome
	// Status is the HTTP status to answer with.
	Status int
	// Authorization is what was asked. Only for CallbackGranted,
	// CallbackRefused, CallbackUnavailable and CallbackNotAccepted.
	Authorization Authorization
	// Err is why, for CallbackUnavailable and CallbackNotAccepted. It is for
	// logs.
	Err error
}

var callbackStatus = map[CallbackOutcome]int{
	CallbackGranted: http.StatusOK, CallbackRefused: http.StatusOK, CallbackMalformed: http.StatusBadRequest,
	CallbackSignedOut: http.StatusUnauthorized, CallbackUnknown: http.StatusBadRequest, CallbackOtherLogin: http.StatusForbidden,
	CallbackUnavailable: http.StatusBadGateway, CallbackNotAccepted: http.StatusBadGateway,
}

// ServeHTTP handles a user's return.
func (h *CallbackHandler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet {
		w.Header().Set("Allow", http.MethodGet)
		http.Error(w, "method not allowed", http.StatusMethodNotAllowed)
		return
	}
	result := h.handle(r)
	result.Status = callbackStatus[result.Outcome]
	level := slog.LevelInfo
	if result.Outcome != CallbackGranted && result.Outcome != CallbackRefused {
		level = slog.LevelWarn
	}
	attrs := []slog.Attr{slog.String("outcome", string(result.Outcome)), slog.String("provider", result.Authorization.Provider)}
	if result.Err != nil {
		attrs = append(attrs, slog.Any("error", result.Err))
	}
	h.cfg.Logger.LogAttrs(r.Context(), level, "authorization callback", attrs...)
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Referrer-Policy", "no-referrer")
	h.cfg.Page(w, r, result)
}

func (h *CallbackHandler) handle(r *http.Request) CallbackResult {
	q := r.URL.Query()
	sessionURI := q.Get("session_uri")
	if sessionURI == "" || len(q["session_uri"]) > 1 || len(q["state"]) > 1 || len(q["error"]) > 1 {
		return CallbackResult{Outcome: CallbackMalformed}
	}
	login, err := h.cfg.Login(r)
	if err != nil {
		return CallbackResult{Outcome: CallbackUnavailable, Err: err}
	}
	if login.ID == "" {
		return CallbackResult{Outcome: CallbackSignedOut}
	}
	key := storeKey(topic(sessionURI))
	asked, err := decodePending(h.cfg.Store.List(r.Context(), key))
	if err != nil {
		return CallbackResult{Outcome: CallbackUnavailable, Err: err}
	}
	if !knowsState(asked, q.Get("state")) {
		return CallbackResult{Outcome: CallbackUnknown}
	}
	if login.find(asked) == nil {
		return CallbackResult{Outcome: CallbackOtherLogin}
	}
	// From here on it is used up, whoever else comes at the same time.
	taken, err := h.cfg.Store.TakeAll(r.Context(), key)
	if asked, err = decodePending(taken, err); err != nil {
		return CallbackResult{Outcome: CallbackUnavailable, Err: err}
	}
	own := login.find(asked)
	if own == nil {
		return CallbackResult{Outcome: CallbackUnknown}
	}
	result := CallbackResult{Outcome: CallbackGranted, Authorization: own.authorization()}
	if q.Get("error") != "" {
		result.Outcome = CallbackRefused
		h.notify(r.Context(), sessionURI)
		return result
	}
	// The user may close the page now; what was granted is confirmed all the
	// same.
	ctx := context.WithoutCancel(r.Context())
	if result.Err = h.confirm(ctx, sessionURI, asked); result.Err == nil {
		h.notify(ctx, sessionURI)
		return result
	}
	result.Outcome = CallbackNotAccepted
	if apiErr, ok := errors.AsType[*identity.APIError](result.Err); !ok || apiErr.Temporary() {
		result.Outcome = CallbackUnavailable
		for _, p := range asked { // nothing was confirmed
			if err := h.keep(ctx, topic(sessionURI), p); err != nil {
				result.Err = errors.Join(result.Err, err)
			}
		}
	}
	return result
}

// knowsState reports whether the session was asked for with this state.
func knowsState(asked []pending, state string) bool {
	for _, p := range asked {
		if same(p.State, state) {
			return true
		}
	}
	return false
}

// callbackText is what a page says.
type callbackText struct{ Title, TitleZH, Text, TextZH string }

var callbackTexts = map[CallbackOutcome]callbackText{
	CallbackGranted:     {"Access granted", "授权成功", "You can close this page. The agent goes on by itself.", "您可以关闭本页面，智能体会自动继续。"},
	CallbackRefused:     {"Access refused", "已拒绝授权", "Nothing was granted. You can close this page.", "未授予任何权限，您可以关闭本页面。"},
	CallbackMalformed:   {"This page was opened the wrong way", "打开方式不正确", "Its address is incomplete. Ask the agent again.", "地址不完整，请重新向智能体提问。"},
	CallbackSignedOut:   {"You are not signed in", "您尚未登录", "Sign in to the application in this browser, and reload this page.", "请先在此浏览器中登录应用，然后刷新本页面。"},
	CallbackUnknown:     {"This authorization is not open", "此授权请求不存在或已结束", "It was answered before, or is too old. Ask the agent again.", "它可能已被处理或已过期，请重新向智能体提问。"},
	CallbackOtherLogin:  {"Somebody else was asked", "该授权请求不属于您", "This authorization was not asked for in your sign-in. If somebody sent you the link, do not grant anything.", "此授权请求并非由您当前的登录发起。如果链接是他人发给您的，请勿授权。"},
	CallbackUnavailable: {"This could not be confirmed now", "暂时无法确认授权", "Nothing is lost. Reload this page to try again.", "请刷新本页面重试。"},
	CallbackNotAccepted: {"This was not accepted", "授权未被接受", "The service did not accept the authorization. Ask the agent again.", "服务未接受此授权，请重新向智能体提问。"},
}

var callbackTemplate = template.Must(template.New("callback").Parse(`<!doctype html>
<html lang="{{.Lang}}"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1"><title>{{.Title}}</title>
<style>
:root { color-scheme: light dark; }
body { font: 16px/1.5 system-ui, "Noto Sans SC", sans-serif; max-width: 32rem; margin: 4rem auto; padding: 0 1rem; }
h1 { font-size: 1.375rem; }
code { overflow-wrap: anywhere; }
</style></head><body><main>
{{range .Parts}}<section lang="{{.Lang}}"><h1>{{.Title}}</h1><p>{{.Text}}</p></section>
{{end}}{{with .Authorization}}{{if .Provider}}<p><strong>{{.Provider}}</strong></p><ul>{{range .Scopes}}<li><code>{{.}}</code></li>{{end}}</ul>{{end}}{{end}}
</main></body></html>
`))

// callbackPage is the page that a handler shows by itself, in both languages,
// the browser's own first.
func callbackPage(w http.ResponseWriter, r *http.Request, result CallbackResult) {
	h := w.Header()
	h.Set("X-Content-Type-Options", "nosniff")
	text := callbackTexts[result.Outcome]
	if !strings.Contains(r.Header.Get("Accept"), "text/html") {
		h.Set("Content-Type", "application/json")
		w.WriteHeader(result.Status)
		_ = json.NewEncoder(w).Encode(map[string]string{"outcome": string(result.Outcome), "detail": text.Title + ". " + text.Text})
		return
	}
	type part struct{ Lang, Title, Text string }
	parts := []part{{"en", text.Title, text.Text}, {"zh-CN", text.TitleZH, text.TextZH}}
	if strings.HasPrefix(r.Header.Get("Accept-Language"), "zh") {
		parts[0], parts[1] = parts[1], parts[0]
	}
	var page bytes.Buffer
	err := callbackTemplate.Execute(&page, map[string]any{
		"Lang": parts[0].Lang, "Title": parts[0].Title, "Parts": parts, "Authorization": result.Authorization,
	})
	if err != nil {
		http.Error(w, "the page could not be made", http.StatusInternalServerError)
		return
	}
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Security-Policy", "default-src 'none'; style-src '"+callbackStyle+"'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
	w.WriteHeader(result.Status)
	_, _ = w.Write(page.Bytes())
}

// callbackStyle is the digest of the one style that the page may have.
var callbackStyle = func() string {
	var page strings.Builder
	_ = callbackTemplate.Execute(&page, map[string]any{})
	_, rest, _ := strings.Cut(page.String(), "<style>")
	style, _, _ := strings.Cut(rest, "</style>")
	sum := sha256.Sum256([]byte(style))
	return "sha256-" + base64.StdEncoding.EncodeToString(sum[:])
}()
