import { useCallback, useEffect, useState } from "react";
import { deleteChat, LoginError, listChats, readChat, type ChatHead, type User } from "./api";
import { Chat } from "./Chat";
import { Chats } from "./Chats";
import { replay, type Exchange } from "./conversation";
import type { Texts } from "./i18n";

// The open conversation is part of the address, so that a reload, a bookmark and
// the browser's back button find it.
const addressed = () => decodeURIComponent(location.hash.slice(1));

interface Opened {
  id: string;
  exchanges: Exchange[];
  failed?: string;
}

interface Props {
  t: Texts;
  user: User;
  menu: boolean;
  onMenu: (open: boolean) => void;
  onExpired: () => void;
}

/** What a signed-in user sees: their conversations, and one of them. */
export function Desk({ t, user, menu, onMenu, onExpired }: Props) {
  const [chats, setChats] = useState<ChatHead[]>([]);
  const [failed, setFailed] = useState("");
  const [opened, setOpened] = useState<Opened>();

  const guard = useCallback((e: unknown, report: (message: string) => void) => {
    if (e instanceof LoginError) onExpired();
    else report(e instanceof TypeError ? t.offline : e instanceof Error ? e.message : String(e));
  }, [onExpired, t]);

  const refresh = useCallback(() => {
    listChats(user).then((list) => { setChats(list); setFailed(""); }, (e) => guard(e, setFailed));
  }, [user, guard]);
  useEffect(refresh, [refresh]);

  const open = useCallback((id: string) => {
    readChat(user, id).then(
      (kept) => setOpened({ id, exchanges: kept.map(replay) }),
      (e) => guard(e, (message) => setOpened({ id, exchanges: [], failed: message })),
    );
  }, [user, guard]);
  const begin = useCallback(() => {
    setOpened({ id: crypto.randomUUID(), exchanges: [] });
    if (location.hash) history.pushState(null, "", location.pathname);
  }, []);

  useEffect(() => {
    const follow = () => {
      const id = addressed();
      setOpened((now) => (now && (now.id === id || (!id && now.exchanges.length === 0)) ? now : undefined));
    };
    addEventListener("hashchange", follow);
    return () => removeEventListener("hashchange", follow);
  }, []);
  useEffect(() => {
    if (opened) return;
    const id = addressed();
    if (id) open(id);
    else setOpened({ id: crypto.randomUUID(), exchanges: [] });
  }, [opened, open]);

  function select(id: string) {
    onMenu(false);
    if (id !== opened?.id) {
      location.hash = encodeURIComponent(id);
      open(id);
    }
  }
  function remove(id: string) {
    deleteChat(user, id).then(() => {
      refresh();
      if (id === opened?.id) begin();
    }, (e) => guard(e, setFailed));
  }

  return (
    <div className="desk">
      <Chats t={t} chats={chats} current={opened?.id ?? ""} open={menu} failed={failed} onSelect={select} onDelete={remove}
        onNew={() => { onMenu(false); begin(); }} />
      {opened && (
        <Chat key={opened.id} t={t} user={user} chatID={opened.id} before={opened.exchanges} problem={opened.failed} onExpired={onExpired}
          onSent={() => { if (addressed() !== opened.id) history.replaceState(null, "", `#${encodeURIComponent(opened.id)}`); }}
          onAnswered={refresh} />
      )}
    </div>
  );
}
