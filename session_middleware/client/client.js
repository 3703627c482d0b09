// Courtesy, not enforcement: the server ends the session whether or not this runs. Deadlines are what the server said
// was left, counted on the monotonic clock; the wall clock is only compared with it, to notice that the machine slept.

const here = import.meta.url;
const base = new URL(".", here).href;

const TEXTS = {
  warningTitle: "Are you still there?",
  warningText: "Nothing happened here for a while. Your session is about to end.",
  finalTitle: "Your session is about to end",
  finalText: "It cannot be continued any longer. Save your work, then sign in again.",
  lapsedTitle: "Your session has ended",
  lapsedText: "What you typed is still on this page. Sign in again, then come back.",
  unsureTitle: "Your session may have ended",
  unsureText: "What you typed is still on this page.",
  signedOutTitle: "You are signed out",
  signedOutText: "What you typed is still on this page. Sign in again, then come back.",
  changedTitle: "Somebody else is signed in",
  changedText: "This page belongs to an earlier sign-in. Reload the page to go on; what you typed here is then lost.",
  freshTitle: "Please sign in again",
  freshText: "This step needs a recent sign-in.",
  continue: "Continue",
  logOut: "Log out",
  signIn: "Sign in again (new tab)",
  elsewhere: "Continue at the sign-in page (new tab)",
  reload: "Reload the page",
  close: "Close",
  left: "Time left: {time}",
  announce: "{seconds} seconds left.",
  failed: "The server could not be reached. Please try again.",
  localOnly: "You are signed out in this browser. The server could not be reached to end your session.",
};

const STYLE = `
dialog { box-sizing: border-box; width: min(28rem, 100vw - 2rem); max-height: calc(100dvh - 2rem); overflow: auto; overflow-wrap: anywhere;
  padding: 1.5rem; border: 1px solid var(--session-border, GrayText); border-radius: .75rem;
  background: var(--session-background, Canvas); color: var(--session-color, CanvasText);
  font: var(--session-font, 1rem/1.5 system-ui, sans-serif) }
dialog::backdrop { background: var(--session-backdrop, rgb(0 0 0 / .5)) }
h2, p { margin: 0 0 .75rem }
p:empty, [hidden] { display: none !important }
[role=timer] { font-weight: bold; font-variant-numeric: tabular-nums }
[role=alert] { color: var(--session-error, light-dark(#b3261e, #ff8b82)) }
[role=status] { position: absolute; width: 1px; height: 1px; margin: -1px; overflow: hidden; clip-path: inset(50%) }
div { display: flex; flex-wrap: wrap; gap: .75rem; margin-top: 1.25rem }
button, a { box-sizing: border-box; flex: 1 1 auto; min-height: 2.75rem; padding: .5rem 1rem; cursor: pointer; font: inherit;
  text-align: center; text-decoration: none; border: 1px solid var(--session-border, GrayText); border-radius: .75rem;
  background: transparent; color: inherit }
[part~=primary] { border-color: transparent; background: var(--session-accent, light-dark(#0a5dc2, #6cb0ff));
  color: var(--session-accent-color, light-dark(#fff, #0b1220)) }
[aria-disabled=true] { opacity: .5 }
:focus-visible { outline: 3px solid; outline-offset: 2px }
`;

const begin = () => {
  const tag = [...document.scripts].find((script) => script.src === here);
  const option = (name) => tag?.dataset[name];
  const texts = { ...TEXTS };
  for (const key in texts) texts[key] = option(`text${key[0].toUpperCase()}${key.slice(1)}`) ?? texts[key];
  const translated = texts.warningTitle !== TEXTS.warningTitle;

  const send = globalThis.fetch.bind(globalThis);
  const now = () => performance.now() / 1000;
  const drift = () => Date.now() / 1000 - now();

  let state = "unknown";
  let reason = null;
  let mine = null; // keyed hashes that tell this page's user from another, never stored
  let silence = Infinity;
  let age = Infinity;
  let final = Infinity; // the age that continuing at a provider does not move
  let warn = 60;
  let every = null; // seconds between reports of activity; null: activity moves nothing
  let streams = false; // whether the server has events
  let login = "";
  let returnParam = "return_to";
  let elsewhere = null; // where only the provider's page can go on
  let heardAt = -Infinity; // when the newest state that we know was asked for
  let renewedAt = now();
  let acted = false;
  let lastDrift = drift();
  let slept = 0;
  let retryAt = 0;
  let failure = "";
  let checking = null;
  let busy = null;
  let timer = 0;

  const left = () => Math.round((Math.min(silence, age) - now()) * 1000) / 1000; // a timer knows no less
  const isLive = () => state === "active" || state === "warning";
  const isUnsure = () => state === "lapsed" && !reason; // our count has run out, and the server has not said that it is over
  const isOpen = () => isLive() || isUnsure();
  const isMine = (users) => !!mine && !!users && users.some((user) => mine.includes(user));

  // --- what is known ---------------------------------------------------------------------------------------------

  const become = (next, why = null) => {
    state = next;
    reason = why;
    if (next === "active") {
      dismissed = null;
      if (!fresh) elsewhere = null;
    }
    render();
    session.dispatchEvent(new Event("change"));
    schedule();
    if (isLive()) listen();
    else hush();
  };

  const settle = () => {
    const seconds = left();
    if (seconds > warn) become("active");
    // The server rounds down: what has no second left there may still be alive, and then the next tick asks again.
    else become(seconds > 0 || !failure ? "warning" : "lapsed");
  };

  const take = (said, at) => {
    if (at < heardAt) return; // overtaken by a newer answer
    heardAt = at;
    slept = 0;
    failure = "";
    login = said.login_url ?? login;
    returnParam = said.return_param ?? returnParam;
    if (!said.authenticated) {
      const timed = /^(inactivity|lifetime)$/.test(said.reason);
      become(timed ? "lapsed" : "signed_out", said.reason ?? null);
      const landing = option("landing");
      if (timed && mine && landing) location.assign(landing);
    } else if (mine && !isMine(said.user)) {
      become("changed");
    } else {
      if (at + said.final_left > final + 2) fresh = null; // somebody has proved who they are, later than was known
      mine = said.user;
      silence = said.inactivity_left === null ? Infinity : at + said.inactivity_left;
      age = at + said.absolute_left;
      final = at + said.final_left;
      warn = said.warn_before;
      every = said.report_every;
      streams = said.events;
      elsewhere = said.continue_url ?? elsewhere;
      settle();
    }
  };

  const ask = async (path, method = "GET") => {
    const at = now();
    const answer = await send(base + path, {
      method,
      headers: { Accept: "application/json" },
      cache: "no-store",
      signal: AbortSignal.timeout(15000),
    });
    const said = await answer.json().catch(() => ({}));
    return { at, status: answer.status, said };
  };

  const check = (telling = true) => {
    const asked = (checking ??= ask("status")
      .then(({ at, status, said }) => {
        if (status !== 200 || said.authenticated === undefined) throw status; // a proxy may answer 200 with a page
        take(said, at);
        if (telling) tell(said, at); // what another tab told, it told to all
      })
      .catch(() => {
        if (state === "unknown") timer = setTimeout(check, 10000);
        if (checking !== asked || !isOpen()) return; // one that was begun before a sleep is not the last word
        retryAt = now() + 10;
        silence -= slept;
        age -= slept;
        final -= slept;
        slept = 0;
        failure = texts.failed;
        settle();
      })
      .finally(() => {
        if (checking === asked) checking = null;
      }));
    return asked;
  };

  // --- the other tabs ----------------------------------------------------------------------------------------------

  const name = `session ${base}`;
  const channel = globalThis.BroadcastChannel && new BroadcastChannel(name);

  const tell = (said, at, renewed = false) => {
    const message = { said, age: now() - at, sent: Date.now(), renewed };
    if (channel) return channel.postMessage(message);
    try {
      localStorage.setItem(name, Date.now()); // only that there is news, and not for longer than it takes
      localStorage.removeItem(name);
    } catch {
      // Storage is off: other tabs ask on focus and before their dialog.
    }
  };

  const reported = (at) => {
    renewedAt = at;
    acted = false;
  };

  const hear = ({ said, age: old, sent, renewed }) => {
    if (!said?.authenticated || !isMine(said.user)) {
      // What may be stale, or was told by somebody else's tab, is asked; an end that is known here is no news.
      if (mine && (isOpen() || said?.authenticated !== false) && state !== "changed") check(false);
      return;
    }
    const at = now() - old - Math.max(0, Date.now() - sent) / 1000; // a frozen tab hears late
    if (renewed && at >= renewedAt) reported(at);
    take(said, at);
  };

  // --- what the server says by itself --------------------------------------------------------------------------------

  let turn = null; // this tab's place in the line for the one connection that a browser keeps open

  const listen = () => {
    if (turn || !streams || option("events") === "off" || !navigator.locks || !globalThis.EventSource) return;
    const { signal } = (turn = new AbortController());
    const lead = (leave) => {
      let stream;
      let again;
      let pause = 15000;
      const open = () => {
        stream = new EventSource(`${base}events`);
        stream.onmessage = ({ data }) => {
          const said = JSON.parse(data);
          const at = now();
          pause = 0;
          // This session is over, and the cookie of a newer one may be on its way. Not every browser is to ask at one instant.
          if (!said.authenticated) return setTimeout(check, 300 + 700 * Math.random());
          take(said, at);
          tell(said, at);
        };
        stream.onerror = () => {
          if (stream.readyState < 2) return; // the browser tries again by itself
          // There are no events here, or no session any more, or nobody is at home: which, it does not tell.
          if (!pause) check();
          pause = 2 * pause || 30000;
          again = setTimeout(open, pause * (1 + Math.random()));
        };
      };
      signal.onabort = () => {
        stream.close();
        clearTimeout(again);
        leave();
      };
      open();
    };
    // Whoever holds the lock has the stream; it is given back, or taken away, when the page is gone.
    navigator.locks.request(`${name} events`, { signal }, () => new Promise(lead)).catch(() => {});
  };

  const hush = () => {
    turn?.abort();
    turn = null;
  };

  // --- to go on, to leave --------------------------------------------------------------------------------------------

  /** Goes on at the provider without a page, if its cookies reach it in a frame and the browser comes back from there. */
  const inFrame = (url) =>
    new Promise((done) => {
      const frame = document.createElement("iframe");
      frame.onload = () => {
        done(frame.contentDocument?.URL === here); // another origin's page cannot be seen
        frame.remove();
      };
      setTimeout(frame.onload, 10000);
      frame.hidden = true;
      frame.src = `${web(url)}&return_to=${encodeURIComponent(here.slice(location.origin.length))}`;
      document.body.append(frame);
    });

  const post = async () => {
    const { at, status, said } = await ask("continue", "POST");
    if (status === 200 && said.authenticated) {
      reported(at);
      const url = /[?&]prompt=none/.test(said.continue_url) && said.continue_url;
      if (url && (await inFrame(url))) return check(); // by a new session
      take(said, at);
      tell(said, at, true);
      if (url) {
        elsewhere = url;
        fresh = "elsewhere";
      }
    } else {
      if (status === 401) await check(); // whose 401 that is, status knows
      if (isOpen()) throw status;
    }
  };

  /** Only one tab asks at a time; who had to wait looks first whether that is still needed. */
  const inTurn = async (quiet) => {
    const locks = navigator.locks;
    if (!locks) return post();
    const first = await locks.request(name, { ifAvailable: true }, async (lock) => {
      if (!lock) return false;
      await post();
      return true;
    });
    if (first || quiet) return;
    await locks.request(name, async () => {
      await check();
      if (state === "warning") await post();
    });
  };

  const goOn = (quiet = false) =>
    (busy ??= (async () => {
      if (!quiet) failure = "";
      try {
        render();
        await inTurn(quiet);
      } catch {
        if (!quiet) failure = texts.failed;
      } finally {
        busy = null;
      }
      if (!quiet && failure) become(state, reason);
      else render();
      return state === "active";
    })());

  const logOut = () =>
    (busy ??= (async () => {
      failure = "";
      render();
      try {
        const { at, status, said } = await ask("logout", "POST");
        if (status === 503) failure = texts.localOnly;
        else if (status >= 300) throw status;
        heardAt = at;
        become("signed_out", "signed_out");
        tell({ authenticated: false }, at);
        if (!failure) location.assign(web(said.logout_url ?? option("signedOut") ?? `${base}signed-out`));
      } catch {
        failure = texts.failed;
      } finally {
        busy = null;
      }
      render();
    })());

  const reload = () => location.assign(location.pathname + location.search); // a GET: no form is sent again

  // --- time ---------------------------------------------------------------------------------------------------------

  const report = () => {
    if (!acted || state !== "active" || !every || busy || now() - renewedAt < every) return;
    renewedAt = now(); // also where it fails: it is tried again in the next interval
    goOn(true);
  };

  const tick = () => {
    const before = lastDrift;
    lastDrift = drift();
    if (lastDrift - before > 2 && mine) {
      slept += lastDrift - before;
      heardAt = now(); // what was asked before says nothing of now
      checking = null;
      hush(); // what comes on an old connection may have been long on its way
      check();
    }
    if (isLive() && !busy && (left() <= 0 || (state === "active" && left() <= warn))) check();
    if (isUnsure() && !busy && now() > retryAt) check();
    report();
    render();
    schedule();
  };

  const schedule = () => {
    clearTimeout(timer);
    if (!mine) return;
    const edge = state === "active" ? left() - warn : left() % 1;
    timer = setTimeout(tick, edge > 0 && edge < 1 ? Math.ceil(edge * 1000) : 1000);
  };

  // --- the dialog -----------------------------------------------------------------------------------------------------

  let dismissed = null;
  let fresh = null; // which way is offered, though the session lives
  let wanted = false; // a request was refused, so that also a page that never knew a session shows it
  let shown = null;
  let ui = null;
  let announced = 0;

  const web = (address) => {
    const url = new URL(address, base);
    return /^https?:$/.test(url.protocol) ? url.href : base;
  };

  const signInUrl = () => {
    const url = new URL(web(login));
    url.searchParams.set(returnParam, location.pathname + location.search);
    return url.href;
  };

  const modeOf = () => {
    if (state === "warning") return final - now() < warn + 0.001 ? "final" : "warning";
    if (isUnsure() && final > now()) return "unsure";
    if (state === "active") return fresh ? "fresh" : null;
    if (state === "unknown" || !(mine || wanted)) return null;
    return state === "signed_out" ? "signedOut" : state;
  };

  const dismiss = () => {
    dismissed = shown;
    fresh = wanted = null;
    render();
  };

  const build = () => {
    const host = document.createElement("session-dialog");
    const root = host.attachShadow({ mode: "open" });
    ui = { host, root };
    const add = (parent, kind, part, more) => {
      const made = Object.assign(document.createElement(kind), { part }, more);
      parent.append(made);
      return (ui[part] = made);
    };
    const sheet = new CSSStyleSheet();
    sheet.replaceSync(STYLE); // no inline style and no <style>: neither CSP nor Trusted Types are in the way
    root.adoptedStyleSheets = [sheet];
    const dialog = add(root, "dialog", "dialog", { role: "alertdialog" });
    dialog.setAttribute("aria-labelledby", "title");
    dialog.setAttribute("aria-describedby", "text time");
    if (!translated) Object.assign(dialog, { lang: "en", dir: "ltr" });
    add(dialog, "h2", "title", { id: "title" });
    add(dialog, "p", "text", { id: "text" });
    add(dialog, "p", "time", { id: "time", role: "timer" });
    add(dialog, "p", "error", { role: "alert" });
    add(dialog, "p", "announcement", { role: "status" });
    const row = add(dialog, "div", "buttons");
    const button = (label, part, onclick) =>
      add(row, "button", part, { type: "button", textContent: label, onclick: () => busy || onclick() });
    const link = (label, onclick) =>
      add(row, "a", "button primary", { textContent: label, target: option("signInTarget") ?? "_blank", rel: "noopener", onclick });
    ui.choices = {
      continue: button(texts.continue, "button primary", () => goOn()),
      elsewhere: link(texts.elsewhere, () => fresh && dismiss()),
      signIn: link(texts.signIn),
      reload: button(texts.reload, "button primary", reload),
      logOut: button(texts.logOut, "button", logOut),
      close: button(texts.close, "button", dismiss),
    };
    dialog.oncancel = (event) => {
      event.preventDefault(); // Escape is a sign of life; where nothing can go on it puts the dialog aside
      if (busy) return;
      if (shown === "warning" && !elsewhere) goOn();
      else dismiss();
    };
    dialog.onclose = () => shown && !dialog.open && dismiss(); // some browsers let a second Escape through
  };

  const BUTTONS = {
    final: ["signIn", "logOut"],
    lapsed: ["signIn", "close"],
    signedOut: ["signIn", "close"],
    changed: ["reload", "close"],
  };

  const render = () => {
    const mode = modeOf();
    const show = mode && mode !== dismissed && option("dialog") !== "off" ? mode : null;
    if (!show) {
      shown = null;
      if (ui?.dialog.open) ui.dialog.close(); // gives the focus back
      return;
    }
    if (!ui) build();
    const { host, root, dialog, choices } = ui;
    const offered = show === "fresh" ? [fresh, "close"] : BUTTONS[show] ?? [elsewhere ? "elsewhere" : "continue", show === "unsure" ? "close" : "logOut"];
    const put = (to, text) => to.textContent === text || (to.textContent = text);
    put(ui.title, texts[`${show}Title`]);
    put(ui.text, texts[`${show}Text`]);
    put(ui.error, failure);
    const seconds = isLive() && show !== "fresh" ? Math.max(0, Math.ceil(left())) : null;
    const clock = seconds === null ? "" : `${Math.floor(seconds / 60)}:${`${seconds % 60}`.padStart(2, 0)}`;
    put(ui.time, clock && texts.left.replace("{time}", clock));
    const step = seconds === null || seconds > 30 ? 0 : seconds > 10 ? 30 : 10;
    if (show !== shown) announced = step;
    if (step !== announced) put(ui.announcement, texts.announce.replace("{seconds}", seconds));
    announced = step;
    const focused = root.activeElement;
    for (const [key, button] of Object.entries(choices)) {
      button.hidden = !offered.includes(key);
      button.ariaDisabled = !!busy;
    }
    choices.signIn.href = signInUrl();
    choices.elsewhere.href = web(elsewhere ?? base);
    if (!host.isConnected) {
      dialog.close();
      document.body.append(host);
    }
    shown = show;
    if (!dialog.open) dialog.showModal();
    if (!focused || focused.hidden) choices[offered[0]].focus();
  };

  // --- what pages use -------------------------------------------------------------------------------------------------

  class Session extends EventTarget {
    onchange = null;
    get state() {
      return state;
    }
    get reason() {
      return reason;
    }
    get failure() {
      return failure;
    }
    get signInUrl() {
      return signInUrl();
    }
    get continueUrl() {
      return elsewhere && web(elsewhere);
    }
    remaining() {
      return isLive() ? Math.max(0, left()) : null;
    }
    async check() {
      await check();
      return state;
    }
    async continue() {
      return state !== "changed" && goOn();
    }
    async logout() {
      return logOut();
    }
    fetch = async (input, init) => {
      const answer = await send(input, init);
      if (answer.status === 401) await this.refused(await answer.clone().json().catch(() => null));
      return answer;
    };
    async refused(problem) {
      if (!String(problem?.type).startsWith("urn:session-middleware:")) return;
      dismissed = null;
      wanted = true;
      await check(); // what one answer says of one request is not yet the state of the session
      fresh = problem.reason === "fresh_login" && "signIn";
      render();
    }
  }
  const session = new Session();
  session.addEventListener("change", () => session.onchange?.(session)); // what a listener throws is the page's to see

  const look = () => {
    tick();
    if (document.hidden) return;
    if (mine ? state !== "active" || now() - heardAt > 10 : state === "unknown") check();
  };

  const start = () => {
    renewedAt = now();
    lastDrift = drift(); // a prerendered page begins when somebody sees it
    if (channel) channel.onmessage = (event) => hear(event.data);
    else addEventListener("storage", (event) => event.key === name && event.newValue && hear({ said: null }));
    document.addEventListener("visibilitychange", look);
    addEventListener("focus", look);
    addEventListener("online", look);
    addEventListener("pageshow", (event) => event.persisted && check());
    addEventListener("pagehide", hush); // with an open stream the page would not be kept to come back to
    document.addEventListener("freeze", hush);
    document.addEventListener("resume", check);
    if (option("activity") !== "off") {
      const act = (event) => {
        if (!event.isTrusted || state !== "active") return; // a script's event is no user, and the dialog asks for a choice
        acted = true;
        report();
      };
      for (const kind of ["pointerdown", "pointermove", "keydown", "wheel", "touchmove"])
        addEventListener(kind, act, { capture: true, passive: true });
    }
    check();
  };
  if (document.prerendering) document.addEventListener("prerenderingchange", start, { once: true });
  else queueMicrotask(start);
  return session;
};

/** One for a page, however often and under whatever `?v=` this module is loaded. */
export const session = (globalThis[Symbol.for(`session_middleware ${base}`)] ??= begin());
export default session;
