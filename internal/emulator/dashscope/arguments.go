// SPDX-License-Identifier: Apache-2.0

package dashscope

import (
	"encoding/json"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// schemaNode is what the simulated model understands of a JSON schema.
type schemaNode struct {
	Type        any                    `json:"type"`
	Description string                 `json:"description"`
	Format      string                 `json:"format"`
	Pattern     string                 `json:"pattern"`
	Enum        []any                  `json:"enum"`
	Const       any                    `json:"const"`
	Default     any                    `json:"default"`
	Examples    []any                  `json:"examples"`
	Minimum     *float64               `json:"minimum"`
	Maximum     *float64               `json:"maximum"`
	Properties  map[string]*schemaNode `json:"properties"`
	Required    []string               `json:"required"`
	Items       *schemaNode            `json:"items"`
	AnyOf       []*schemaNode          `json:"anyOf"`
	OneOf       []*schemaNode          `json:"oneOf"`
	Ref         string                 `json:"$ref"`
	Defs        map[string]*schemaNode `json:"$defs"`
}

// names are the properties, sorted.
func (s *schemaNode) names() []string {
	names := make([]string, 0, len(s.Properties))
	for name, p := range s.Properties {
		if p != nil {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// kind is the type that is not null, "" if any will do.
func (s *schemaNode) kind() string {
	switch t := s.Type.(type) {
	case string:
		return t
	case []any:
		for _, x := range t {
			if name, ok := x.(string); ok && name != "null" {
				return name
			}
		}
	}
	if len(s.Properties) > 0 {
		return "object"
	}
	return ""
}

// filler makes up the arguments of one call.
type filler struct {
	clause   string // the part of the question that the call is for
	question string
	now      time.Time
	defs     map[string]*schemaNode
	numbers  []float64 // in the clause, not used yet
	found    string    // what an earlier call found, for the text of this one
	quoted   bool      // the quoted text has been used
	depth    int
}

// fillArguments writes arguments that fit the schema, from what a question
// says: required properties always, others where the question has something
// for them.
func fillArguments(schema json.RawMessage, clause, question, found string, now time.Time) string {
	var root schemaNode
	_ = json.Unmarshal(schema, &root)
	f := &filler{clause: clause, question: question, now: now, defs: root.Defs, found: found}
	for _, n := range numberPattern.FindAllString(datePattern.ReplaceAllString(clause, " "), -1) {
		if x, err := strconv.ParseFloat(n, 64); err == nil {
			f.numbers = append(f.numbers, x)
		}
	}
	b, err := json.Marshal(f.object(&root))
	if err != nil {
		return "{}"
	}
	return string(b)
}

var (
	numberPattern = regexp.MustCompile(`-?\d+(?:\.\d+)?`)
	datePattern   = regexp.MustCompile(`\d{4}-\d{2}-\d{2}`)
	quotePattern  = regexp.MustCompile("[\"“「'`]([^\"”」'`]+)[\"”」'`]")
	urlPattern    = regexp.MustCompile(`https?://[^\s"'<>，。）)]+`)
	emailPattern  = regexp.MustCompile(`[\w.+-]+@[\w-]+(?:\.[\w-]+)+`)
	zonePattern   = regexp.MustCompile(`\b(?:UTC|GMT|(?:Africa|America|Asia|Australia|Europe|Pacific|Atlantic|Indian)/[A-Za-z_/]+)\b`)
	codePattern   = regexp.MustCompile(`\b[A-Z][A-Z0-9.]{1,9}\b`)
	tokenPattern  = regexp.MustCompile(`[\w-]*[./:_\d-][\w./:-]*`)
	placePattern  = regexp.MustCompile(`\b(?:in|at|for|near|of|to|from)\s+((?:[A-Z][\p{L}'-]+)(?:\s+[A-Z][\p{L}'-]+)*)`)
	filePattern   = regexp.MustCompile(`[\p{L}\d_-]+(?:/[\p{L}\d_.-]+)*\.[A-Za-z][A-Za-z0-9]{0,4}\b|[\w-]+/[\w./-]+`)
	regionPattern = regexp.MustCompile(`\b(?:cn|ap|us|eu|me)-[a-z]+(?:-[a-z0-9]+)*\b`)
	namePattern   = regexp.MustCompile(`^\s*((?:[A-Z][\p{L}'-]+)(?:\s+[A-Z][\p{L}'-]+)*)\s*$`)
)

func (f *filler) resolve(s *schemaNode) *schemaNode {
	for range 8 {
		switch {
		case s == nil:
			return &schemaNode{}
		case s.Ref != "":
			name := s.Ref[strings.LastIndexByte(s.Ref, '/')+1:]
			s = f.defs[name]
		case s.Type == nil && len(s.AnyOf)+len(s.OneOf) > 0:
			for _, option := range append(s.AnyOf, s.OneOf...) {
				if option != nil && option.kind() != "null" {
					if option.Description == "" {
						option.Description = s.Description
					}
					s = option
					break
				}
			}
		default:
			return s
		}
	}
	return &schemaNode{}
}

func (f *filler) object(s *schemaNode) map[string]any {
	out := map[string]any{}
	if f.depth++; f.depth > 5 {
		return out
	}
	defer func() { f.depth-- }()
	for _, name := range s.names() {
		required := slices.Contains(s.Required, name)
		if v, found := f.value(name, f.resolve(s.Properties[name]), required); found || required {
			out[name] = v
		}
	}
	return out
}

// value finds a value for a property. found says that the question, or the
// schema, names it; a required one gets a guess otherwise.
func (f *filler) value(name string, s *schemaNode, required bool) (v any, found bool) {
	if s.Const != nil {
		return s.Const, true
	}
	if len(s.Enum) > 0 {
		return f.choice(s)
	}
	switch s.kind() {
	case "boolean":
		for w := range read(name + " " + s.Description).words {
			if len(w) > 3 && read(f.clause).words[w] {
				return true, true
			}
		}
		return s.Default == true, s.Default != nil
	case "integer", "number":
		return f.number(s)
	case "array":
		return f.list(name, s, required)
	case "object":
		o := f.object(s)
		return o, len(o) > 0
	}
	return f.text(name, s, required)
}

func (f *filler) choice(s *schemaNode) (any, bool) {
	lower := strings.ToLower(f.question)
	for _, option := range s.Enum {
		if text, ok := option.(string); ok && text != "" && strings.Contains(lower, strings.ToLower(text)) {
			return option, true
		}
	}
	if s.Default != nil {
		return s.Default, true
	}
	return s.Enum[0], false
}

func (f *filler) number(s *schemaNode) (any, bool) {
	fits := func(x float64) bool {
		return (s.Minimum == nil || x >= *s.Minimum) && (s.Maximum == nil || x <= *s.Maximum) &&
			(s.kind() != "integer" || x == float64(int64(x)))
	}
	for i, x := range f.numbers {
		if fits(x) {
			f.numbers = slices.Delete(f.numbers, i, i+1)
			return x, true
		}
	}
	if s.Default != nil {
		return s.Default, true
	}
	for _, guess := range []float64{10, 1, 0} {
		if fits(guess) {
			return guess, false
		}
	}
	if s.Minimum != nil {
		return *s.Minimum, false
	}
	return *s.Maximum, false
}

func (f *filler) list(name string, s *schemaNode, required bool) (any, bool) {
	items := f.resolve(s.Items)
	switch items.kind() {
	case "integer", "number":
		out := []any{}
		for len(f.numbers) > 0 {
			x, found := f.number(items)
			if !found {
				break
			}
			out = append(out, x)
		}
		return out, len(out) > 0
	case "string":
		var out []any
		for _, m := range quotePattern.FindAllStringSubmatch(f.clause, -1) {
			out = append(out, m[1])
		}
		if len(out) > 0 {
			return out, true
		}
	}
	v, found := f.value(name, items, required)
	if !found && !required {
		return nil, false
	}
	return []any{v}, found
}

// text finds a text. What the property is for is told by its name, format and
// description.
func (f *filler) text(name string, s *schemaNode, required bool) (any, bool) {
	if m := regexp.MustCompile(`(?i)\b` + regexp.QuoteMeta(name) + `\b\s*(?:=|:|：|is\b|为|是)\s*["“]?([^\s"”,，;；]+)`).FindStringSubmatch(f.question); m != nil {
		return m[1], true
	}
	if s.Pattern != "" {
		if re, err := regexp.Compile(s.Pattern); err == nil {
			for _, token := range strings.FieldsFunc(f.question, func(r rune) bool { return strings.ContainsRune(" \t\n,;?!，；？！。", r) }) {
				if re.MatchString(token) {
					return token, true
				}
			}
		}
	}
	about := strings.Join(cutWords(name), " ") + " " + strings.ToLower(name+" "+s.Description)
	is := func(words ...string) bool {
		return slices.ContainsFunc(words, func(w string) bool {
			if w[0] >= 0x80 {
				return strings.Contains(about, w)
			}
			return slices.Contains(cutWords(about), w)
		})
	}
	quoted := ""
	if m := quotePattern.FindStringSubmatch(f.clause); m != nil && !f.quoted {
		quoted = m[1]
	}
	orElse := func(found, guess string) (any, bool) {
		if found != "" {
			f.quoted = f.quoted || found == quoted
			return found, true
		}
		if d, ok := s.Default.(string); ok {
			return d, true
		}
		if len(s.Examples) > 0 && guess == "" {
			return s.Examples[0], false
		}
		return guess, false
	}
	switch {
	case is("timezone", "zone", "tz", "时区"):
		return orElse(zone(f.clause), "Asia/Shanghai")
	case s.Format == "date-time":
		return f.day().Format(time.RFC3339), f.namesDay()
	case s.Format == "date", is("date", "day", "日期", "哪天"):
		return f.day().Format(time.DateOnly), f.namesDay()
	case s.Format == "uri", is("url", "uri", "link", "链接", "网址"):
		return orElse(urlPattern.FindString(f.question), "https://example.com/")
	case s.Format == "email", is("email", "邮箱"):
		return orElse(emailPattern.FindString(f.question), "someone@example.com")
	case is("city", "location", "place", "town", "address", "城市", "地点", "地址", "位置"):
		found := place(f.clause)
		if found == "" {
			found = place(f.question)
		}
		return orElse(found, "Hangzhou")
	case f.found != "" && is("text", "content", "message", "body", "内容", "文本"):
		return f.found, true
	case name == "region" || name == "region_id":
		return orElse(regionPattern.FindString(f.clause), "cn-hangzhou")
	case is("key", "path", "file", "filename", "object") && quoted == "" && filePattern.MatchString(f.clause) && !strings.Contains(name, "bucket"):
		return filePattern.FindString(f.clause), true
	case strings.Contains(name, "bucket") && !required:
		return nil, false
	case is("language", "lang", "语言"):
		return orElse(language(f.question), "English")
	case is("ticker", "symbol", "currency", "iso", "代码", "货币"):
		return orElse(codePattern.FindString(f.clause), strings.TrimSpace(f.clause))
	case is("query", "question", "keyword", "keywords", "prompt", "search", "关键词", "问题", "查询") || name == "q":
		if quoted != "" {
			return quoted, true
		}
		return strings.TrimSpace(f.question), required
	case is("text", "content", "message", "body", "title", "subject", "name", "内容", "文本", "标题", "名称"):
		return orElse(quoted, strings.TrimSpace(f.clause))
	case is("id", "key", "path", "file", "bucket", "object", "arn", "code", "编号"):
		if quoted == "" {
			quoted = tokenPattern.FindString(f.clause)
		}
		return orElse(quoted, strings.TrimSpace(f.clause))
	}
	return orElse(quoted, strings.TrimSpace(f.clause))
}

// day is the day that the question means.
func (f *filler) day() time.Time {
	text := f.clause
	if !f.namesDay() {
		text = f.question
	}
	if m := datePattern.FindString(text); m != "" {
		if t, err := time.Parse(time.DateOnly, m); err == nil {
			return t
		}
	}
	lower := strings.ToLower(text)
	for _, d := range []struct {
		words  []string
		offset int
	}{
		{[]string{"day after tomorrow", "后天"}, 2},
		{[]string{"day before yesterday", "前天"}, -2},
		{[]string{"tomorrow", "明天", "明日"}, 1},
		{[]string{"yesterday", "昨天", "昨日"}, -1},
		{[]string{"next week", "下周"}, 7},
	} {
		for _, w := range d.words {
			if strings.Contains(lower, w) {
				return f.now.AddDate(0, 0, d.offset)
			}
		}
	}
	return f.now
}

func (f *filler) namesDay() bool {
	lower := strings.ToLower(f.clause)
	for _, w := range []string{"today", "tonight", "tomorrow", "yesterday", "next week", "今", "明天", "明日", "昨", "后天", "前天", "下周"} {
		if strings.Contains(lower, w) {
			return true
		}
	}
	return datePattern.MatchString(f.clause)
}

// wantsText reports whether a tool takes a text that another may have found.
func wantsText(f function) bool {
	var s schemaNode
	_ = json.Unmarshal(f.Parameters, &s)
	return slices.ContainsFunc(s.names(), func(name string) bool {
		return slices.ContainsFunc([]string{"text", "content", "message", "body"}, func(w string) bool { return slices.Contains(cutWords(name), w) })
	})
}

func wantsPlace(f function) bool {
	var s schemaNode
	_ = json.Unmarshal(f.Parameters, &s)
	for _, name := range s.names() {
		if slices.ContainsFunc([]string{"city", "location", "place"}, func(w string) bool { return strings.Contains(strings.ToLower(name), w) }) {
			return true
		}
	}
	return false
}
