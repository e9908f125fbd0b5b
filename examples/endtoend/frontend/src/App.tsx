import { useCallback, useEffect, useState } from "react";
import { beginSignIn, finishSignIn, me, signOut, type User } from "./api";
import { Desk } from "./Desk";
import { initialLanguage, saveLanguage, textsOf, type Language, type Texts } from "./i18n";

type Login = { state: "loading" } | { state: "out"; problem?: string; notice?: string } | { state: "in"; user: User };

// Where the user was when the sign-in began.
const whereKey = "agent-identity-where";

// The code that the identity provider sends the browser back with works once,
// so it is taken out of the address before anything else reads it.
const returned = new URLSearchParams(location.search);
if (returned.has("code") || returned.has("error")) history.replaceState(null, "", `/${sessionStorage.getItem(whereKey) ?? ""}`);

async function load(): Promise<Login> {
  try {
    const code = returned.get("code");
    const refused = returned.get("error");
    returned.delete("code");
    returned.delete("error");
    if (refused) return { state: "out", problem: returned.get("error_description") ?? refused };
    if (code) await finishSignIn(code, returned.get("state") ?? "");
    const user = await me();
    return user ? { state: "in", user } : { state: "out" };
  } catch (e) {
    return { state: "out", problem: e instanceof Error ? e.message : String(e) };
  }
}

let loading: Promise<Login> | undefined;

export function App() {
  const [language, setLanguage] = useState<Language>(initialLanguage);
  const [login, setLogin] = useState<Login>({ state: "loading" });
  const [menu, setMenu] = useState(false);
  const t = textsOf(language);

  useEffect(() => {
    loading ??= load();
    void loading.then(setLogin);
  }, []);
  useEffect(() => {
    document.documentElement.lang = language;
    saveLanguage(language);
  }, [language]);

  const expired = useCallback(() => setLogin({ state: "out", notice: t.loginExpired }), [t]);
  const leave = useCallback(async (user: User) => {
    await signOut(user).catch(() => {});
    history.replaceState(null, "", "/");
    sessionStorage.clear();
    setLogin({ state: "out" });
  }, []);

  return (
    <div className="app">
      <header>
        {login.state === "in" && (
          <button type="button" className="quiet menu" aria-label={t.menu} aria-expanded={menu} onClick={() => setMenu(!menu)}>☰</button>
        )}
        <strong className="brand">{t.title}</strong>
        {login.state === "in" && (
          <span className="badges">
            {login.user.simulated.includes("cloud") && <span className="badge">{t.simulatedCloud}</span>}
            {login.user.simulated.includes("model") && <span className="badge">{t.simulatedModel}</span>}
          </span>
        )}
        <span className="grow" />
        {login.state === "in" && <span className="who">{login.user.name || login.user.user_id}</span>}
        <button type="button" className="quiet" onClick={() => setLanguage(language === "en" ? "zh" : "en")}>{t.language}</button>
        {login.state === "in" && <button type="button" className="quiet" onClick={() => void leave(login.user)}>{t.signOut}</button>}
      </header>
      {login.state === "out" && <SignIn t={t} problem={login.problem} notice={login.notice} />}
      {login.state === "in" && <Desk key={login.user.session_id} t={t} user={login.user} menu={menu} onMenu={setMenu} onExpired={expired} />}
    </div>
  );
}

function SignIn({ t, problem, notice }: { t: Texts; problem?: string; notice?: string }) {
  const [failed, setFailed] = useState("");
  const [busy, setBusy] = useState(false);
  async function begin() {
    setBusy(true);
    setFailed("");
    try {
      sessionStorage.setItem(whereKey, location.hash);
      location.assign(await beginSignIn());
    } catch (e) {
      setFailed(e instanceof Error ? e.message : String(e));
      setBusy(false);
    }
  }
  return (
    <main className="signin">
      <h1>{t.title}</h1>
      <p>{t.subtitle}</p>
      {notice && <p role="status">{notice}</p>}
      {(problem || failed) && <p className="error" role="alert">{t.signInFailed}: {failed || problem}</p>}
      <button type="button" className="primary" disabled={busy} onClick={() => void begin()}>{t.signIn}</button>
      <p className="hint">{t.signInHint}</p>
    </main>
  );
}
