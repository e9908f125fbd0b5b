// SPDX-License-Identifier: Apache-2.0

package dashscope

import (
	"slices"
	"strings"
	"unicode"
)

// concept is a meaning with the words for it in English and Chinese. It lets a
// question in one language find a tool described in the other, whatever the
// tool is called.
type concept struct {
	name  string
	words []string // English: stems; compared with stemmed words
	han   []string // Chinese: looked for in the text
}

// concepts is the simulated model's whole knowledge of the world. The order
// does not matter.
var concepts = []concept{
	{"weather", stems("weather forecast temperature rain rainy snow sunny cloudy wind windy climate humidity meteo meteorological umbrella degrees"), list("天气 气温 温度 下雨 降雨 下雪 晴 预报 湿度 刮风 气象 带伞 冷不冷 热不热")},
	{"clock", stems("time clock hour minute o'clock timezone now date weekday"), list("时间 几点 钟点 时刻 时区 时钟 日期 几号 星期几 礼拜几")},
	{"schedule", stems("schedule calendar agenda meeting appointment event plan planner diary itinerary busy free"), list("日程 日历 安排 会议 行程 约会 日曆 议程 档期")},
	{"mail", stems("mail email inbox message send reply letter"), list("邮件 邮箱 收件箱 发信 信件 消息")},
	{"document", stems("document doc page wiki note notes knowledge dingtalk"), list("文档 笔记 知识库 钉钉")},
	{"file", stems("file object bucket oss storage download upload blob folder directory"), list("文件 对象 存储 桶 下载 上传 目录")},
	{"write", stems("write overwrite save copy put append"), list("写入 写到 写进 写 覆盖 保存 存到 存入 复制 拷贝 放到 放进")},
	{"listing", stems("list names"), list("列出 列表 有哪些 哪些文件")},
	{"server", stems("ecs instance server machine vm host cloud resource resources cluster node"), list("实例 服务器 主机 云资源 资源 集群 虚拟机")},
	{"stock", stems("stock share price quote ticker market equity nasdaq"), list("股票 股价 行情 股市")},
	{"currency", stems("currency exchange convert rate dollar euro yuan usd eur cny"), list("汇率 货币 兑换 美元 欧元 人民币")},
	{"translate", stems("translate translation language interpret"), list("翻译 译成 语言")},
	{"news", stems("news headline article press"), list("新闻 头条 资讯")},
	{"math", stems("calculate calculator compute sum add multiply divide subtract math arithmetic expression"), list("计算 算一下 等于 加上 乘以 数学")},
	{"route", stems("route direction navigate navigation distance drive walk traffic map"), list("路线 导航 怎么走 距离 路况 地图")},
	{"travel", stems("flight train hotel travel trip ticket booking book reservation"), list("航班 机票 火车 酒店 旅行 订票 预订")},
	{"image", stems("image picture photo draw paint illustration"), list("图片 照片 画 图像")},
	{"order", stems("order purchase buy shop cart invoice payment refund"), list("订单 购买 下单 购物 发票 支付 退款")},
	{"person", stems("contact person people employee colleague user profile account"), list("联系人 员工 同事 用户 账号 通讯录 个人资料")},
	{"reminder", stems("remind reminder alarm alert notify timer todo task"), list("提醒 闹钟 待办 任务")},
	{"search", stems("search find lookup web internet google"), list("搜索 查找 网上")},
	{"weight", stems("bmi weight height health calorie exercise"), list("体重 身高 健康 卡路里")},
	{"music", stems("music song play artist album"), list("音乐 歌曲 播放 歌")},
	{"code", stems("code repository git commit bug issue pull deploy build log"), list("代码 仓库 提交 缺陷 部署 日志")},
	{"database", stems("database sql table row query record"), list("数据库 数据表 记录")},
	{"food", stems("food restaurant recipe cook eat dinner lunch menu"), list("餐厅 菜谱 吃饭 美食 外卖")},
}

// weak words mean a concept only beside another word for it: everybody says
// "now" or "plan".
var weak = map[string]bool{}

func init() {
	for _, w := range stems("now free event plan message query record page user account web send price find rate share play table build log task book degrees people list names") {
		weak[w] = true
	}
}

// stopWords say nothing about what is wanted.
var stopWords = map[string]bool{}

func init() {
	for _, w := range stems("a an the is are was be been am do does did i me my mine we us our you your it its he she they them this that these those there here " +
		"what which who whom when where why how and or but if then of for to in on at by with from as about into over than so not no " +
		"please can could would will shall should may might must help tell show give get let know want need like using use one " +
		"hello hi hey thanks thank today tomorrow yesterday tonight return returns given tool function call value values result results " +
		"current latest new all any some list query look read fetch") {
		stopWords[w] = true
	}
}

func list(s string) []string { return strings.Fields(s) }

func stems(s string) []string {
	words := strings.Fields(s)
	for i, w := range words {
		words[i] = stem(w)
	}
	return words
}

// stem takes the commonest English endings off.
func stem(w string) string {
	for _, ending := range []string{"'s", "ings", "ing", "ies", "es", "ed", "s"} {
		if rest, ok := strings.CutSuffix(w, ending); ok && len(rest) >= 3 {
			if ending == "ies" {
				return rest + "y"
			}
			if ending == "s" && strings.HasSuffix(rest, "s") {
				return w
			}
			w = rest
			break
		}
	}
	return strings.TrimSuffix(w, "e")
}

// terms are the meanings and words of a text.
type terms struct {
	concepts map[string]float64
	words    map[string]bool
}

// read finds the terms of a text. Names in snake_case and camelCase are cut
// into their words.
func read(text string) terms {
	t := terms{map[string]float64{}, map[string]bool{}}
	var words []string
	for _, w := range cutWords(text) {
		s := stem(w)
		words = append(words, s)
		if !stopWords[s] && len(s) > 1 {
			t.words[s] = true
		}
	}
	for _, c := range concepts {
		strength := 0.0
		for _, w := range words {
			if slices.Contains(c.words, w) {
				if weak[w] {
					strength = max(strength, 0.4)
				} else {
					strength = max(strength, 1)
				}
			}
		}
		for _, h := range c.han {
			if strings.Contains(text, h) {
				strength = 1
			}
		}
		if strength > 0 {
			t.concepts[c.name] = strength
		}
	}
	// Two Chinese characters side by side stand for a word.
	var before rune
	for _, r := range text {
		if unicode.Is(unicode.Han, r) {
			if before != 0 && !strings.ContainsRune("的了吗呢我你他她请帮一下是有在和什么今天明昨现", r) && !strings.ContainsRune("的了吗呢我你他她请帮一下是有在和什么今天明昨现", before) {
				t.words[string([]rune{before, r})] = true
			}
			before = r
		} else {
			before = 0
		}
	}
	return t
}

// cutWords cuts a text into lower-case words of letters and digits.
func cutWords(text string) []string {
	var words []string
	var b strings.Builder
	flush := func() {
		if b.Len() > 0 {
			words = append(words, strings.ToLower(b.String()))
			b.Reset()
		}
	}
	var before rune
	for _, r := range text {
		switch {
		case unicode.Is(unicode.Han, r), !unicode.IsLetter(r) && !unicode.IsDigit(r) && r != '\'':
			flush()
		case unicode.IsUpper(r) && unicode.IsLower(before):
			flush()
			b.WriteRune(r)
		default:
			b.WriteRune(r)
		}
		before = r
	}
	flush()
	return words
}
