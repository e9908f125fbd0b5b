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
	if len(results) > 0 {
		t.content = wordResults(results, chinese)
	} else if t.calls = chooseCalls(req, question, now); len(t.calls) == 0 {
		t.content = smallTalk(req, chinese)
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
var clauseEnd = regexp.MustCompile(`[?!;,\n？！；，。、]+|\.\s|\.$|(?i:\band\b|\bthen\b|\balso\b|\bas well as\b|\bplus\b)|以及|还有|并且|然后|同时|和|再`)

// assignment is a clause that gives a parameter rather than asks for something.
var assignment = regexp.MustCompile(`^\s*[\p{L}_]+\s*[:：=]\s*\S`)

// chooseCalls finds the tools that a question is about, by what it means.
func chooseCalls(req *request, question string, now time.Time) []toolCall {
	tools := offered(req)
	if len(tools) == 0 || strings.TrimSpace(question) == "" {
		return nil
	}
	index := newToolIndex(tools)
	if forced := forcedTool(req); forced != "" {
		for _, f := range tools {
			if f.Name == forced {
				return []toolCall{callOf(f, question, question, now)}
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
	var calls []toolCall
	seen := map[string]bool{}
	for _, w := range wishes {
		c := callOf(w.tool, w.clause, question, now)
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

func callOf(f function, clause, question string, now time.Time) toolCall {
	return toolCall{id: "call_" + randid.Hex(12), name: f.Name, arguments: fillArguments(f.Parameters, clause, question, now)}
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
		if score > top {
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

// wordResults words an answer from what the tools returned.
func wordResults(results []message, chinese bool) string {
	var b strings.Builder
	for i, m := range results {
		if i > 0 {
			b.WriteString("\n\n")
		}
		text := strings.TrimSpace(m.text())
		name := m.Name
		if name == "" {
			name = "tool"
		}
		switch v := decodeOrdered(text); {
		case v != nil && wordable(v):
			fmt.Fprintf(&b, lead(chinese, "Here is what %s found:", "%s 的查询结果："), name)
			wordValue(&b, v, 0)
		case text == "":
			fmt.Fprintf(&b, lead(chinese, "%s returned nothing.", "%s 没有返回内容。"), name)
		case failed(text):
			fmt.Fprintf(&b, lead(chinese, "I could not get this from %s: %s", "%s 没有成功：%s"), name, text)
		default:
			fmt.Fprintf(&b, lead(chinese, "Here is what %s found: %s", "%s 的查询结果：%s"), name, text)
		}
	}
	b.WriteString(lead(chinese, "\n\n(This answer comes from the simulated model.)", "\n\n（本回答来自模拟模型。）"))
	return b.String()
}

func lead(chinese bool, en, zh string) string {
	if chinese {
		return zh
	}
	return en
}

func failed(text string) bool {
	lower := strings.ToLower(text)
	for _, sign := range []string{"error", "refused", "denied", "failed", "not found", "timed out", "nobody answered", "expired"} {
		if strings.Contains(lower, sign) {
			return true
		}
	}
	return false
}

// member is one property of a JSON object, in the object's own order.
type member struct {
	name  string
	value any // member lists, value lists or scalars
}

// decodeOrdered reads JSON keeping the order of members; nil if it is none.
func decodeOrdered(text string) any {
	dec := json.NewDecoder(strings.NewReader(text))
	dec.UseNumber()
	v, err := decodeValue(dec)
	if err != nil || dec.More() {
		return nil
	}
	return v
}

func decodeValue(dec *json.Decoder) (any, error) {
	token, err := dec.Token()
	if err != nil {
		return nil, err
	}
	switch token {
	case json.Delim('{'):
		members := []member{}
		for dec.More() {
			name, err := dec.Token()
			if err != nil {
				return nil, err
			}
			value, err := decodeValue(dec)
			if err != nil {
				return nil, err
			}
			members = append(members, member{fmt.Sprint(name), value})
		}
		_, err = dec.Token()
		return members, err
	case json.Delim('['):
		values := []any{}
		for dec.More() {
			value, err := decodeValue(dec)
			if err != nil {
				return nil, err
			}
			values = append(values, value)
		}
		_, err = dec.Token()
		return values, err
	}
	return token, nil
}

func wordable(v any) bool {
	switch v := v.(type) {
	case []member:
		return len(v) > 0
	case []any:
		return len(v) > 0
	}
	return false
}

func wordValue(b *strings.Builder, v any, depth int) {
	indent := "\n" + strings.Repeat("  ", depth) + "- "
	switch v := v.(type) {
	case []member:
		for _, m := range v {
			label := strings.ReplaceAll(m.name, "_", " ")
			if wordable(m.value) {
				b.WriteString(indent + label + ":")
				wordValue(b, m.value, depth+1)
			} else {
				fmt.Fprintf(b, "%s%s: %v", indent, label, m.value)
			}
		}
	case []any:
		for _, item := range v {
			b.WriteString(indent + oneLine(item))
		}
	}
}

// oneLine words a value within a list.
func oneLine(v any) string {
	var parts []string
	switch v := v.(type) {
	case []member:
		for _, m := range v {
			parts = append(parts, strings.ReplaceAll(m.name, "_", " ")+": "+oneLine(m.value))
		}
	case []any:
		for _, item := range v {
			parts = append(parts, oneLine(item))
		}
	default:
		return fmt.Sprint(v)
	}
	return strings.Join(parts, ", ")
}
