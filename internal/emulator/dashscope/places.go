// SPDX-License-Identifier: Apache-2.0

package dashscope

import (
	"strings"
)

// cities that people write without a hint that they are cities, with their
// time zones.
var cities = []struct{ name, han, zone string }{
	{"Beijing", "北京", "Asia/Shanghai"},
	{"Shanghai", "上海", "Asia/Shanghai"},
	{"Hangzhou", "杭州", "Asia/Shanghai"},
	{"Shenzhen", "深圳", "Asia/Shanghai"},
	{"Guangzhou", "广州", "Asia/Shanghai"},
	{"Chengdu", "成都", "Asia/Shanghai"},
	{"Nanjing", "南京", "Asia/Shanghai"},
	{"Wuhan", "武汉", "Asia/Shanghai"},
	{"Xi'an", "西安", "Asia/Shanghai"},
	{"Hong Kong", "香港", "Asia/Hong_Kong"},
	{"Taipei", "台北", "Asia/Taipei"},
	{"Singapore", "新加坡", "Asia/Singapore"},
	{"Tokyo", "东京", "Asia/Tokyo"},
	{"London", "伦敦", "Europe/London"},
	{"Paris", "巴黎", "Europe/Paris"},
	{"Berlin", "柏林", "Europe/Berlin"},
	{"New York", "纽约", "America/New_York"},
	{"San Francisco", "旧金山", "America/Los_Angeles"},
	{"Los Angeles", "洛杉矶", "America/Los_Angeles"},
	{"Sydney", "悉尼", "Australia/Sydney"},
}

// place finds a place in a text.
func place(text string) string {
	lower := strings.ToLower(text)
	for _, c := range cities {
		if strings.Contains(text, c.han) {
			return c.han
		}
		if strings.Contains(lower, strings.ToLower(c.name)) {
			return c.name
		}
	}
	if m := placePattern.FindStringSubmatch(text); m != nil {
		return m[1]
	}
	if m := namePattern.FindStringSubmatch(text); m != nil {
		return m[1]
	}
	return ""
}

func zone(text string) string {
	if z := zonePattern.FindString(text); z != "" {
		return z
	}
	for _, c := range cities {
		if strings.Contains(text, c.han) || strings.Contains(strings.ToLower(text), strings.ToLower(c.name)) {
			return c.zone
		}
	}
	return ""
}

func language(text string) string {
	for _, l := range []struct{ name, han string }{
		{"French", "法语"},
		{"German", "德语"},
		{"Spanish", "西班牙语"},
		{"Japanese", "日语"},
		{"Chinese", "中文"},
		{"English", "英语"},
		{"Korean", "韩语"},
		{"Russian", "俄语"},
		{"Italian", "意大利语"},
	} {
		if strings.Contains(text, l.name) || strings.Contains(text, l.han) || strings.Contains(text, strings.ToLower(l.name)) {
			return l.name
		}
	}
	return ""
}
