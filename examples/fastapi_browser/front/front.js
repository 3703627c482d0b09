// The front of the example: no cookie is touched here, the browser does that; 401 means "ask for the password".

const at = (id) => document.getElementById(id);
const REASONS = {
  inactivity: "Nothing happened for a while, so you were signed out.",
  lifetime: "It has been a long time. Please log in again.",
  signed_out: "You were signed out.",
  fresh_login: "This needs a recent log-in.",
};

async function call(method, path, body) {
  const answer = await fetch(path, {
    method,
    headers: { Accept: "application/json", ...(body && { "Content-Type": "application/json" }) },
    body: body && JSON.stringify(body),
  });
  if (answer.status === 401) {
    showLogin(REASONS[(await answer.json()).reason] ?? "");
    return null;
  }
  if (answer.status === 204) return {};
  const said = await answer.json();
  if (!answer.ok) throw new Error(said.detail ?? said.title);
  return said;
}

function showLogin(reason) {
  at("reason").textContent = reason;
  at("login").hidden = false;
  at("home").hidden = true;
}

async function showHome() {
  const me = await call("GET", "/api/me");
  if (me === null) return;
  at("login").hidden = true;
  at("home").hidden = false;
  at("name").textContent = me.name;
  at("silence").textContent = me.inactivity_deadline === null
    ? "no time" : new Date(me.inactivity_deadline).toLocaleTimeString();
  at("age").textContent = new Date(me.absolute_deadline).toLocaleTimeString();
  const list = await call("GET", "/session/list");
  at("sessions").replaceChildren(...(list?.sessions ?? []).map(row));
}

function row(session) {
  const item = document.createElement("li");
  item.textContent = `${session.attributes.user_agent ?? "unknown"}, since ${session.created_at} `;
  if (session.current) item.append("(this one)");
  else {
    const end = document.createElement("button");
    end.textContent = "End";
    end.onclick = async () => {
      await call("POST", `/session/list/${session.id}/end`);
      await showHome();
    };
    item.append(end);
  }
  return item;
}

at("login").onsubmit = async (event) => {
  event.preventDefault();
  try {
    // Who opened a page of the API without a session was sent here, and goes back there.
    const { go_to } = await call("POST", `/api/login${location.search}`, Object.fromEntries(new FormData(event.target)));
    if (go_to === "/") await showHome();
    else location.assign(go_to);
  } catch (problem) {
    at("reason").textContent = problem.message;
  }
};
at("continue").onclick = async () => {
  if ((await call("POST", "/session/continue")) !== null) await showHome();
};
at("password").onclick = async () => {
  const done = await call("POST", "/api/password");
  if (done !== null) at("said").textContent = `Changed ${done.changed}.`;
};
at("logout").onclick = async () => {
  await call("POST", "/session/logout");
  showLogin("You are signed out.");
};
setInterval(async () => {
  if (at("home").hidden) return;
  const answer = await call("GET", "/api/unread");
  if (answer !== null) at("unread").value = answer.unread;
}, 10000);

await showHome();
