import type { ChatHead } from "./api";
import type { Texts } from "./i18n";

interface Props {
  t: Texts;
  chats: ChatHead[];
  current: string;
  open: boolean; // on a phone, where the list covers the page
  failed: string;
  onSelect: (id: string) => void;
  onNew: () => void;
  onDelete: (id: string) => void;
}

/** The list of the user's conversations. */
export function Chats({ t, chats, current, open, failed, onSelect, onNew, onDelete }: Props) {
  return (
    <nav className="chats" data-open={open} aria-label={t.conversations}>
      <button type="button" className="new" onClick={onNew}>＋ {t.newChat}</button>
      {failed && <p className="error" role="alert">{failed}</p>}
      {chats.length === 0 && !failed && <p className="hint">{t.noChats}</p>}
      <ul>
        {chats.map((c) => (
          <li key={c.id} data-current={c.id === current}>
            <button type="button" className="title" aria-current={c.id === current ? "page" : undefined} onClick={() => onSelect(c.id)}>{c.title}</button>
            <button type="button" className="quiet" aria-label={`${t.remove}: ${c.title}`} title={t.remove}
              onClick={() => window.confirm(t.confirmRemove(c.title)) && onDelete(c.id)}>✕</button>
          </li>
        ))}
      </ul>
    </nav>
  );
}
