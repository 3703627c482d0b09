"""The pages of the Kratos stand-in: a login form from the nodes of a flow, an error, a place to return to."""

from __future__ import annotations

from html import escape
from typing import Any

from session_middleware.testing.stand_ins._faults import Answer

__all__ = ["error", "login", "nodes", "welcome"]


def nodes(aal: str, csrf_token: str, identifier: str) -> list[dict[str, Any]]:
    """Return the `ui.nodes` of a flow: what its form consists of."""
    made = [_node("default", "csrf_token", "hidden", csrf_token)]
    if aal == "aal2":
        made.append(_node("totp", "totp_code", "text", label="Code"))
        made.append(_node("totp", "method", "submit", "totp", "Sign in"))
    else:
        made.append(_node("default", "identifier", "text", identifier, "Identifier"))
        made.append(_node("password", "password", "password", label="Password"))
        made.append(_node("password", "method", "submit", "password", "Sign in"))
    return made


def _node(group: str, name: str, type: str, value: str = "", label: str = "") -> dict[str, Any]:
    attributes = {"name": name, "type": type, "disabled": False, "node_type": "input", "required": type != "submit"}
    if value or type == "hidden":
        attributes["value"] = value
    meta = {"label": {"id": 1010001, "text": label, "type": "info"}} if label else {}
    return {"type": "input", "group": group, "attributes": attributes, "messages": [], "meta": meta}


def login(flow: dict[str, Any] | None) -> Answer:
    """Return the page that shows a flow; None where there is no such flow."""
    if flow is None:
        return error(None)
    rows = [f'<p role="alert">{escape(message["text"])}</p>' for message in flow["ui"]["messages"]]
    for node in flow["ui"]["nodes"]:
        given, label = node["attributes"], escape(node["meta"].get("label", {}).get("text", ""))
        kept = f'name="{escape(given["name"])}" value="{escape(given.get("value", ""))}"'
        if given["type"] == "submit":
            rows.append(f"<p><button {kept}>{label}</button></p>")
        elif given["type"] == "hidden":
            rows.append(f'<input type="hidden" {kept}>')
        else:
            rows.append(f'<p><label>{label} <input type="{given["type"]}" {kept} required></label></p>')
    form = f'<form method="post" action="{escape(flow["ui"]["action"])}">{"".join(rows)}</form>'
    return _page("Sign in at the Kratos stand-in", form)


def error(problem: dict[str, Any] | None) -> Answer:
    """Return the error page."""
    if problem is None:
        return _page("Nothing here", "<p>There is no such flow or error.</p>", 404)
    said = problem["error"]
    return _page("Error", f"<p>{escape(said.get('id', ''))}: {escape(said.get('reason', said['message']))}</p>")


def welcome() -> Answer:
    """Return the page for those who gave no `return_to`."""
    return _page("Signed in or out at the Kratos stand-in", "<p>There was no return_to.</p>")


def _page(title: str, content: str, status: int = 200) -> Answer:
    text = (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title><h1>{title}</h1>{content}</html>'
    )
    return Answer(status, text.encode(), (("Content-Type", "text/html; charset=utf-8"),))
