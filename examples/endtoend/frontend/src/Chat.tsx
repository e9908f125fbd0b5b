import { useEffect, useRef, useState, type FormEvent, type KeyboardEvent } from "react";
import { chat, LoginError, type User } from "./api";
import { answerText, applyEvent, fail, setConsentState, stop, type ConsentState, type Exchange } from "./conversation";
import type { Texts } from "./i18n";
import { PartView } from "./PartView";

const draftKey = "agent-identity-draft";

interface Props {
  t: Texts;
  user: User;
  chatID: string;
  before: Exchange[]; // what was said before
  problem?: string;
  onExpired: () => void;
  onSent: () => void;
  onAnswered: () => void;
}

/** One conversation. */
export function Chat({ t, user, chatID, before, problem, onExpired, onSent, onAnswered }: Props) {
  const [exchanges, setExchanges] = useState<Exchange[]>(before);
  const [draft, setDraft] = useState(() => sessionStorage.getItem(draftKey) ?? "");
  const running = useRef<AbortController | null>(null);
  const end = useRef<HTMLDivElement>(null);
  const box = useRef<HTMLTextAreaElement>(null);
  const busy = exchanges.at(-1)?.state === "running";

  useEffect(() => sessionStorage.setItem(draftKey, draft), [draft]);
  useEffect(() => {
    end.current?.scrollIntoView({ block: "end" }); // newer browsers return a promise, which is no clean-up
  }, [exchanges]);
  useEffect(() => () => running.current?.abort(), []);

  function update(id: string, change: (e: Exchange) => Exchange) {
    setExchanges((all) => all.map((e) => (e.id === id ? change(e) : e)));
  }

  async function send(question: string) {
    question = question.trim();
    if (!question || running.current) return;
    const abort = new AbortController();
    running.current = abort;
    const id = crypto.randomUUID();
    setDraft("");
    setExchanges((all) => [...all, { id, question, parts: [], state: "running" }]);
    onSent();
    try {
      for await (const event of chat(user, chatID, question, abort.signal)) update(id, (e) => applyEvent(e, event));
      update(id, (e) => (e.state === "running" ? fail(e, t.cutOff) : e));
    } catch (e) {
      if (abort.signal.aborted) {
        update(id, stop);
      } else if (e instanceof LoginError) {
        setDraft(question);
        sessionStorage.setItem(draftKey, question);
        onExpired();
        return;
      } else {
        const message = e instanceof TypeError ? t.offline : e instanceof Error ? e.message : String(e);
        update(id, (x) => fail(stop(x), message));
      }
    } finally {
      running.current = null;
    }
    box.current?.focus();
    onAnswered();
  }

  function submit(e: FormEvent) {
    e.preventDefault();
    void send(draft);
  }

  function key(e: KeyboardEvent) {
    if (e.key === "Enter" && !e.shiftKey && !e.nativeEvent.isComposing) {
      e.preventDefault();
      void send(draft);
    }
  }

  return (
    <div className="chat">
      <main className="log" aria-busy={busy}>
        {exchanges.length === 0 && (
          <div className="empty">
            <h1>{t.title}</h1>
            <p>{t.subtitle}</p>
            {problem && <p className="error" role="alert">{problem}</p>}
            <div className="samples">
              {t.samples.map((s) => <button key={s} type="button" onClick={() => void send(s)}>{s}</button>)}
            </div>
          </div>
        )}
        <div role="log" aria-label={t.conversation} aria-busy={busy}>
          {exchanges.map((e) => (
            <section key={e.id} data-state={e.state} aria-label={e.question}>
              <div className="question"><span className="unseen">{t.you}: </span><p>{e.question}</p></div>
              <div className="answer">
                <span className="unseen">{t.agent}: </span>
                {e.parts.map((p) => (
                  <PartView key={p.kind + p.id} part={p} t={t} user={user} onExpired={onExpired}
                    onConsent={(state: ConsentState) => update(e.id, (x) => setConsentState(x, p.id, state))} />
                ))}
                {e.state === "running" && <p className="working">{t.working}</p>}
                {e.state === "stopped" && <p className="hint">{t.stopped}</p>}
                {e.state !== "running" && (
                  <div className="row actions">
                    {answerText(e) && <Copy t={t} text={answerText(e)} />}
                    {!busy && <button type="button" className="quiet" onClick={() => void send(e.question)}>{t.tryAgain}</button>}
                  </div>
                )}
              </div>
            </section>
          ))}
        </div>
        <div ref={end} />
      </main>
      <form className="composer" onSubmit={submit}>
        <textarea ref={box} rows={1} value={draft} aria-label={t.placeholder} placeholder={t.placeholder} autoFocus
          onChange={(e) => setDraft(e.target.value)} onKeyDown={key} />
        {busy
          ? <button type="button" className="primary" onClick={() => running.current?.abort()}>{t.stop}</button>
          : <button type="submit" className="primary" disabled={!draft.trim()}>{t.send}</button>}
      </form>
    </div>
  );
}

function Copy({ t, text }: { t: Texts; text: string }) {
  const [copied, setCopied] = useState(false);
  async function copy() {
    await navigator.clipboard.writeText(text);
    setCopied(true);
    setTimeout(() => setCopied(false), 2000);
  }
  return <button type="button" className="quiet" onClick={() => void copy()} aria-live="polite">{copied ? t.copied : t.copy}</button>;
}
