// Calls of the backend. The session's cookie travels by itself and no script
// can read it; the handle beside it shows that this page made the request.

export interface User {
  user_id: string;
  name: string;
  session_id: string;
  simulated: string[];
}

/** LoginError says that nobody is signed in, or not any more. */
export class LoginError extends Error {}

async function detail(response: Response): Promise<string> {
  try {
    const body: unknown = await response.json();
    if (body && typeof body === "object" && "detail" in body && typeof body.detail === "string") return body.detail;
  } catch {
    // Not JSON: the status has to do.
  }
  return `status ${response.status}`;
}

export async function me(): Promise<User | null> {
  const response = await fetch("/me");
  if (response.status === 401) return null;
  if (!response.ok) throw new Error(await detail(response));
  return response.json();
}

/** The address of the identity provider to send the browser to. */
export async function beginSignIn(): Promise<string> {
  const response = await fetch("/auth");
  if (!response.ok) throw new Error(await detail(response));
  return response.json();
}

export async function finishSignIn(code: string, state: string): Promise<void> {
  const response = await fetch("/callback_for_oauth", {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ code, state }),
  });
  if (!response.ok) throw new Error(await detail(response));
}

export async function signOut(user: User): Promise<void> {
  await fetch("/logout", { method: "POST", headers: { "SESSION-ID": user.session_id } });
}

/** A conversation in the list. */
export interface ChatHead {
  id: string;
  title: string;
  at: string;
}

/** A message with the events of its answer, as they were. */
export interface KeptExchange {
  question: string;
  events: StreamEvent[] | null;
}

async function call(user: User, path: string, method = "GET"): Promise<Response> {
  const response = await fetch(path, { method, headers: { "SESSION-ID": user.session_id, Accept: "application/json" } });
  if (response.status === 401) throw new LoginError();
  if (!response.ok && response.status !== 404) throw new Error(await detail(response));
  return response;
}

export async function listChats(user: User): Promise<ChatHead[]> {
  const body = (await (await call(user, "/chats")).json()) as { chats: ChatHead[] };
  return body.chats;
}

/** What was said in a conversation; nothing, if there is none of that id. */
export async function readChat(user: User, id: string): Promise<KeptExchange[]> {
  const response = await call(user, `/chats/${encodeURIComponent(id)}`);
  return ((await response.json()) as { exchanges: KeptExchange[] }).exchanges;
}

export async function deleteChat(user: User, id: string): Promise<void> {
  await call(user, `/chats/${encodeURIComponent(id)}`, "DELETE");
}

/** Says "not now" to a request for consent. One that is not open any more needs no answer. */
export async function decline(user: User, consentURL: string): Promise<void> {
  await call(user, `${new URL(consentURL, location.href).pathname}/decline`, "POST");
}

/** A line of the event stream; the fields that this page reads. */
export interface StreamEvent {
  object?: string;
  status?: string;
  error?: { code: string; message: string } | null;
  type?: string;
  id?: string;
  role?: string;
  delta?: boolean | null;
  msg_id?: string | null;
  text?: string;
  data?: { call_id: string; name: string; arguments?: string; output?: string };
  content?: { data?: { call_id: string; name: string; output?: string } }[] | null;
  call_id?: string;
  tool_name?: string;
  provider?: string;
  scopes?: string[];
  url?: string;
  choices?: { delta?: { content?: string | null }; finish_reason?: string | null }[];
}

/** Sends a message and yields the events of the answer. Aborting the signal ends the request, and with it the agent's work. */
export async function* chat(user: User, chatID: string, text: string, signal: AbortSignal): AsyncGenerator<StreamEvent> {
  const response = await fetch("/chat", {
    method: "POST",
    signal,
    headers: { "Content-Type": "application/json", "SESSION-ID": user.session_id },
    body: JSON.stringify({ session_id: chatID, accept_events: ["authorization"], input: [{ role: "user", content: [{ type: "text", text }] }] }),
  });
  if (response.status === 401) throw new LoginError();
  if (!response.ok || !response.body) throw new Error(await detail(response));
  let rest = "";
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    rest += value;
    const blocks = rest.split("\n\n");
    rest = blocks.pop() ?? "";
    for (const block of blocks) {
      const data = block
        .split("\n")
        .filter((line) => line.startsWith("data:"))
        .map((line) => line.slice(5).trimStart())
        .join("\n");
      if (data === "" || data === "[DONE]") continue;
      const event = JSON.parse(data) as StreamEvent;
      if (event.object === "response" && event.error?.code === "LOGIN_EXPIRED") throw new LoginError();
      yield event;
    }
  }
}
