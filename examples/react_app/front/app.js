import { createElement as h, useEffect, useState } from "react";
import { createRoot } from "react-dom/client";
import { session, useRemaining, useSession } from "/session.js";

const send = (method, path, body) =>
  session.fetch(path, { method, body: body && JSON.stringify(body), headers: { "Content-Type": "application/json" } });

const LogIn = ({ done }) => {
  const [wrong, setWrong] = useState(false);
  const submit = async (event) => {
    event.preventDefault();
    const answer = await send("POST", "/api/login", Object.fromEntries(new FormData(event.target)));
    setWrong(!answer.ok);
    if (!answer.ok) return;
    await session.check(); // a session has begun
    done();
  };
  return h("form", { onSubmit: submit },
    h("h1", null, "Log in"),
    wrong && h("p", { role: "alert" }, "That is not right."),
    h("label", null, "Name ", h("input", { name: "name", autoComplete: "username" })), " ",
    h("label", null, "Password ", h("input", { name: "password", type: "password", autoComplete: "current-password" })), " ",
    h("button", null, "Log in"), h("p", null, "alice, wonderland"));
};

const Ending = () => {
  const left = useRemaining();
  return h("section", { role: "alertdialog", "aria-label": "Still there?" },
    h("p", null, `This session ends in ${left} s.`),
    h("button", { onClick: () => session.continue(), autoFocus: true }, "Stay"), " ",
    h("button", { onClick: () => session.logout() }, "Log out"),
    session.failure && h("p", { role: "alert" }, session.failure));
};

const Over = () =>
  h("section", { role: "alert" },
    h("p", null, "Your session has ended. What you typed is still here."),
    h("a", { href: session.signInUrl, target: "_blank", rel: "noopener" }, "Sign in again (new tab)"));

const Home = ({ name }) => {
  const state = useSession();
  const [unread, setUnread] = useState("?");
  const [said, setSaid] = useState("");
  const live = state === "active" || state === "warning";
  useEffect(() => {
    if (!live) return;
    const ask = async () => {
      const answer = await fetch("/api/unread", { headers: { "Session-Activity": "none" } });
      if (answer.ok) setUnread((await answer.json()).unread);
    };
    ask();
    const timer = setInterval(ask, 10000);
    return () => clearInterval(timer);
  }, [live]);
  const change = async () => {
    const answer = await send("POST", "/api/password");
    setSaid(answer.ok ? "Changed." : "This needs a log-in of the last five minutes.");
  };
  return h("main", null,
    h("h1", null, `Hello ${name}`),
    h("p", null, h("label", null, "A note ", h("input", { name: "note" }))),
    h("p", null, `Unread: ${unread}`),
    h("p", null, h("button", { onClick: change }, "Change password"), " ", h("output", null, said)),
    h("p", null, h("a", { href: "/session/list" }, "my sessions"), ", ", h("a", { href: "/api/about" }, "about")),
    h("button", { onClick: () => session.logout() }, "Log out"),
    state === "warning" && h(Ending),
    (state === "lapsed" || state === "signed_out") && h(Over),
    state === "changed" && h("p", { role: "alert" }, "Somebody else has signed in. ", h("a", { href: "/" }, "Reload")));
};

const App = () => {
  const [name, setName] = useState(undefined);
  const look = async () => {
    const answer = await fetch("/api/me");
    setName(answer.ok ? (await answer.json()).name : null);
  };
  useEffect(() => void look(), []);
  if (name === undefined) return null;
  return name === null ? h(LogIn, { done: look }) : h(Home, { name });
};

createRoot(document.getElementById("root")).render(h(App));
