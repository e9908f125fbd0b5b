// The page in a real browser against everything; see stage.mjs.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { accessible, ask, chooseUser, close, ended, lastAnswer, launchAll, log, open, person, picture, signIn, stage } from "./stage.mjs";

before(open);
after(close);

/** Answers the consent that the page asks for in a window of its own. */
async function decide(page, decision) {
  const [tab] = await Promise.all([page.waitForEvent("popup"), page.getByRole("link", { name: "Authorize" }).click()]);
  await tab.getByRole("link", { name: /Continue/ }).click();
  await tab.getByRole("button", { name: decision }).click();
  return tab;
}

test("the six prompts are answered by their tools", async (t) => {
  const page = await person(t);
  await page.goto(stage.url);
  await page.getByRole("button", { name: "Sign in" }).waitFor();
  await picture(page, "signin");
  await accessible(page, "sign-in");
  await signIn(page, "Alice");
  await page.getByText("Simulated model").waitFor();
  await page.getByText("Simulated cloud").waitFor();
  await picture(page, "empty");
  await accessible(page, "empty");
  for (const [question, tool, says] of [
    ["How's the weather today?", "weather_search", /temperature/],
    ["What's my schedule for today?", "get_schedule", /Alice/],
    ["What time is it now?", "get_current_time", /Asia\/Shanghai/],
    ["Help me query my ECS instance list", "resource", /i-/],
    ["Read my OSS file", "get_oss_object", /Quarterly report/],
    ["Write 'hello' to my DingTalk document", "write_dingtalk_document", /hello/],
  ]) {
    await ask(page, question);
    const answer = lastAnswer(page);
    await Promise.race([ended(page, "running"), new Promise((r) => setTimeout(r, 300))]);
    while ((await page.locator('section[data-state="running"]').count()) > 0) {
      if ((await page.locator('.consent[data-state="waiting"]').count()) > 0) await (await decide(page, /Allow/)).getByText("Success").waitFor();
      await new Promise((r) => setTimeout(r, 50));
    }
    await ended(page, "done");
    assert.match(await answer.locator("details.tool summary").allInnerTexts().then((x) => x.join(" ")), new RegExp(tool), question);
    await answer.locator("details.tool").last().locator("summary").click();
    assert.match(await answer.innerText(), says, question);
  }
  await picture(page, "answers");
  await accessible(page, "answers");
  // Granted once, nobody is asked again.
  await ask(page, "What time is it now?");
  await ended(page, "done");
  assert.equal(await lastAnswer(page).locator(".consent").count(), 0);
});

test("sign in, sign out, and conversations that survive a reload", async (t) => {
  const page = await person(t);
  await signIn(page, "Alice");
  await page.getByRole("button", { name: /New chat/ }).click();
  await ask(page, "How's the weather in Paris?");
  await ended(page, "done");
  await page.getByRole("navigation").getByText("How's the weather in Paris?").first().waitFor();
  await page.reload();
  await ended(page, "done");
  assert.match(await lastAnswer(page).innerText(), /weather_search[\s\S]*temperature/);
  await page.locator('details[data-tool="weather_search"] summary').click();
  await page.getByText("Arguments").waitFor();

  // Another one, and back.
  await page.getByRole("button", { name: /New chat/ }).click();
  assert.equal(await page.locator(".question").count(), 0);
  await ask(page, "What's my schedule for today?");
  await ended(page, "done");
  await page.getByRole("navigation").getByText("How's the weather in Paris?").first().click();
  await page.locator(".question", { hasText: "Paris" }).waitFor();
  await picture(page, "conversations");
  // The agent remembers, too: the conversation goes on.
  await ask(page, "What's my schedule for today?");
  await ended(page, "done");
  assert.equal(await page.locator(".question").count(), 2);

  // Deleting.
  page.once("dialog", (d) => d.accept());
  await page.getByRole("button", { name: "Delete: How's the weather in Paris?" }).first().click();
  await page.getByRole("button", { name: "Delete: How's the weather in Paris?" }).first().waitFor({ state: "detached" });
  assert.equal(await page.locator(".question").count(), 0, "the deleted one is closed");

  await page.getByRole("button", { name: "Sign out" }).click();
  await page.getByRole("button", { name: "Sign in" }).waitFor();
  await page.reload();
  await page.getByRole("button", { name: "Sign in" }).waitFor();
});

test("consent: granting it in the browser lets the same answer go on", async (t) => {
  const page = await person(t);
  await signIn(page, "Bob");
  await ask(page, "What time is it now?");
  const card = page.locator(".consent");
  await card.getByText("time:read").waitFor();
  await picture(page, "consent-card");
  await accessible(page, "consent card");
  const [tab] = await Promise.all([page.waitForEvent("popup"), card.getByRole("link", { name: "Authorize" }).click()]);
  await tab.getByText("Authorize access?").waitFor();
  await picture(tab, "consent-page");
  await tab.getByRole("link", { name: /Continue/ }).click();
  await tab.getByRole("button", { name: /Allow/ }).waitFor();
  await picture(tab, "consent-cloud");
  await tab.getByRole("button", { name: /Allow/ }).click();
  await tab.getByText("Success").waitFor();
  await ended(page, "done");
  await page.locator('.consent[data-state="granted"]').waitFor();
  assert.match(await lastAnswer(page).innerText(), /Asia\/Shanghai/);
  assert.equal(await page.locator(".question").count(), 1, "no new message was needed");
  await picture(page, "granted");
});

test("consent: refusing it at the provider ends the answer properly", async (t) => {
  const page = await person(t);
  await signIn(page, "Bob");
  await ask(page, "Write 'hello' to my DingTalk document");
  const tab = await decide(page, /Deny/);
  await tab.getByText("Refused").waitFor();
  await ended(page, "done");
  await page.locator('.consent[data-state="denied"]').waitFor();
  assert.match(await lastAnswer(page).innerText(), /refused/i);
});

test("consent: not now, on the card and on our page", async (t) => {
  const page = await person(t);
  await signIn(page, "Bob");
  await ask(page, "Write 'hello' to my DingTalk document");
  await page.getByRole("button", { name: "Not now" }).click();
  await ended(page, "done");
  await page.locator('.consent[data-state="declined"]').waitFor();
  await page.getByRole("button", { name: "Try again" }).last().click();
  const [tab] = await Promise.all([page.waitForEvent("popup"), page.getByRole("link", { name: "Authorize" }).click()]);
  await tab.getByRole("button", { name: /Not now/ }).click();
  await tab.getByText("Nothing was authorized").waitFor();
  await ended(page, "done");
  await page.locator('.consent[data-state="denied"]').waitFor();
});

test("consent: nobody answers", async (t) => {
  const own = await launchAll("-consent-timeout", "1s");
  t.after(() => own.process.kill("SIGINT"));
  const page = await person(t);
  await signIn(page, "Bob", own.url);
  await ask(page, "What time is it now?");
  await page.locator('.consent[data-state="timeout"]').waitFor();
  await ended(page, "done");
  assert.match(await lastAnswer(page).innerText(), /Nobody answered/);
  await picture(page, "expired");
});

test("stop really stops; try again, copy", async (t) => {
  const page = await person(t);
  await signIn(page, "Bob");
  await ask(page, "Write 'hello' to my DingTalk document");
  await page.locator('.consent[data-state="waiting"]').waitFor();
  await page.getByRole("button", { name: "Stop" }).click();
  await ended(page, "stopped");
  await page.locator('.consent[data-state="canceled"]').waitFor();
  for (let i = 0; i < 100 && !log.text.includes("the client left"); i++) await new Promise((r) => setTimeout(r, 50));
  assert.match(log.text, /the client left; the answer was stopped/);
  await ask(page, "How's the weather today?");
  await ended(page, "done");
  await page.getByRole("button", { name: "Copy" }).last().click();
  await page.getByText("Copied").waitFor();
  assert.match(await page.evaluate(() => navigator.clipboard.readText()), /weather|temperature/i);
  await page.getByRole("button", { name: "Try again" }).last().click();
  await page.locator(".question").nth(2).waitFor();
  await ended(page, "done");
});

test("a reload in mid-answer keeps what was said", async (t) => {
  const page = await person(t);
  await signIn(page, "Bob");
  await ask(page, "Write 'hello' to my DingTalk document");
  await page.locator('.consent[data-state="waiting"]').waitFor();
  await page.reload();
  for (let i = 0; (await page.locator(".question").count()) === 0 && i < 20; i++) {
    await new Promise((r) => setTimeout(r, 200)); // the backend keeps it once it has seen that nobody reads
    await page.reload();
    await page.getByRole("textbox").waitFor();
    await new Promise((r) => setTimeout(r, 300));
  }
  await ended(page, "stopped");
  await page.locator('.consent[data-state="canceled"]').waitFor();
});

test("the session ends in mid-chat: signing in again loses neither draft nor conversation", async (t) => {
  const page = await person(t);
  await signIn(page, "Alice");
  await page.getByRole("button", { name: /New chat/ }).click();
  await ask(page, "How's the weather in Oslo?");
  await ended(page, "done");
  const cookies = await page.context().cookies();
  await page.context().clearCookies();
  assert.ok(cookies.some((c) => c.name === "agent_session" && c.httpOnly && c.sameSite === "Lax"));
  await ask(page, "and the schedule that I had not sent yet?");
  await page.getByText("Your login has expired").waitFor();
  await chooseUser(page, "Alice");
  await page.waitForURL((u) => u.origin === stage.url && !u.search);
  await page.locator(".question", { hasText: "Oslo" }).waitFor();
  assert.equal(await page.getByRole("textbox").inputValue(), "and the schedule that I had not sent yet?");
});

test("the agent finds the login expired in mid-chat", async (t) => {
  const page = await person(t);
  await signIn(page, "Bob");
  await page.route("**/chat", (route) => route.fulfill({
    contentType: "text/event-stream",
    body: `data: ${JSON.stringify({ object: "response", status: "failed", error: { code: "LOGIN_EXPIRED", message: "Sign in again." } })}\n\n`,
  }));
  await ask(page, "a question that must not be lost");
  await page.getByText("Your login has expired").waitFor();
  await chooseUser(page, "Bob");
  await page.waitForURL((u) => u.origin === stage.url && !u.search);
  await page.getByRole("textbox").waitFor();
  assert.equal(await page.getByRole("textbox").inputValue(), "a question that must not be lost");
});

test("two users in two browsers, in Chinese, on a phone, in the dark", async (t) => {
  const phone = { locale: "zh-CN", viewport: { width: 390, height: 844 }, colorScheme: "dark" };
  const [alice, bob] = [await person(t, phone), await person(t, phone)];
  await Promise.all([signIn(alice, "Alice"), signIn(bob, "Bob")]);
  await Promise.all([ask(alice, "我今天有什么日程安排？"), ask(bob, "我今天有什么日程安排？")]);
  await Promise.all([ended(alice, "done"), ended(bob, "done")]);
  const [a, b] = [await lastAnswer(alice).innerText(), await lastAnswer(bob).innerText()];
  assert.match(a, /Alice[\s\S]*模拟模型/);
  assert.match(b, /Bob[\s\S]*模拟模型/);
  assert.doesNotMatch(a, /Bob/);
  assert.doesNotMatch(b, /Alice/);
  await picture(alice, "phone-zh");
  await accessible(alice, "phone, dark, Chinese");
  assert.equal(await alice.evaluate(() => document.documentElement.scrollWidth <= innerWidth), true, "nothing sticks out");
  await alice.getByRole("button", { name: "对话列表" }).click();
  await alice.getByRole("navigation").getByText("我今天有什么日程安排？").first().waitFor();
  await picture(alice, "phone-list");
  await alice.getByRole("button", { name: "English" }).click();
  await alice.getByRole("button", { name: "Sign out" }).waitFor();
});

test("by keyboard alone", async (t) => {
  const page = await person(t);
  await page.goto(stage.url);
  await page.getByRole("button", { name: "Sign in" }).waitFor();
  for (let i = 0; i < 10 && (await page.evaluate(() => document.activeElement?.textContent)) !== "Sign in"; i++) await page.keyboard.press("Tab");
  await page.keyboard.press("Enter");
  await page.waitForURL(/127\.0\.0\.1/);
  await page.getByRole("button", { name: "Alice" }).focus();
  await page.keyboard.press("Enter");
  await page.getByRole("textbox").waitFor();
  assert.equal(await page.evaluate(() => document.activeElement?.tagName), "TEXTAREA", "ready to type");
  await page.keyboard.type("How's the weather today?");
  await page.keyboard.press("Enter");
  await ended(page, "done");
  assert.equal(await page.evaluate(() => document.activeElement?.tagName), "TEXTAREA");
});
