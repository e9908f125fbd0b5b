import type { KeptExchange, StreamEvent } from "./api";

// What is on the screen: the user's messages, and answers made of parts in the
// order in which they came.

export interface TextPart {
  kind: "text" | "reasoning";
  id: string;
  text: string;
}

export interface ToolPart {
  kind: "tool";
  id: string;
  name: string;
  arguments: string;
  result?: string;
}

export type ConsentState = "waiting" | "granted" | "denied" | "declined" | "expired" | "timeout" | "canceled";

export interface ConsentPart {
  kind: "consent";
  id: string;
  tool: string;
  provider: string;
  scopes: string[];
  url: string;
  state: ConsentState;
}

export interface ErrorPart {
  kind: "error";
  id: string;
  message: string;
}

export type Part = TextPart | ToolPart | ConsentPart | ErrorPart;

export interface Exchange {
  id: string;
  question: string;
  parts: Part[];
  state: "running" | "done" | "stopped" | "failed";
}

/** Adds an event of the stream to an exchange and returns the new one. */
export function applyEvent(exchange: Exchange, event: StreamEvent): Exchange {
  switch (event.object) {
    case "message":
      if (event.type === "plugin_call_output") {
        return event.content?.reduce((e, c) => (c.data ? setResult(e, c.data.call_id, c.data.output ?? "") : e), exchange) ?? exchange;
      }
      if (event.status === "in_progress" && event.id && (event.type === "message" || event.type === "reasoning")) {
        return add(exchange, { kind: event.type === "reasoning" ? "reasoning" : "text", id: event.id, text: "" });
      }
      return exchange;
    case "content":
      if (event.type === "text" && event.delta && event.msg_id) return addText(exchange, event.msg_id, event.text ?? "");
      if (event.type === "data" && event.data) return setCall(exchange, event.data.call_id, event.data.name, event.data.arguments ?? "");
      return exchange;
    case "authorization":
      return setConsent(exchange, event);
    case "chat.completion.chunk":
      return addChunk(exchange, event);
    case "response":
      if (event.status === "completed") return { ...exchange, state: "done" };
      if (event.status === "failed") return fail(exchange, event.error?.message ?? "");
      return exchange;
  }
  return exchange;
}

/** An exchange as it was, from what the backend kept. */
export function replay(kept: KeptExchange, index: number): Exchange {
  const begun: Exchange = { id: `kept-${index}`, question: kept.question, parts: [], state: "running" };
  const exchange = (kept.events ?? []).reduce(applyEvent, begun);
  return exchange.state === "running" ? stop(exchange) : exchange;
}

/** What the agent said, without tools and consents. */
export function answerText(exchange: Exchange): string {
  return exchange.parts.map((p) => (p.kind === "text" ? p.text : "")).filter(Boolean).join("\n\n");
}

/** What an agent that speaks chat completions sends. */
function addChunk(exchange: Exchange, event: StreamEvent): Exchange {
  const choice = event.choices?.[0];
  const id = event.id ?? "completion";
  let next = exchange;
  if (choice?.delta?.content) {
    if (next.parts.at(-1)?.kind !== "text") next = add(next, { kind: "text", id: `${id}-${next.parts.length}`, text: "" });
    next = addText(next, next.parts.at(-1)?.id ?? "", choice.delta.content);
  }
  return choice?.finish_reason === "stop" ? { ...next, state: "done" } : next;
}

export function setConsentState(exchange: Exchange, id: string, state: ConsentState): Exchange {
  return change(exchange, ["consent"], id, (p) => ({ ...p, state }) as ConsentPart);
}

export function fail(exchange: Exchange, message: string): Exchange {
  return { ...add(exchange, { kind: "error", id: "error", message }), state: "failed" };
}

/** Settles what still waits when an answer has ended early. */
export function stop(exchange: Exchange): Exchange {
  const parts = exchange.parts.map((p) => (p.kind === "consent" && p.state === "waiting" ? { ...p, state: "canceled" as const } : p));
  return { ...exchange, parts, state: "stopped" };
}

function add(exchange: Exchange, part: Part): Exchange {
  return { ...exchange, parts: [...exchange.parts, part] };
}

function change(exchange: Exchange, kind: Part["kind"][], id: string, update: (part: Part) => Part): Exchange {
  return { ...exchange, parts: exchange.parts.map((p) => (p.id === id && kind.includes(p.kind) ? update(p) : p)) };
}

function addText(exchange: Exchange, id: string, text: string): Exchange {
  return change(exchange, ["text", "reasoning"], id, (p) => ("text" in p ? { ...p, text: p.text + text } : p));
}

function setCall(exchange: Exchange, id: string, name: string, args: string): Exchange {
  if (!exchange.parts.some((p) => p.kind === "tool" && p.id === id)) {
    return add(exchange, { kind: "tool", id, name, arguments: args });
  }
  return change(exchange, ["tool"], id, (p) => ({ ...p, arguments: args }) as ToolPart);
}

function setResult(exchange: Exchange, id: string, output: string): Exchange {
  return change(exchange, ["tool"], id, (p) => ({ ...p, result: blocksText(output) }) as ToolPart);
}

/** The text of a tool's result, which is a JSON list of blocks. */
function blocksText(output: string): string {
  try {
    const blocks = JSON.parse(output) as { text?: string }[];
    return blocks.map((b) => b.text ?? "").join("\n");
  } catch {
    return output;
  }
}

function setConsent(exchange: Exchange, event: StreamEvent): Exchange {
  const id = event.id ?? "";
  const state = consentState(event);
  if (!exchange.parts.some((p) => p.kind === "consent" && p.id === id)) {
    return add(exchange, {
      kind: "consent", id, state, tool: event.tool_name ?? "", provider: event.provider ?? "", scopes: event.scopes ?? [], url: event.url ?? "",
    });
  }
  return change(exchange, ["consent"], id, (p) => {
    // What the person said here is more exact than that it was refused.
    return p.kind === "consent" && p.state === "declined" && state === "denied" ? p : ({ ...p, state }) as ConsentPart;
  });
}

function consentState(event: StreamEvent): ConsentState {
  if (event.status === "in_progress") return "waiting";
  if (event.status === "completed") return "granted";
  const code = event.error?.code;
  return code === "expired" || code === "timeout" || code === "canceled" ? code : "denied";
}
