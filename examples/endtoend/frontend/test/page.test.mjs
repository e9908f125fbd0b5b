// The page in a real browser against the whole local run.
//
// ENDTOEND is the built program (default: built here with go build), CHROMIUM
// the browser (default /usr/bin/chromium). With SCREENSHOTS set, pictures are
// written into that folder.
import assert from "node:assert/strict";
import { execFileSync, spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";
import { chromium } from "playwright-core";

const here = dirname(fileURLToPath(import.meta.url));
const work = mkdtempSync(join(tmpdir(), "endtoend-"));
let browser, program, url, stderr = "";

function start(...args) {
  const binary = process.env.ENDTOEND ?? join(work, "endtoend");
  if (!process.env.ENDTOEND) execFileSync("go", ["build", "-o", binary, "."], { cwd: join(here, "../.."), stdio: "inherit" });
  return new Promise((resolve, reject) => {
    const p = spawn(binary, ["-agent-addr", "localhost:0", "-backend-addr", "localhost:0", "-consent-timeout", "20s", ...args], { stdio: ["ignore", "pipe", "pipe"] });
    let out = "";
    p.stderr.on("data", (d) => (stderr += d));
    p.stdout.on("data", (d) => {
      out += d;
      const ready = /^ready (\S+)$/m.exec(out);
      if (ready) resolve([p, ready[1]]);
    });
    p.on("exit", (code) => reject(new Error(`ended with ${code}: ${out}${stderr}`)));
  });
}

before(async () => {
  [program, url] = await start();
  browser = await chromium.launch({
    executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
    args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"],
  });
});

after(async () => {
  await browser?.close();
  program?.kill("SIGINT");
  rmSync(work, { recursive: true, force: true });
});

/** A browser of its own, with a page whose console errors fail the test. */
async function person(t, options = {}) {
  const context = await browser.newContext({ locale: "en-US", ...options });
  context.setDefaultTimeout(15_000);
  const page = await context.newPage();
  const problems = [];
  page.on("console", (m) => m.type() === "error" && !/401 \(Unauthorized\)/.test(m.text()) && problems.push(m.text()));
  page.on("pageerror", (e) => problems.push(String(e)));
  t.after(async () => {
    await context.close();
    assert.deepEqual(problems, [], "nothing in the console");
  });
  return page;
}

async function signIn(page, name) {
  await page.goto(url);
  await page.getByRole("button", { name: /^(Sign in|登录)$/ }).click();
  await page.waitForURL(/127\.0\.0\.1/);
  await page.getByText("Simulation:").waitFor();
  await page.getByRole("button", { name }).click();
  await page.waitForURL(`${url}/`);
  await page.getByText(name).first().waitFor();
}

async function ask(page, question) {
  await page.getByRole("textbox").fill(question);
  await page.keyboard.press("Enter");
}

const lastAnswer = (page) => page.locator("section[data-state] .answer").last();
const ended = (page, state) => page.locator(`main > section[data-state="${state}"]`).last().waitFor();

async function picture(page, name) {
  if (process.env.SCREENSHOTS) await page.screenshot({ path: join(process.env.SCREENSHOTS, name + ".png") });
}

test("sign in, ask, and get answers from tools", async (t) => {
  const page = await person(t);
  await page.goto(url);
  await picture(page, "signin");
  await signIn(page, "Alice");
  await page.getByText("Simulated model").waitFor();
  await picture(page, "empty");
  await ask(page, "How's the weather today?");
  await ended(page, "done");
  assert.match(await lastAnswer(page).innerText(), /weather_search[\s\S]*temperature/);
  await ask(page, "What's my schedule for today?");
  await page.locator('details[data-tool="get_schedule"] summary').click();
  await ended(page, "done");
  assert.match(await lastAnswer(page).innerText(), /Alice/);

  // A reload keeps the login.
  await page.reload();
  await page.getByText("Alice").first().waitFor();
  await page.getByRole("button", { name: "Sign out" }).click();
  await page.getByRole("button", { name: "Sign in" }).waitFor();
  await page.reload();
  await page.getByRole("button", { name: "Sign in" }).waitFor();
});

test("consent: granting it in the browser lets the same answer go on", async (t) => {
  const page = await person(t);
  await signIn(page, "Alice");
  await ask(page, "What time is it now?");
  const card = page.locator(".consent");
  await card.getByText("time:read").waitFor();
  await picture(page, "consent-card");
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

test("consent: refusing it ends the answer properly", async (t) => {
  const page = await person(t);
  await signIn(page, "Bob");
  await ask(page, "What time is it now?");
  const [tab] = await Promise.all([page.waitForEvent("popup"), page.getByRole("link", { name: "Authorize" }).click()]);
  await tab.getByRole("link", { name: /Continue/ }).click();
  await tab.getByRole("button", { name: /Deny/ }).click();
  await tab.getByText("Refused").waitFor();
  await ended(page, "done");
  await page.locator('.consent[data-state="denied"]').waitFor();
  assert.match(await lastAnswer(page).innerText(), /refused/i);
});

test("consent: nobody answers", async (t) => {
  const [p, address] = await start("-consent-timeout", "1s");
  t.after(() => p.kill("SIGINT"));
  const before = url;
  url = address;
  t.after(() => (url = before));
  const page = await person(t);
  await signIn(page, "Bob");
  await ask(page, "What time is it now?");
  await page.locator('.consent[data-state="timeout"]').waitFor();
  await ended(page, "done");
  assert.match(await lastAnswer(page).innerText(), /Nobody answered/);
});

test("stop really stops", async (t) => {
  const page = await person(t);
  await signIn(page, "Bob");
  await ask(page, "What time is it now?");
  await page.locator('.consent[data-state="waiting"]').waitFor();
  await page.getByRole("button", { name: "Stop" }).click();
  await ended(page, "stopped");
  await page.locator('.consent[data-state="canceled"]').waitFor();
  for (let i = 0; i < 100 && !stderr.includes("the client left"); i++) await new Promise((r) => setTimeout(r, 50));
  assert.match(stderr, /the client left; the answer was stopped/);
  await ask(page, "How's the weather today?");
  await ended(page, "done");
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
  assert.equal(await alice.evaluate(() => document.documentElement.scrollWidth <= innerWidth), true, "nothing sticks out");
});

test("what a person says is shown as text", async (t) => {
  const page = await person(t);
  await signIn(page, "Alice");
  await ask(page, '<img src=x onerror="document.title=1"> weather in "<b>Paris</b>"');
  await ended(page, "done");
  assert.equal(await page.locator("main img, main b").count(), 0);
});
