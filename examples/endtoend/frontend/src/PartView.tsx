import { useState } from "react";
import { decline, LoginError, type User } from "./api";
import type { ConsentPart, ConsentState, Part, ToolPart } from "./conversation";
import type { Texts } from "./i18n";
import { Markdown } from "./Markdown";

interface Props {
  part: Part;
  t: Texts;
  user: User;
  onConsent: (state: ConsentState) => void;
  onExpired: () => void;
}

// What tools and files say is shown as text. A model may use Markdown, but
// nothing of it looks like a request for consent.
export function PartView({ part, t, user, onConsent, onExpired }: Props) {
  switch (part.kind) {
    case "text":
      return <Markdown text={part.text} />;
    case "reasoning":
      return <details className="tool"><summary>{t.reasoning}</summary><pre tabIndex={0}>{part.text}</pre></details>;
    case "tool":
      return <Tool part={part} t={t} />;
    case "consent":
      return <Consent part={part} t={t} user={user} onConsent={onConsent} onExpired={onExpired} />;
    case "error":
      return <p className="error" role="alert"><strong>{t.failed}.</strong> {part.message}</p>;
  }
}

function Tool({ part, t }: { part: ToolPart; t: Texts }) {
  const done = part.result !== undefined;
  return (
    <details className="tool" data-tool={part.name}>
      <summary><code>{part.name}</code> <span className="hint">{done ? t.done : t.running}</span></summary>
      <h3>{t.arguments}</h3>
      <pre tabIndex={0}>{part.arguments || "{}"}</pre>
      {done && <><h3>{t.result}</h3><pre tabIndex={0}>{part.result}</pre></>}
    </details>
  );
}

function Consent({ part, t, user, onConsent, onExpired }: { part: ConsentPart } & Omit<Props, "part">) {
  const [failed, setFailed] = useState("");
  const words = { waiting: t.waiting, granted: t.granted, denied: t.denied, declined: t.declined, expired: t.expired, timeout: t.timeout, canceled: t.canceled };
  async function notNow() {
    setFailed("");
    try {
      await decline(user, part.url);
      onConsent("declined");
    } catch (e) {
      if (e instanceof LoginError) onExpired();
      else setFailed(e instanceof TypeError ? t.offline : e instanceof Error ? e.message : String(e));
    }
  }
  return (
    <section className="consent" data-state={part.state} aria-label={t.consentTitle}>
      <h3>{t.consentTitle}</h3>
      <p>{t.consentText(part.tool, part.provider)}</p>
      <ul>{part.scopes.map((s) => <li key={s}><code>{s}</code></li>)}</ul>
      <div className="row">
        {part.state === "waiting" && part.url && <a className="primary" href={part.url} target="_blank" rel="noopener">{t.authorize}</a>}
        {part.state === "waiting" && part.url && <button type="button" onClick={() => void notNow()}>{t.notNow}</button>}
        <span className="state" role="status">{words[part.state]}</span>
      </div>
      {failed && <p className="error" role="alert">{failed}</p>}
    </section>
  );
}
