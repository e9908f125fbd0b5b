// SPDX-License-Identifier: Apache-2.0

package dashscope

import (
	"encoding/json"
	"fmt"
	"strings"
)

// wordResults words an answer from what the tools returned.
func wordResults(results []message, chinese bool) string {
	var b strings.Builder
	for i, m := range results {
		if opens(m) && i < len(results)-1 {
			continue
		}
		if b.Len() > 0 {
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
