// SPDX-License-Identifier: Apache-2.0

package dashscope

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/agent-identity/agent-identity-go/internal/randid"
)

// minScore is what a tool must reach to be called.
const minScore = 1.5

// maxCalls is how many tools one turn calls at most.
const maxCalls = 8

// think is the simulated model: it answers with the results of the tools that
// it called, or calls the tools that the last question is about, or says what
// it can do.
func think(req *request, now time.Time) turn {
	messages := req.Input.Messages
	question, at := lastQuestion(messages)
	chinese := isChinese(question)
	var results []message
	for _, m := range messages[at+1:] {
		if m.Role == "tool" {
			results = append(results, m)
		}
	}
	var t turn
	if t.calls = nextCalls(req, question, results, now); len(t.calls) == 0 {
		if len(results) > 0 {
			t.content = wordResults(results, chinese)
		} else {
			t.content = smallTalk(req, chinese)
		}
	}
	if req.Parameters.EnableThinking {
		t.reasoning = fmt.Sprintf("(simulated reasoning) The question is %.60q; %d tools are offered, %d fit.", question, len(req.Parameters.Tools), len(t.calls))
	}
	return t
}

func lastQuestion(messages []message) (string, int) {
	for i, m := range slices.Backward(messages) {
		if m.Role == "user" {
			return m.text(), i
		}
	}
	return "", -1
}

func isChinese(s string) bool {
	return strings.ContainsFunc(s, func(r rune) bool { return unicode.Is(unicode.Han, r) })
}

// clauseEnd separates what is asked for in one message.
var clauseEnd = regexp.MustCompile(`[?!;,\n？！；，。、]+|\.\s|\.$|(?i:\band\b|\bthen\b|\balso\b|\bas well as\b|\bplus\b)|以及|还有|并且|并|然后|同时|和|再`)

// assignment is a clause that gives a parameter rather than asks for something.
var assignment = regexp.MustCompile(`^\s*[\p{L}_]+\s*[:：=]\s*\S`)

// plannedCall is a call that a question asks for. One that works on what an
// earlier one finds has to wait for it.
type plannedCall struct {
	toolCall
	waits bool
}

// refersBack says that a clause is about what an earlier one finds.
var refersBack = regexp.MustCompile(`(?i)\b(it|its|them|this|that|the (?:result|content|contents|text|answer)s?)\b|它|其内容|结果|内容|再把|然后把`)

// nextCalls are the calls of the plan that can be made now: first those that
// stand alone, then those that wait for a result, and the tools that another
// tool has opened.
func nextCalls(req *request, question string, results []message, now time.Time) []toolCall {
	found := ""
	called := map[string]int{}
	opened := false
	for _, m := range results {
		called[m.Name]++
		opened = opened || opens(m)
		switch {
		case opens(m):
		case failed(m.text()):
			return nil // what comes after it makes no sense
		default:
			found = foundText(m.text())
		}
	}
	var calls []toolCall
	for _, c := range planCalls(req, question, found, now) {
		if called[c.name] > 0 {
			called[c.name]--
			continue
		}
		if c.waits == (len(results) > 0 && found != "") || opened && !c.waits {
			calls = append(calls, c.toolCall)
		}
	}
	return calls
}

// opens reports a result that says that further tools can be used now.
func opens(m message) bool {
	return strings.HasSuffix(m.Name, "_connect") && strings.HasPrefix(m.text(), "Access is granted.")
}

// foundText is what a result holds for a further call: its text, if it has one.
func foundText(result string) string {
	var o struct{ Text, Content string }
	if json.Unmarshal([]byte(result), &o) == nil {
		if o.Text != "" {
			return o.Text
		}
		if o.Content != "" {
			return o.Content
		}
	}
	return strings.TrimSpace(result)
}

// planCalls finds the tools that a question is about, by what it means. found is
// what an earlier call has found.
func planCalls(req *request, question, found string, now time.Time) []plannedCall {
	tools := offered(req)
	if len(tools) == 0 || strings.TrimSpace(question) == "" {
		return nil
	}
	index := newToolIndex(tools)
	if forced := forcedTool(req); forced != "" {
		for _, f := range tools {
			if f.Name == forced {
				return []plannedCall{{toolCall: callOf(f, question, question, found, now)}}
			}
		}
	}
	// wish is a tool with the part of the question that asks for it.
	type wish struct {
		tool   function
		clause string
	}
	var wishes []wish
	for _, clause := range clauseEnd.Split(question, -1) {
		if strings.TrimSpace(clause) == "" {
			continue
		}
		var before *wish
		if n := len(wishes); n > 0 {
			before = &wishes[n-1]
		}
		if before != nil && assignment.MatchString(clause) {
			before.clause += ", " + clause // "…, date: 2026-01-31"
			continue
		}
		best, ok := index.best(clause)
		switch another := before != nil && place(clause) != "" && wantsPlace(before.tool); {
		case ok && (before == nil || best.Name != before.tool.Name || another):
			wishes = append(wishes, wish{best, clause})
		case ok:
			before.clause += " " + clause // goes on about the same
		case another && len(cutWords(clause)) <= 3:
			wishes = append(wishes, wish{before.tool, clause}) // "… in Beijing and Shanghai"
		}
	}
	if len(wishes) == 0 {
		if best, ok := index.best(question); ok {
			wishes = append(wishes, wish{best, question})
		}
	}
	if len(wishes) == 1 {
		wishes[0].clause = question // all of it is about this
	}
	// "Copy report.txt into my document" is two wishes: the file is read first.
	if len(wishes) == 1 && wantsText(wishes[0].tool) && !quotePattern.MatchString(question) {
		if name := filePattern.FindString(question); name != "" {
			if reader, ok := index.best("read the file " + name); ok && reader.Name != wishes[0].tool.Name && !wantsText(reader) {
				wishes = []wish{{reader, question}, {wishes[0].tool, strings.Replace(question, name, "", 1)}}
			}
		}
	}
	var calls []plannedCall
	seen := map[string]bool{}
	for i, w := range wishes {
		// A text that is neither given nor named is what was found before.
		back := refersBack.MatchString(w.clause) || !quotePattern.MatchString(w.clause)
		c := plannedCall{waits: i > 0 && wantsText(w.tool) && back}
		if c.waits {
			c.toolCall = callOf(w.tool, w.clause, w.clause, found, now)
		} else {
			c.toolCall = callOf(w.tool, w.clause, question, "", now)
		}
		if key := c.name + c.arguments; !seen[key] && len(calls) < maxCalls {
			seen[key] = true
			calls = append(calls, c)
		}
	}
	return calls
}

func offered(req *request) []function {
	var choice string
	if json.Unmarshal(req.Parameters.ToolChoice, &choice) == nil && choice == "none" {
		return nil
	}
	tools := make([]function, len(req.Parameters.Tools))
	for i, t := range req.Parameters.Tools {
		tools[i] = t.Function
	}
	return tools
}

func forcedTool(req *request) string {
	var choice struct{ Function struct{ Name string } }
	_ = json.Unmarshal(req.Parameters.ToolChoice, &choice)
	return choice.Function.Name
}

func callOf(f function, clause, question, found string, now time.Time) toolCall {
	return toolCall{id: "call_" + randid.Hex(12), name: f.Name, arguments: fillArguments(f.Parameters, clause, question, found, now)}
}

// toolIndex scores the offered tools.
type toolIndex struct {
	tools []function
	name  []terms
	about []terms
	extra []terms        // of the schema
	share map[string]int // in how many tools a word occurs
}

func newToolIndex(tools []function) *toolIndex {
	x := &toolIndex{tools: tools, share: map[string]int{}}
	for _, f := range tools {
		name, about, extra := read(f.Name), read(f.Description), read(schemaText(f.Parameters))
		x.name, x.about, x.extra = append(x.name, name), append(x.about, about), append(x.extra, extra)
		all := map[string]bool{}
		for _, t := range []terms{name, about, extra} {
			for w := range t.words {
				all[w] = true
			}
		}
		for w := range all {
			x.share[w]++
		}
	}
	return x
}

func schemaText(schema json.RawMessage) string {
	var s schemaNode
	_ = json.Unmarshal(schema, &s)
	var b strings.Builder
	for _, name := range s.names() {
		fmt.Fprintf(&b, "%s %s ", name, s.Properties[name].Description)
	}
	return b.String()
}

// best returns the tool that a text is most likely about.
func (x *toolIndex) best(text string) (function, bool) {
	want := read(text)
	if filePattern.MatchString(text) {
		want.concepts["file"] = max(want.concepts["file"], 0.8)
	}
	var best function
	top := 0.0
	for i, f := range x.tools {
		score := 0.0
		for name, strength := range want.concepts {
			// The name and what the description is about tell more than the
			// parameters: many tools have a time.
			has := max(3*x.name[i].concepts[name], 2.5*x.about[i].concepts[name], 0.5*x.extra[i].concepts[name])
			score += strength * has
		}
		for w := range want.words {
			rare := 2.0
			if n := x.share[w]; n > 1 {
				rare = 2 / float64(n)
			}
			switch {
			case x.name[i].words[w]:
				score += rare
			case x.about[i].words[w]:
				score += 0.9 * rare
			case x.extra[i].words[w]:
				score += 0.4 * rare
			}
		}
		if strings.Contains(text, f.Name) {
			score += 10 // asked for by its name
		}
		if score > top+1e-9 { // words are added up in no order
			best, top = f, score
		}
	}
	return best, top >= minScore
}

func smallTalk(req *request, chinese bool) string {
	var names []string
	for _, f := range offered(req) {
		names = append(names, f.Name)
	}
	tools := strings.Join(names, ", ")
	if chinese {
		if tools == "" {
			return "我是本地云的模拟模型（基于规则，不是真正的大语言模型），没有可用的工具，无法回答这个问题。"
		}
		return "我是本地云的模拟模型（基于规则，不是真正的大语言模型）。我没有找到适合这个问题的工具。可用的工具：" + tools + "。"
	}
	if tools == "" {
		return "I am the local cloud's simulated model: rule-based, not a real language model. I have no tools and cannot answer this."
	}
	return "I am the local cloud's simulated model: rule-based, not a real language model. I found no tool for this. I can call: " + tools + "."
}
