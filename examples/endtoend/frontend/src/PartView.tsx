import type { ConsentPart, Part, ToolPart } from "./conversation";
import type { Texts } from "./i18n";

// Everything is shown as text: nothing that a model, a tool or a file says
// becomes markup, and no link of theirs looks like a request for consent.
export function PartView({ part, t }: { part: Part; t: Texts }) {
  switch (part.kind) {
    case "text":
      return <p className="text">{part.text}</p>;
    case "reasoning":
      return <details className="tool"><summary>{t.reasoning}</summary><pre>{part.text}</pre></details>;
    case "tool":
      return <Tool part={part} t={t} />;
    case "consent":
      return <Consent part={part} t={t} />;
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
      <pre>{part.arguments || "{}"}</pre>
      {done && <><h3>{t.result}</h3><pre>{part.result}</pre></>}
    </details>
  );
}

function Consent({ part, t }: { part: ConsentPart; t: Texts }) {
  const words = { waiting: t.waiting, granted: t.granted, denied: t.denied, expired: t.expired, timeout: t.timeout, canceled: t.canceled };
  return (
    <section className="consent" data-state={part.state} aria-label={t.consentTitle}>
      <h3>{t.consentTitle}</h3>
      <p>{t.consentText(part.tool, part.provider)}</p>
      <ul>{part.scopes.map((s) => <li key={s}><code>{s}</code></li>)}</ul>
      <div className="row">
        {part.state === "waiting" && <a className="primary" href={part.url} target="_blank" rel="noopener">{t.authorize}</a>}
        <span className="state" role="status">{words[part.state]}</span>
      </div>
    </section>
  );
}
