// One process of several dies in the middle of an answer; see stage.mjs.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { ask, close, ended, lastAnswer, open, person, replicated, signIn, stage } from "./stage.mjs";

const only = { skip: !replicated && "for REPLICAS=1" };
before(() => replicated && open());
after(() => replicated && close());

for (const kind of ["backend", "agent"]) {
  test(`killing one ${kind} loses nothing but the stream that it carried`, only, async (t) => {
    const page = await person(t, {}, /ERR_|Failed to load/);
    await signIn(page, "Alice");
    await ask(page, "How's the weather in Rome?");
    await ended(page, "done");
    // An answer that waits is with one of the two. Killing both, one after the
    // other with a new one between, hits it for sure.
    await ask(page, "Write 'hello' to my DingTalk document");
    await page.locator('.consent[data-state="waiting"]').waitFor();
    for (let i = 0; i < 2; i++) {
      await stage.restart(kind);
      stage[`${kind}s`].shift().process.kill("SIGKILL");
      await new Promise((r) => setTimeout(r, 300));
    }
    await ended(page, "failed");
    assert.match(await lastAnswer(page).innerText(), /broke off|cannot be reached/);
    // Trying again works at once, without signing in again, and nothing that
    // was said is lost.
    await page.getByRole("button", { name: "Try again" }).last().click();
    await page.locator('.consent[data-state="waiting"]').waitFor();
    await page.getByRole("button", { name: "Not now" }).last().click();
    await ended(page, "done");
    await page.reload();
    await page.locator(".question", { hasText: "Rome" }).waitFor();
    await ask(page, "What's my schedule for today?");
    await ended(page, "done");
  });
}
