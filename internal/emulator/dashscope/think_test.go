// SPDX-License-Identifier: Apache-2.0

package dashscope

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

type tool struct{ name, description, schema string }

const (
	noArgs    = `{"type":"object","properties":{}}`
	cityArg   = `{"type":"object","properties":{"city":{"type":"string","description":"the city"}},"required":["city"]}`
	dateArg   = `{"type":"object","properties":{"date":{"type":"string","format":"date","description":"the day"}}}`
	zoneArg   = `{"type":"object","properties":{"timezone":{"type":"string","description":"IANA time zone"}}}`
	queryArg  = `{"type":"object","properties":{"query":{"type":"string"}},"required":["query"]}`
	stockArgs = `{"type":"object","properties":{"symbol":{"type":"string","description":"ticker symbol"}},"required":["symbol"]}`
)

var sample = []tool{
	{"weather_search", "Weather of a city today.", cityArg},
	{"get_schedule", "The signed-in user's schedule of a day.", dateArg},
	{"get_current_time", "The current time.", zoneArg},
}

var today = time.Date(2026, 11, 23, 10, 0, 0, 0, time.UTC)

func decide(t *testing.T, tools []tool, question string) []toolCall {
	t.Helper()
	var req request
	content, err := json.Marshal(question)
	require.NoError(t, err)
	req.Input.Messages = []message{{Role: "user", RawContent: content}}
	req.Parameters.Tools = make([]struct {
		Type     string   `json:"type"`
		Function function `json:"function"`
	}, len(tools))
	for i, x := range tools {
		req.Parameters.Tools[i].Function = function{x.name, x.description, json.RawMessage(x.schema)}
	}
	return think(&req, today).calls
}

func TestRouting(t *testing.T) {
	renamed := []tool{
		{"sky", "Tells how warm it will be and whether to take an umbrella.", cityArg},
		{"planner_v2", "Lists a person's meetings and appointments.", dateArg},
		{"tick", "What the clock shows.", zoneArg},
	}
	chinese := []tool{
		{"tool_a", "查询某个城市的天气预报", cityArg},
		{"tool_b", "查询用户某天的日程安排", dateArg},
		{"tool_c", "获取当前时间", zoneArg},
	}
	more := append([]tool{
		{"stock_quote", "Latest price of a share.", stockArgs},
		{"translate", "Translates a text into another language.", `{"type":"object","properties":{"text":{"type":"string"},"target_language":{"type":"string"}},"required":["text","target_language"]}`},
		{"list_ecs_instances", "Lists the ECS instances of the account.", noArgs},
		{"read_oss_object", "Reads a file from object storage.", `{"type":"object","properties":{"bucket":{"type":"string"},"key":{"type":"string"}},"required":["bucket","key"]}`},
		{"web_search", "Searches the web.", queryArg},
		{"add_numbers", "Adds two numbers.", `{"type":"object","properties":{"a":{"type":"number"},"b":{"type":"number"}},"required":["a","b"]}`},
	}, sample...)
	zorbs := []tool{
		{"florbinate", "Counts the zorbs of a greenhouse.", `{"type":"object","properties":{"greenhouse":{"type":"string"},"limit":{"type":"integer","minimum":1,"maximum":5},"mode":{"type":"string","enum":["fast","exact"]}},"required":["greenhouse","limit","mode"]}`},
		{"other", "Something else entirely.", noArgs},
	}
	tests := []struct {
		tools    []tool
		question string
		want     []string // name, or name{arguments}
	}{
		{sample, "How's the weather today?", []string{`weather_search`}},
		{sample, "What's my schedule for today?", []string{`get_schedule{"date":"2026-11-23"}`}},
		{sample, "What time is it now?", []string{`get_current_time`}},
		{sample, "What's the date today?", []string{`get_current_time`}},
		{sample, "Show my schedule, date: 2026-12-24", []string{`get_schedule{"date":"2026-12-24"}`}},
		{sample, "今天星期几", []string{`get_current_time`}},
		{sample, "今天天气怎么样？", []string{`weather_search`}},
		{sample, "我今天有什么日程安排？", []string{`get_schedule{"date":"2026-11-23"}`}},
		{sample, "现在几点了？", []string{`get_current_time`}},
		{sample, "Will it rain in Paris tomorrow?", []string{`weather_search{"city":"Paris"}`}},
		{sample, "北京明天会下雨吗", []string{`weather_search{"city":"北京"}`}},
		{sample, "Any meetings tomorrow?", []string{`get_schedule{"date":"2026-11-24"}`}},
		{sample, "明天有会议吗", []string{`get_schedule{"date":"2026-11-24"}`}},
		{sample, "What's the weather in Tokyo and what time is it there?", []string{`weather_search{"city":"Tokyo"}`, `get_current_time`}},
		{sample, "Weather in Beijing and Shanghai", []string{`weather_search{"city":"Beijing"}`, `weather_search{"city":"Shanghai"}`}},
		{sample, "天气和日程", []string{`weather_search`, `get_schedule`}},
		{sample, "Hello, who are you?", nil},
		{sample, "Tell me a joke", nil},
		{renamed, "How's the weather today?", []string{`sky`}},
		{renamed, "我今天有什么安排", []string{`planner_v2`}},
		{renamed, "What time is it now?", []string{`tick`}},
		{renamed, "现在几点", []string{`tick`}},
		{chinese, "How's the weather in London?", []string{`tool_a{"city":"London"}`}},
		{chinese, "What's my schedule for today?", []string{`tool_b{"date":"2026-11-23"}`}},
		{chinese, "What time is it now?", []string{`tool_c`}},
		{more, "What is the share price of BABA?", []string{`stock_quote{"symbol":"BABA"}`}},
		{more, "BABA 的股价是多少", []string{`stock_quote{"symbol":"BABA"}`}},
		{more, `Translate "good morning" to French`, []string{`translate{"target_language":"French","text":"good morning"}`}},
		{more, "Help me query my ECS instance list", []string{`list_ecs_instances{}`}},
		{more, "查询我的 ECS 实例列表", []string{`list_ecs_instances{}`}},
		{more, "Read the file reports/2026.csv, bucket: my-data", []string{`read_oss_object{"bucket":"my-data","key":"reports/2026.csv"}`}},
		{more, "add 17 and 4.5", []string{`add_numbers`}},
		{more, "What time is it now?", []string{`get_current_time`}},
		{zorbs, `How many zorbs are in the greenhouse "north wing"? Be exact.`, []string{`florbinate{"greenhouse":"north wing","limit":1,"mode":"exact"}`}},
	}
	for _, tt := range tests {
		t.Run(tt.question, func(t *testing.T) {
			calls := decide(t, tt.tools, tt.question)
			var got []string
			for i, c := range calls {
				require.True(t, json.Valid([]byte(c.arguments)))
				text := c.name
				if i < len(tt.want) && strings.Contains(tt.want[i], "{") {
					text += c.arguments
				}
				got = append(got, text)
			}
			require.Equal(t, tt.want, got)
		})
	}
}

// office are the tools of the whole sample, as they describe themselves.
var office = append([]tool{
	{"get_oss_object", "Reads a file (object) from the user's OSS storage.", `{"type":"object","properties":{"key":{"type":"string","description":"the object's name, for example reports/report.txt; without one the user's usual file"},"bucket":{"type":"string","description":"the bucket; without one the user's usual bucket"},"region":{"type":"string","description":"the bucket's region, for example cn-hangzhou; without one the usual region"}}}`},
	{"list_oss_objects", "Lists the names of the files (objects) in the user's OSS storage.", `{"type":"object","properties":{"prefix":{"type":"string","description":"only objects whose names begin so, for example reports/"},"bucket":{"type":"string","description":"the bucket; without one the user's usual bucket"}}}`},
	{"read_dingtalk_document", "Reads the user's DingTalk document.", `{"type":"object","properties":{"document_id":{"type":"string","description":"the document's id, as in its link; without one the user's usual document"}}}`},
	{"write_dingtalk_document", "Overwrites the user's DingTalk document with a text.", `{"type":"object","properties":{"content":{"type":"string","description":"the whole new text of the document, as Markdown"},"document_id":{"type":"string","description":"the document's id, as in its link; without one the user's usual document"}},"required":["content"]}`},
	{"resources_connect", "Opens the tools for: Alibaba Cloud resources such as ECS instances and servers. Call it first, and only when the request is about that; the user may have to authorize access. Afterwards the tools themselves are available.", noArgs},
}, sample...)

var connected = append([]tool{
	{"SearchResources", "Lists the user's Alibaba Cloud resources, such as ECS instances (servers), OSS buckets and RDS databases.", `{"type":"object","properties":{"resource_type":{"type":"string","description":"only this type, for example ACS::ECS::Instance; without one all types"},"region":{"type":"string","description":"only this region, for example cn-hangzhou; without one all regions"}}}`},
	{"GetResourceCounts", "Counts the user's Alibaba Cloud resources by type.", noArgs},
}, office[:4]...)

// Tools that open others, and questions that take several steps.
func TestSteps(t *testing.T) {
	type step struct {
		tools  []tool
		result string
	}
	file := `{"bucket":"b","key":"report.txt","size":5,"text":"sales are up"}`
	tests := []struct {
		question string
		steps    []step
		want     []string // each turn's calls; "" for the answer
	}{
		{"Help me query my ECS instance list", []step{{office, "Access is granted. These tools are available now; …"}, {connected, `{"Resources":[]}`}, {connected, ""}}, []string{"resources_connect{}", "SearchResources{}", ""}},
		{"查询我的 ECS 实例列表", []step{{office, "Access is granted. These tools are available now; …"}, {connected, `{"Resources":[]}`}, {connected, ""}}, []string{"resources_connect{}", "SearchResources{}", ""}},
		{"Which servers do I have in cn-beijing?", []step{{connected, "[]"}, {connected, ""}}, []string{`SearchResources{"region":"cn-beijing"}`, ""}},
		{"Read my OSS file", []step{{office, file}, {office, ""}}, []string{"get_oss_object{}", ""}},
		{"读取我的 OSS 文件", []step{{office, file}, {office, ""}}, []string{"get_oss_object{}", ""}},
		{"List my OSS files", []step{{office, "[]"}, {office, ""}}, []string{"list_oss_objects{}", ""}},
		{"我的 OSS 里有哪些文件？", []step{{office, "[]"}, {office, ""}}, []string{"list_oss_objects{}", ""}},
		{"Write 'hello' to my DingTalk document", []step{{office, "{}"}, {office, ""}}, []string{`write_dingtalk_document{"content":"hello"}`, ""}},
		{"把“你好”写入我的钉钉文档", []step{{office, "{}"}, {office, ""}}, []string{`write_dingtalk_document{"content":"你好"}`, ""}},
		{"What is in my DingTalk document?", []step{{office, "{}"}, {office, ""}}, []string{"read_dingtalk_document{}", ""}},
		{"Please read report.txt from my OSS bucket and write it to my DingTalk document", []step{{office, file}, {office, "{}"}, {office, ""}}, []string{`get_oss_object{"key":"report.txt"}`, `write_dingtalk_document{"content":"sales are up"}`, ""}},
		{"读取 OSS 里的 reports/q3.txt，然后把它写入我的钉钉文档", []step{{office, file}, {office, "{}"}, {office, ""}}, []string{`get_oss_object{"key":"reports/q3.txt"}`, `write_dingtalk_document{"content":"sales are up"}`, ""}},
		{"Read report.txt from my OSS bucket and write it to my DingTalk document", []step{{office, "Error: the object was not found"}, {office, ""}}, []string{`get_oss_object{"key":"report.txt"}`, ""}},
	}
	for _, tt := range tests {
		t.Run(tt.question, func(t *testing.T) {
			var req request
			q, _ := json.Marshal(tt.question)
			req.Input.Messages = []message{{Role: "user", RawContent: q}}
			for i, s := range tt.steps {
				req.Parameters.Tools = nil
				for _, x := range s.tools {
					offer := struct {
						Type     string   `json:"type"`
						Function function `json:"function"`
					}{Function: function{x.name, x.description, json.RawMessage(x.schema)}}
					req.Parameters.Tools = append(req.Parameters.Tools, offer)
				}
				got := think(&req, today)
				text := ""
				for _, c := range got.calls {
					text += c.name + c.arguments
					b, _ := json.Marshal(s.result)
					req.Input.Messages = append(req.Input.Messages, message{Role: "assistant"}, message{Role: "tool", Name: c.name, RawContent: b})
				}
				require.Equal(t, tt.want[i], text)
				require.Equal(t, text == "", got.content != "")
			}
		})
	}
}

func TestAnswersWordTheResult(t *testing.T) {
	results := func(question string, texts ...string) string {
		var req request
		q, _ := json.Marshal(question)
		req.Input.Messages = []message{{Role: "user", RawContent: q}}
		for _, text := range texts {
			b, _ := json.Marshal(text)
			req.Input.Messages = append(req.Input.Messages, message{Role: "tool", Name: "weather_search", RawContent: b})
		}
		return think(&req, today).content
	}
	en := results("How's the weather?", `{"city":"Paris","temperature_celsius":21,"events":[{"start":"09:30","title":"x"}]}`)
	require.Contains(t, en, "city: Paris")
	require.Contains(t, en, "temperature celsius: 21")
	require.Contains(t, en, "start: 09:30")
	require.Contains(t, en, "simulated model")
	zh := results("天气怎么样", `晴`)
	require.Contains(t, zh, "晴")
	require.Contains(t, zh, "模拟模型")
	require.Contains(t, results("x", "Error: the user refused"), "could not get this")
	require.Contains(t, results("x", ""), "returned nothing")
}

func FuzzFillArguments(f *testing.F) {
	f.Add(cityArg, "weather in Paris", "")
	f.Add(`{"properties":{"a":{"$ref":"#/$defs/a"}},"required":["a"],"$defs":{"a":{"$ref":"#/$defs/a"}}}`, "x", "y")
	f.Add(`{"properties":{"a":{"anyOf":[{"type":"null"},{"type":"array","items":{"type":"number"}}]}},"required":["a"]}`, "1 2 3", "")
	f.Fuzz(func(t *testing.T, schema, question, result string) {
		if !json.Valid([]byte(fillArguments(json.RawMessage(schema), question, question, result, today))) {
			t.Fatal("arguments that are no JSON")
		}
	})
}

func FuzzThink(f *testing.F) {
	f.Add("weather in Paris, and my schedule; 天气", "tool", `{"city":"x"}`)
	f.Fuzz(func(t *testing.T, question, name, result string) {
		for _, c := range decide(t, append([]tool{{name, question, cityArg}}, sample...), question) {
			if !json.Valid([]byte(c.arguments)) {
				t.Fatal("arguments that are no JSON")
			}
		}
		b, _ := json.Marshal(result)
		if wordResults([]message{{Name: name, RawContent: b}}, false) == "" {
			t.Fatal("no answer")
		}
	})
}

// A file's content that is to go into a document takes two steps, however it is
// put.
func TestFromAFileIntoADocument(t *testing.T) {
	office := append([]tool{
		{"get_oss_object", "Reads a file (object) from the user's OSS storage.", `{"type":"object","properties":{"key":{"type":"string","description":"the object's name, for example reports/report.txt"},"bucket":{"type":"string"}}}`},
		{"list_oss_objects", "Lists the names of the files (objects) in the user's OSS storage.", `{"type":"object","properties":{"prefix":{"type":"string"}}}`},
		{"read_dingtalk_document", "Reads the user's DingTalk document.", `{"type":"object","properties":{"document_id":{"type":"string"}}}`},
		{"write_dingtalk_document", "Overwrites the user's DingTalk document with a text.", `{"type":"object","properties":{"document_id":{"type":"string"},"content":{"type":"string"}},"required":["content"]}`},
	}, sample...)
	for _, question := range []string{
		"Read report.txt from my OSS bucket and write it to my DingTalk document",
		"read report.txt from my OSS bucket, then save it in my dingtalk doc",
		"Take report.txt out of OSS and put its content into my DingTalk document",
		"Please copy the file report.txt to my DingTalk document",
		"Copy report.txt into my DingTalk document",
		"Write the contents of report.txt from my bucket to my DingTalk document",
		"读取 report.txt 并写入我的钉钉文档",
		"读取 OSS 里的 report.txt，然后把它写入我的钉钉文档",
		"把 OSS 中 report.txt 的内容写到钉钉文档里",
		"请把 report.txt 复制到我的钉钉文档",
	} {
		first := decide(t, office, question)
		require.Len(t, first, 1, question)
		require.Equal(t, "get_oss_object", first[0].name, question)
		require.JSONEq(t, `{"key":"report.txt"}`, first[0].arguments, question)

		second := nextAfter(t, office, question, first[0], `{"key":"report.txt","text":"FOUND"}`)
		require.Len(t, second, 1, question)
		require.Equal(t, "write_dingtalk_document", second[0].name, question)
		require.JSONEq(t, `{"content":"FOUND"}`, second[0].arguments, question)
	}
	for _, question := range []string{"Write 'hello' to my DingTalk document", "把“你好”写入我的钉钉文档", "write 'see report.txt' to my dingtalk document"} {
		calls := decide(t, office, question)
		require.Len(t, calls, 1, question)
		require.Equal(t, "write_dingtalk_document", calls[0].name, question)
	}
}

// nextAfter is what is called after one call has brought a result.
func nextAfter(t *testing.T, tools []tool, question string, call toolCall, result string) []toolCall {
	t.Helper()
	var req request
	raw := func(s string) json.RawMessage { b, err := json.Marshal(s); require.NoError(t, err); return b }
	req.Input.Messages = []message{{Role: "user", RawContent: raw(question)}, {Role: "assistant"}, {Role: "tool", Name: call.name, RawContent: raw(result)}}
	for _, x := range tools {
		req.Parameters.Tools = append(req.Parameters.Tools, struct {
			Type     string   `json:"type"`
			Function function `json:"function"`
		}{"function", function{x.name, x.description, json.RawMessage(x.schema)}})
	}
	return think(&req, today).calls
}
