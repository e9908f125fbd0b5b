// What the browser tests run against, and the people in front of it.
//
// Everything runs on this machine: by default as one program; with REPLICAS set
// as a local cloud, two agents and two backends, with their state in a Redis of
// their own, behind proxies that send each request to the next one.
//
// ENDTOEND is the built program (default: built here with go build), CHROMIUM
// the browser (default /usr/bin/chromium). With SCREENSHOTS set, pictures are
// written into that folder.
import assert from "node:assert/strict";
import { execFileSync, spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { createServer, request } from "node:http";
import { createServer as createNet } from "node:net";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { chromium } from "playwright-core";

const here = dirname(fileURLToPath(import.meta.url));
export const replicated = Boolean(process.env.REPLICAS);
const work = mkdtempSync(join(tmpdir(), "endtoend-"));
const ending = [];
let binary = process.env.ENDTOEND;
let browser;

/** The log of everything that was started. */
export const log = { text: "" };
/** Where the page is, and of a replicated stage its processes. */
export const stage = { url: "", agents: [], backends: [] };

/** Starts a program; resolves when it prints that it is ready. */
function launch(file, args, env = {}, ready = /^ready (\S+)$/m) {
  return new Promise((resolve, reject) => {
    const p = spawn(file, args, { stdio: ["ignore", "pipe", "pipe"], cwd: work, env: { ...process.env, XDG_CACHE_HOME: work, ALIBABA_CLOUD_ECS_METADATA_DISABLED: "true", ...env } });
    ending.push(() => p.kill("SIGKILL"));
    let out = "";
    p.stderr.on("data", (d) => (log.text += d));
    p.stdout.on("data", (d) => {
      out += d;
      const found = ready.exec(out);
      if (found) resolve({ process: p, url: found[1], out });
    });
    p.on("exit", (code) => reject(new Error(`${file} ${args.join(" ")} ended with ${code}: ${out}${log.text}`)));
    p.on("error", reject);
  });
}

/** Starts everything as one program. */
export async function launchAll(...args) {
  return launch(binary, ["-agent-addr", "localhost:0", "-backend-addr", "localhost:0", "-consent-timeout", "20s", ...args]);
}

/** A port that is free now. */
function freePort() {
  return new Promise((resolve) => {
    const s = createNet().listen(0, "127.0.0.1", () => {
      const { port } = s.address();
      s.close(() => resolve(port));
    });
  });
}

/** A proxy that sends each request to the next target that takes it. */
function balance(targets) {
  let turn = 0;
  const server = createServer((req, res) => {
    const chunks = [];
    req.on("data", (c) => chunks.push(c));
    req.on("end", () => send(req, res, Buffer.concat(chunks), targets().length));
  });
  function send(req, res, body, tries) {
    const all = targets();
    const target = new URL(all[turn++ % all.length]);
    const up = request({ host: target.hostname, port: target.port, method: req.method, path: req.url, headers: req.headers }, (answer) => {
      res.writeHead(answer.statusCode, answer.headers);
      answer.pipe(res);
      answer.on("error", () => res.destroy());
      answer.on("close", () => answer.complete || res.destroy()); // what broke off there breaks off here
    });
    up.on("error", () => {
      if (!res.headersSent && tries > 1) send(req, res, body, tries - 1);
      else res.destroy();
    });
    res.on("close", () => up.destroy());
    up.end(body);
  }
  return new Promise((resolve) => {
    server.listen(0, "127.0.0.1", () => resolve(`http://localhost:${server.address().port}`));
    ending.push(() => { server.closeAllConnections(); server.close(); });
  });
}

async function launchReplicas() {
  const redisPort = await freePort();
  await launch("redis-server", ["--port", String(redisPort), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"], {}, /(Ready to accept connections)/);
  stage.url = await balance(() => stage.backends.map((b) => b.url));
  const agents = await balance(() => stage.agents.map((a) => a.url));
  const cloud = await launch(binary, ["cloud", "-addr", "127.0.0.1:0", "-redirect-uri", stage.url, "-return-url", `${stage.url}/callback`]);
  const env = Object.fromEntries([...cloud.out.matchAll(/^export (\w+)=(.*)$/gm)].map((m) => [m[1], m[2]]));
  const own = {
    ...env, STORE: `redis://127.0.0.1:${redisPort}/0`, STORE_KEY: randomBytes(32).toString("base64"),
    APP_REDIRECT_URI: stage.url, INBOUND_REDIRECT_URI: stage.url, AGENT_ENDPOINT: `${agents}/process`,
    CONSENT_TIMEOUT: "20s", LOG_LEVEL: "debug", SIGN_INS_PER_MINUTE: "600",
  };
  const start = (name) => launch(binary, [name, "-local", "-addr", "localhost:0"], own);
  stage.agents = await Promise.all([start("agent"), start("agent")]);
  stage.backends = await Promise.all([start("backend"), start("backend")]);
  stage.restart = async (kind) => stage[`${kind}s`].push(await start(kind));
}

/** Starts the stage and the browser. */
export async function open() {
  if (!binary) {
    binary = join(work, "endtoend");
    execFileSync("go", ["build", "-o", binary, "."], { cwd: join(here, "../.."), stdio: "inherit" });
  }
  if (replicated) await launchReplicas();
  else stage.url = (await launchAll()).url;
  browser = await chromium.launch({
    executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
    args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"],
  });
}

export async function close() {
  await browser?.close();
  for (const end of ending.reverse()) end();
  rmSync(work, { recursive: true, force: true });
}

/** A browser of its own, with a page whose console errors fail the test, but for those that match expected. */
export async function person(t, options = {}, expected = /401 \(Unauthorized\)/) {
  const context = await browser.newContext({ locale: "en-US", permissions: ["clipboard-read", "clipboard-write"], ...options });
  context.setDefaultTimeout(15_000);
  const page = await context.newPage();
  const problems = [];
  page.on("console", (m) => m.type() === "error" && !expected.test(m.text()) && !/401 \(Unauthorized\)/.test(m.text()) && problems.push(m.text()));
  page.on("pageerror", (e) => problems.push(String(e)));
  t.after(async () => {
    await context.close();
    assert.deepEqual(problems, [], "nothing in the console");
  });
  return page;
}

export async function signIn(page, name, url = stage.url) {
  await page.goto(url);
  await chooseUser(page, name);
  await page.waitForURL((u) => u.origin === new URL(url).origin && !u.search);
  await page.getByText(name).first().waitFor();
}

/** Goes from our sign-in button through the local cloud's page. */
export async function chooseUser(page, name) {
  await page.getByRole("button", { name: /^(Sign in|登录)$/ }).click();
  await page.waitForURL(/127\.0\.0\.1/);
  await page.getByText("Simulation:").waitFor();
  await page.getByRole("button", { name }).click();
}

export async function ask(page, question) {
  await page.getByRole("textbox").fill(question);
  await page.keyboard.press("Enter");
}

export const lastAnswer = (page) => page.locator("section[data-state] .answer").last();
export const ended = (page, state) => page.locator(`.log section[aria-label][data-state="${state}"]:not(.consent)`).last().waitFor();

export async function picture(page, name) {
  if (process.env.SCREENSHOTS) await page.screenshot({ path: join(process.env.SCREENSHOTS, name + ".png") });
}

const axe = readFileSync(join(here, "../node_modules/axe-core/axe.min.js"), "utf8");

/** No serious finding of axe-core on the page as it is. */
export async function accessible(page, what) {
  await page.evaluate(axe);
  const found = await page.evaluate(async () => (await globalThis.axe.run(document, { resultTypes: ["violations"] })).violations);
  const serious = found.filter((v) => ["serious", "critical"].includes(v.impact)).map((v) => `${v.id}: ${v.nodes.map((n) => n.html).join(" ")}`);
  assert.deepEqual(serious, [], `${what}: accessible`);
}
