export type Language = "en" | "zh";

const texts = {
  en: {
    title: "Friday",
    subtitle: "An agent that acts with your credentials, and only with your consent.",
    signIn: "Sign in",
    signInHint: "You are sent to the identity provider and come back here.",
    signOut: "Sign out",
    signInFailed: "Signing in did not work",
    loginExpired: "Your login has expired. Sign in again; your draft is kept.",
    placeholder: "Ask something…",
    send: "Send",
    stop: "Stop",
    newChat: "New chat",
    conversation: "Conversation",
    conversations: "Conversations",
    noChats: "Nothing yet.",
    menu: "Conversations",
    remove: "Delete",
    confirmRemove: (title: string) => `Delete “${title}”? This cannot be undone.`,
    copy: "Copy",
    copied: "Copied",
    notNow: "Not now",
    declined: "Not now",
    you: "You",
    agent: "Friday",
    working: "Working…",
    stopped: "Stopped.",
    reasoning: "Reasoning",
    arguments: "Arguments",
    result: "Result",
    running: "running",
    done: "done",
    simulatedModel: "Simulated model",
    simulatedCloud: "Simulated cloud",
    consentTitle: "Your consent is needed",
    consentText: (tool: string, provider: string) => `${tool} wants to use ${provider} on your behalf:`,
    authorize: "Authorize",
    waiting: "Waiting for you…",
    granted: "Granted",
    denied: "Refused",
    expired: "Expired",
    timeout: "Nobody answered in time",
    canceled: "Stopped",
    failed: "Something went wrong",
    tryAgain: "Try again",
    offline: "The backend cannot be reached. Is it still running?",
    cutOff: "The answer broke off.",
    language: "中文",
    samples: [
      "How's the weather today?",
      "What's my schedule for today?",
      "What time is it now?",
      "Help me query my ECS instance list",
      "Read my OSS file",
      "Write 'hello' to my DingTalk document",
    ],
  },
  zh: {
    title: "Friday",
    subtitle: "以您的凭证行事的智能体，且仅在您同意之后。",
    signIn: "登录",
    signInHint: "将跳转到身份提供方，登录后返回本页。",
    signOut: "退出登录",
    signInFailed: "登录没有成功",
    loginExpired: "登录已过期，请重新登录；草稿已保留。",
    placeholder: "请输入问题…",
    send: "发送",
    stop: "停止",
    newChat: "新对话",
    conversation: "对话",
    conversations: "对话列表",
    noChats: "暂无对话。",
    menu: "对话列表",
    remove: "删除",
    confirmRemove: (title: string) => `删除“${title}”？此操作无法撤销。`,
    copy: "复制",
    copied: "已复制",
    notNow: "暂不授权",
    declined: "暂不授权",
    you: "您",
    agent: "Friday",
    working: "处理中…",
    stopped: "已停止。",
    reasoning: "思考过程",
    arguments: "参数",
    result: "结果",
    running: "执行中",
    done: "完成",
    simulatedModel: "模拟模型",
    simulatedCloud: "模拟云",
    consentTitle: "需要您的授权",
    consentText: (tool: string, provider: string) => `${tool} 希望代表您使用 ${provider}：`,
    authorize: "去授权",
    waiting: "等待您的操作…",
    granted: "已授权",
    denied: "已拒绝",
    expired: "已过期",
    timeout: "超时未答复",
    canceled: "已停止",
    failed: "出错了",
    tryAgain: "重试",
    offline: "无法连接后端，它还在运行吗？",
    cutOff: "回答中断了。",
    language: "English",
    samples: [
      "今天天气怎么样？",
      "我今天有什么日程安排？",
      "现在几点了？",
      "查询我的 ECS 实例列表",
      "读取我的 OSS 文件",
      "把“你好”写入我的钉钉文档",
    ],
  },
};

export type Texts = (typeof texts)["en"];

export function textsOf(language: Language): Texts {
  return texts[language];
}

const key = "agent-identity-language";

export function initialLanguage(): Language {
  const saved = localStorage.getItem(key);
  if (saved === "en" || saved === "zh") return saved;
  return navigator.language.toLowerCase().startsWith("zh") ? "zh" : "en";
}

export function saveLanguage(language: Language) {
  localStorage.setItem(key, language);
}
