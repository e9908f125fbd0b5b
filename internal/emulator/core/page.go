// SPDX-License-Identifier: Apache-2.0

package core

import (
	"bytes"
	"html/template"
	"net/http"
	"strconv"
)

var page = template.Must(template.New("page").Parse(`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{.Title}} · simulated local cloud</title>
<style>
:root { color-scheme: light dark; --line: #8884; --accent: #1664d9; }
body { font: 16px/1.5 system-ui, "Noto Sans SC", sans-serif; margin: 0; display: grid; min-height: 100vh; grid-template-rows: auto 1fr; }
.banner { background: #b45309; color: #fff; padding: .5rem 1rem; text-align: center; font-size: .875rem; }
main { max-width: 26rem; width: calc(100% - 2rem); margin: 3rem auto; }
h1 { font-size: 1.375rem; margin: 0 0 .25rem; }
p { margin: .5rem 0; }
ul { padding-left: 1.25rem; }
button { font: inherit; display: block; width: 100%; text-align: left; padding: .75rem 1rem; margin: .5rem 0; border: 1px solid var(--line); border-radius: .5rem; background: transparent; color: inherit; cursor: pointer; }
button:hover, button:focus-visible { border-color: var(--accent); outline: 2px solid var(--accent); outline-offset: 1px; }
button.primary { background: var(--accent); border-color: var(--accent); color: #fff; text-align: center; font-weight: 600; }
button.plain { text-align: center; }
small { opacity: .75; display: block; }
code { overflow-wrap: anywhere; }
</style>
</head>
<body>
<div class="banner" role="note">Simulation: this is the local cloud of agent-identity-go, not Alibaba Cloud · 模拟环境，并非阿里云</div>
<main>{{.Body}}</main>
</body>
</html>
`))

// WritePage answers with a page that says that it is simulated. The body is a
// template's output. Pages work without scripts and forbid them.
//
// Their policy has no form-action: browsers apply it to the redirects that
// follow a form, and those leave for the application by design.
func WritePage(w http.ResponseWriter, status int, title string, body *template.Template, data any) {
	var inner, whole bytes.Buffer
	err := body.Execute(&inner, data)
	if err == nil {
		err = page.Execute(&whole, struct {
			Title string
			Body  template.HTML
		}{title, template.HTML(inner.String())})
	}
	if err != nil {
		http.Error(w, "local cloud: "+err.Error(), http.StatusInternalServerError)
		return
	}
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Length", strconv.Itoa(whole.Len()))
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; frame-ancestors 'none'")
	w.WriteHeader(status)
	_, _ = w.Write(whole.Bytes())
}

var problem = template.Must(template.New("problem").Parse(`<h1>{{.Title}}</h1><p>{{.Text}}</p>`))

// WriteProblem answers with a page about what went wrong and what to do.
func WriteProblem(w http.ResponseWriter, status int, title, text string) {
	WritePage(w, status, title, problem, struct{ Title, Text string }{title, text})
}
