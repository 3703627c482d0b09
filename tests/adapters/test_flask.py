"""session_from, safe_return_to, and how SessionLifetime is set up in Flask."""

from __future__ import annotations

import gc
import stat
from pathlib import Path

import pytest
from flask import Flask, redirect, request, url_for
from flask import session as flask_session
from werkzeug.middleware.dispatcher import DispatcherMiddleware
from werkzeug.test import Client, create_environ

from session_middleware import (
    SessionError,
    SessionNotAttached,
    Settings,
    SettingsError,
    Verdict,
    session_optional,
)
from session_middleware.adapters.flask import SessionLifetime, safe_return_to, session_from
from session_middleware.stores.memory import MemoryStore
from session_middleware.stores.sqlite import SQLiteStore
from session_middleware.testing import FakeClock
from tests.adapters.flask_shop import HTTPS, KEY, OTHER_KEY, Shop, hello

# --- session_from and safe_return_to -----------------------------------------------------------------------------------------


def test_session_from_takes_the_request_or_finds_it() -> None:
    """Both ways lead to the one session of this request, whichever was used first."""
    shop = Shop()

    @shop.app.get("/same")
    @session_optional
    def same() -> str:
        session_from().login("alice")
        return str(session_from(request).subject)

    assert shop.client().get("/same", base_url=HTTPS).data == b"alice"


def left_by(app: Flask, cookie: str) -> int:
    """Return how many objects wait for the garbage collector after some requests."""

    def serve() -> bytes:
        environ = create_environ("/who", HTTPS, headers={"Cookie": cookie})
        return b"".join(app(environ, lambda status, headers, problem=None: lambda chunk: None))

    assert serve() == serve() == b"alice"
    gc.collect()
    gc.disable()
    try:
        for _ in range(20):
            serve()
        return gc.collect()
    finally:
        gc.enable()


def test_a_request_leaves_nothing_for_the_garbage_collector() -> None:
    """Environ, exchange and facts hold each other while a request is served and not after it; Flask leaves a little."""
    shop, plain = Shop(), Flask("plain")
    shop.app.get("/who")(lambda: str(session_from().subject))
    plain.get("/who")(lambda: "alice")
    client = shop.client("alice")
    cookies = [client.get_cookie(name, "app.example") for name in ("__Host-session", "__Host-session_jwt")]
    sent = "; ".join(f"{cookie.key}={cookie.value}" for cookie in cookies if cookie is not None)
    shop.clock.advance(seconds=1)
    assert left_by(shop.app, sent) == left_by(plain, sent)


def test_two_apps_empty_one_flask_session_once_each() -> None:
    """Customers and staff, with one SECRET_KEY: where both sessions are over, neither empties it again and again (L26)."""
    clock = FakeClock()

    def part(name: str) -> Flask:
        app = Flask(name)
        app.secret_key = KEY
        app.post("/sign-in/<who>", endpoint="sign_in")(lambda who: session_from().login(who) or "in")
        app.post("/fill", endpoint="fill")(lambda: flask_session.update(cart="pen") or "filled")
        app.get("/look", endpoint="look")(lambda: str(flask_session.get("cart", "")))
        settings = Settings(
            secret_keys=[KEY], cookie_name=name, default_policy="optional", csrf_without_headers="allow"
        )
        SessionLifetime(app, settings, MemoryStore(), clock=clock)
        return app

    client = Client(DispatcherMiddleware(part("customers"), {"/staff": part("staff")}))
    for below in ("", "/staff"):
        assert client.post(below + "/sign-in/alice", base_url=HTTPS).data == b"in"
    clock.advance(hours=2)
    for below in ("", "/staff"):  # each notes its end where there is something to keep
        client.post(below + "/fill", base_url=HTTPS)
    looks = [client.get(below + "/look", base_url=HTTPS).data for below in ("", "/staff", "", "/staff")]
    assert looks == [b"pen"] * 4
    for who in ("alice", "bob"):  # for bob it is emptied of what was alice's
        client.post(f"/sign-in/{who}", base_url=HTTPS)
    client.post("/fill", base_url=HTTPS)
    looks = [client.get(below + "/look", base_url=HTTPS).data for below in ("/staff", "")]
    assert looks == [b"pen"] * 2, "the end of alice's session with the staff is long known"


def test_session_from_outside_a_request_or_an_unwrapped_app() -> None:
    """Both mistakes are named."""
    with pytest.raises(SessionNotAttached, match="outside a request"):
        session_from()
    with Flask("plain").test_request_context("/"), pytest.raises(SessionNotAttached, match="not wrapped"):
        session_from()


def test_session_from_in_a_test_request_context() -> None:
    """Code under test may be called without a server around it."""
    shop = Shop()
    with shop.app.test_request_context("/", base_url=HTTPS):
        assert session_from().verdict is Verdict.ANONYMOUS
        session_from().login("alice")
        assert session_from().subject == "alice"


@pytest.mark.parametrize(
    ("query", "to"),
    [
        ("return_to=/a%3Fb%3D1", "/a?b=1"),
        ("return_to=https://evil.example/", "/home"),
        ("return_to=//evil.example/", "/home"),
        ("return_to=/a&return_to=/b", "/home"),
        ("", "/home"),
    ],
)
def test_safe_return_to(query: str, to: str) -> None:
    """Only a path on this host is returned to, else the default (L15)."""
    shop = Shop()
    with shop.app.test_request_context(f"/login?{query}"):
        assert safe_return_to("/home") == safe_return_to("/home", request) == to


# --- set-up ------------------------------------------------------------------------------------------------------------------


def test_settings_come_from_the_apps_config() -> None:
    """Keys with our prefix are settings; Flask's own keys sign and verify."""
    app = Flask("shop")
    app.config.update(SECRET_KEY=KEY, SECRET_KEY_FALLBACKS=[OTHER_KEY], SESSION_LIFETIME_INACTIVITY_TIMEOUT=900)
    lifetime = SessionLifetime(app, store=MemoryStore())
    assert lifetime.engine.settings.inactivity_timeout == 900
    assert lifetime.engine.settings.secret_keys == (KEY.encode(), OTHER_KEY.encode())


def test_own_secret_keys_in_the_config_win() -> None:
    """SESSION_LIFETIME_SECRET_KEYS stands in for SECRET_KEY."""
    app = Flask("shop")
    app.config.update(SECRET_KEY="short", SESSION_LIFETIME_SECRET_KEYS=[OTHER_KEY])
    assert SessionLifetime(app, store=MemoryStore()).engine.settings.secret_keys == (OTHER_KEY.encode(),)


def test_rotating_flasks_key_logs_nobody_out() -> None:
    """A session signed with what is now a fallback lives on, and is re-issued under the new key (L10)."""
    shop = Shop()
    client = shop.client("alice")
    app = Flask("shop")
    app.config.update(SECRET_KEY=OTHER_KEY, SECRET_KEY_FALLBACKS=[KEY])
    SessionLifetime(app, store=shop.store, clock=shop.clock)
    app.get("/who")(lambda: str(session_from().subject))
    cookies = {name: client.get_cookie(name, "app.example") for name in ("__Host-session", "__Host-session_jwt")}
    sent = "; ".join(f"{name}={cookie.value}" for name, cookie in cookies.items() if cookie is not None)
    answer = app.test_client(use_cookies=False).get("/who", base_url=HTTPS, headers={"Cookie": sent})
    assert answer.data == b"alice"
    assert any(line.startswith("__Host-session=") for line in answer.headers.getlist("Set-Cookie"))


@pytest.mark.parametrize(
    ("config", "named"),
    [
        ({}, "SECRET_KEY"),
        ({"SECRET_KEY": "dev"}, "SECRET_KEY"),
        ({"SECRET_KEY": KEY, "SECRET_KEY_FALLBACKS": ["old"]}, r"SECRET_KEY_FALLBACKS\[0\]"),
        ({"SECRET_KEY": KEY, "SESSION_LIFETIME_INACTIVITY_TIMEOT": 9}, "SESSION_LIFETIME_INACTIVITY_TIMEOUT"),
    ],
)
def test_unusable_configuration_is_named(config: dict[str, object], named: str) -> None:
    """A missing or weak key, or a misspelt setting, is an error at start-up that names it and never shows a key."""
    app = Flask("shop")
    app.config.update(config)
    with pytest.raises(SettingsError, match=named) as problem:
        SessionLifetime(app, store=MemoryStore())
    assert "'dev'" not in str(problem.value)


def test_a_clash_with_flasks_own_cookie_is_named() -> None:
    """Without the prefix our cookie would have the name of Flask's; they would overwrite each other."""
    with pytest.raises(SettingsError, match="SESSION_COOKIE_NAME"):
        Shop(insecure_dev=True)
    assert Shop(insecure_dev=True, cookie_name="signed_in").status("/sign-in/alice") == 200


def test_the_default_store_is_a_file_in_the_instance_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a store, `sessions.db` is made in `instance_path`, a folder only this user may enter."""
    monkeypatch.delenv("SESSION_STORE_URL", raising=False)
    app = Flask("shop", instance_path=str(tmp_path / "deep" / "instance"))
    app.config["SECRET_KEY"] = KEY
    lifetime = SessionLifetime(app)
    with lifetime.engine.store as store:
        assert isinstance(store, SQLiteStore)
        assert (tmp_path / "deep" / "instance" / "sessions.db").exists()
        assert stat.S_IMODE((tmp_path / "deep" / "instance").stat().st_mode) == 0o700


def test_an_unusable_instance_folder_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no folder can be made, the error says which setting helps."""
    monkeypatch.delenv("SESSION_STORE_URL", raising=False)
    (tmp_path / "file").write_text("")
    app = Flask("shop", instance_path=str(tmp_path / "file" / "instance"))
    app.config["SECRET_KEY"] = KEY
    with pytest.raises(SettingsError, match="SESSION_STORE_URL"):
        SessionLifetime(app)


def test_the_store_url_of_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SESSION_STORE_URL is taken, and no instance folder is made."""
    monkeypatch.setenv("SESSION_STORE_URL", "memory://")
    app = Flask("shop", instance_path=str(tmp_path / "instance"))
    app.config["SECRET_KEY"] = KEY
    assert isinstance(SessionLifetime(app).engine.store, MemoryStore)
    assert not (tmp_path / "instance").exists()


def test_the_store_url_of_the_config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SESSION_STORE_URL in `app.config` goes before the environment's; a store that is given goes before both."""
    monkeypatch.setenv("SESSION_STORE_URL", f"sqlite:///{tmp_path}/environment.db")
    stores = []
    for given in (None, MemoryStore()):
        app = Flask("shop", instance_path=str(tmp_path / "instance"))
        app.config.update(SECRET_KEY=KEY, SESSION_STORE_URL="memory://")
        stores.append((SessionLifetime(app, store=given).engine.store, given))
    (configured, _), (used, given) = stores
    assert isinstance(configured, MemoryStore)
    assert used is given
    assert list(tmp_path.iterdir()) == []


def test_an_empty_store_url_in_the_config_says_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As an empty variable does: then the environment's counts."""
    monkeypatch.setenv("SESSION_STORE_URL", "memory://")
    app = Flask("shop", instance_path=str(tmp_path))
    app.config.update(SECRET_KEY=KEY, SESSION_STORE_URL="")
    assert isinstance(SessionLifetime(app).engine.store, MemoryStore)


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("mysql://me:hunter2@db/app", "SESSION_STORE_URL='***': no store of this version has such a URL."),
        (MemoryStore(), "SESSION_STORE_URL='MemoryStore': is not a URL in text. Write one"),
        (Path("sessions.db"), "a store you have made is given as `store`"),
    ],
)
def test_a_store_url_in_the_config_that_makes_no_sense(tmp_path: Path, url: object, says: str) -> None:
    """It is refused at start-up, by its name and without a password; no folder is made."""
    app = Flask("shop", instance_path=str(tmp_path / "instance"))
    app.config.update(SECRET_KEY=KEY, SESSION_STORE_URL=url)
    with pytest.raises(SettingsError, match="SESSION_STORE_URL") as refused:
        SessionLifetime(app)
    assert says in str(refused.value)
    assert "hunter2" not in str(refused.value)
    assert list(tmp_path.iterdir()) == []


def test_an_app_factory_gives_its_own_store_and_clock() -> None:
    """One extension object, an app for each test: `init_app(app, store=, clock=)` go before the constructor's."""
    ours, clock = MemoryStore(), FakeClock()
    lifetime = SessionLifetime(store=ours, clock=clock)
    theirs, other = MemoryStore(), FakeClock()
    apps = [Flask("one"), Flask("two")]
    for app, options in zip(apps, ({}, {"store": theirs, "clock": other}), strict=True):
        app.config["SECRET_KEY"] = KEY
        lifetime.init_app(app, **options)  # type: ignore[arg-type]  # a dict of both kinds
    found = []
    for app in apps:
        with app.app_context():
            found.append((lifetime.engine.store, lifetime.engine.clock))
    assert found == [(ours, clock), (theirs, other)]


def test_one_extension_for_several_apps() -> None:
    """`init_app` wraps each app on its own; outside an app context the one meant must be said."""
    lifetime = SessionLifetime(store=MemoryStore())
    with pytest.raises(SessionNotAttached, match="wraps 0 apps"):
        _ = lifetime.sessions
    apps = [Flask("one"), Flask("two")]
    for app in apps:
        app.config["SECRET_KEY"] = KEY
        lifetime.init_app(app)
    with pytest.raises(SessionNotAttached, match="wraps 2 apps"):
        _ = lifetime.sessions
    with apps[0].app_context():
        first = lifetime.engine
    with apps[1].app_context():
        assert lifetime.engine is not first
    with pytest.raises(SettingsError, match="already"):
        lifetime.init_app(apps[0])


def test_sessions_outside_a_request() -> None:
    """A ban: the sessions of a user are listed and ended without a request."""
    shop = Shop()
    shop.app.get("/closed")(hello())
    client = shop.client("alice")
    (mine,) = shop.lifetime.sessions.list("alice")
    assert shop.lifetime.sessions.end(mine.id)
    assert client.get("/closed", base_url=HTTPS).status_code == 401


def test_url_for_still_builds_as_before() -> None:
    """We add no routes to the app: its URL map stays its own."""
    shop = Shop()
    assert {rule.endpoint for rule in shop.app.url_map.iter_rules()} == {"static", "sign_in"}
    with shop.app.test_request_context():
        assert redirect(url_for("sign_in", subject="a")).location == "/sign-in/a"


def test_a_cross_site_login_is_answered_with_403() -> None:
    """login() inside a request that another site made is refused, also where the app's errors propagate (L20)."""
    shop = Shop()
    shop.app.testing = True
    answer = shop.client().post("/sign-in/alice", base_url=HTTPS, headers={"Sec-Fetch-Site": "cross-site"})
    assert answer.status_code == 403
    assert "Set-Cookie" not in answer.headers
    assert shop.lifetime.sessions.list("alice") == []


def test_other_errors_of_ours_stay_the_apps() -> None:
    """A verb called in the wrong place is a mistake of the view: it raises, as any bug does."""
    shop = Shop()
    shop.app.testing = True
    shop.app.get("/wrong")(session_optional(lambda: session_from().extend(30)))
    with pytest.raises(SessionError, match="ANONYMOUS"):
        shop.client().get("/wrong", base_url=HTTPS)
