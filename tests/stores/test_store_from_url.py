"""A URL names a store, or an error says how to write one without showing a password."""

from __future__ import annotations

import inspect
from pathlib import Path

import pytest
from psycopg.conninfo import conninfo_to_dict

from session_middleware.adapters.attach import attach
from session_middleware.errors import SettingsError
from session_middleware.runtime import LoopRuntime, ThreadRuntime
from session_middleware.settings import Settings
from session_middleware.stores import store_from_url
from session_middleware.stores.memory import MemoryStore
from session_middleware.stores.postgres import AsyncPostgresStore, PostgresStore
from session_middleware.stores.redis import AsyncRedisStore, RedisStore
from session_middleware.stores.sqlite import SQLiteStore
from tests.fresh_python import printed_by


def test_memory():
    """memory:// is a MemoryStore."""
    assert isinstance(store_from_url("memory://"), MemoryStore)


def test_three_slashes_are_relative_to_the_working_directory(tmp_path, monkeypatch):
    """sqlite:///name is a file in the working directory at that time, wherever the process goes later."""
    monkeypatch.chdir(tmp_path)
    store = store_from_url("sqlite:///my%20sessions.db")
    monkeypatch.chdir("/")
    assert isinstance(store, SQLiteStore)
    assert store.load(b"k" * 32) is None
    store.close()
    assert (tmp_path / "my sessions.db").exists()


def test_four_slashes_are_absolute(tmp_path):
    """sqlite:////path is an absolute path."""
    store_from_url(f"sqlite:///{tmp_path}/sessions.db")
    assert (tmp_path / "sessions.db").exists()


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("sqllite:///x.db", "Did you mean sqlite:///"),
        ("SQLITE:///x.db", "Did you mean sqlite:///"),
        ("sqlite:x.db", "Did you mean sqlite:///"),
        ("sqlite://x.db", "three slashes"),
        ("sqlite://[x.db", "three slashes"),
        ("sqlite://", "three slashes"),
        ("sqlite:///", "three slashes"),
        ("sqlite:///x.db?mode=ro", "three slashes"),
        ("sqlite:///:memory:", "memory://"),
        ("memory", "Did you mean memory://"),
        ("memory://here", "Write memory://"),
        ("mongodb://localhost", "There are: memory://; sqlite:///"),
        ("reddis://localhost", "Did you mean redis://host:6379/0?"),
        ("redis+clutser://localhost", "Did you mean redis+cluster://"),
        ("postgressql://localhost", "Did you mean postgresql://"),
        ("valkey+sentinel:host", "Did you mean valkey+sentinel://"),
        ("redis://one,two", "names several servers"),
        ("redis://one:port", "names no host and port"),
        ("redis://one:70000", "names no host and port"),
        ("redis://one:", "names no host and port"),
        ("redis://[::1", "names no host and port"),
        ("redis://one/first", "a database's number"),
        ("redis://name@one", "redis://:password@host"),
        ("redis://:a#b@one", "written %23"),
        ("redis+cluster://one/1", "a database's number"),
        ("redis+sentinel://one,two", "does not name the master"),
        ("redis://one?prefx=a:", "Did you mean prefix?"),
        ("redis://one?prefix=", "without a value"),
        ("redis://one?timeout=never", "Write timeout=2"),
        ("redis://one?timeout=0", "no positive number"),
        ("redis://one?max_connections=-1", "no positive number"),
        ("redis://one?ssl_ca_certs=/ca.pem", "does not have"),
        ("redis://one?sentinel_password=x", "does not have"),
        ("rediss://one?ssl_ca_certs=/no/where/ca.pem", "ssl_ca_certs that is not there"),
        ("rediss+cluster://one?ssl_keyfile=/no/where/key.pem", "ssl_keyfile that is not there"),
        ("redis://one?near_cache=", "Write near_cache=2"),
        ("redis://one?near_cache=on", "Write near_cache=2"),
        ("redis://one?near_cache=nan", "Write near_cache=2"),
        ("postgresql://one/db?near_cache=61", "Write near_cache=2"),
        ("redis://one?near_cache=1&near_cache=2", "twice"),
        ("redis://one?near_cahce=1", "does not have"),
        ("", "There are: memory://"),
    ],
)
def test_anything_else_is_an_error_that_says_what_to_write(url, says):
    """A URL that names no store is a SettingsError that names the setting and the forms there are."""
    with pytest.raises(SettingsError, match="SESSION_STORE_URL") as caught:
        store_from_url(url)
    assert says in str(caught.value)


@pytest.mark.parametrize(
    "url", ["sqlite:////tmp/\ud800.db", "redis://:hush\udcff@h/0", "postgresql://u:hush\udcff@h/d", "\udcff"], ids=ascii
)
def test_a_url_that_is_no_unicode_is_refused_and_shows_no_password(url: str) -> None:
    """Bad input: a byte that is not UTF-8 in the environment, say; a driver's own error would hold the password."""
    with pytest.raises(SettingsError, match="Unicode") as caught:
        store_from_url(url)
    assert "hush" not in str(caught.value)
    assert caught.value.__context__ is None


@pytest.mark.parametrize("character", ["\n", "\r", "\t", "\0", "\x7f"])
@pytest.mark.parametrize(
    "url", ["redis://:secret@one{}", "redis://:se{}cret@one", "postgresql://u:secret@one/d{}", "sqlite:///s{}.db"]
)
def test_a_control_character_is_an_error(url, character):
    """A line break is not dropped on the way to the driver, nor sent to it; it is neither shown, nor the password."""
    url = url.format(character)
    kinds = {"redis": RedisStore, "postgresql": PostgresStore}
    makers = [store_from_url, *(kind.from_url for name, kind in kinds.items() if url.startswith(name))]
    for make in makers:
        with pytest.raises(SettingsError, match="control character") as caught:
            make(url)
        assert character not in str(caught.value)
        assert "cret" not in str(caught.value)


@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_near_cache_before_a_store_that_announces_nothing(asynchronous):
    """near_cache= and announces=off contradict each other, which is said at once and not in a log."""
    with pytest.raises(SettingsError, match="Leave announces out"):
        store_from_url("postgresql://u:secret@one/d?announces=off&near_cache=2", asynchronous=asynchronous)


@pytest.mark.parametrize(
    "url",
    [
        "mongodb://user:secret@host/1",
        "mongodb://host/1?password=secret",
        "mongodb:secret@host",
        "secret@host",
        "mongodb://user:pa@secret@host",
        "mongodb://user:?secret@host",
        "redis://user:secret?more@host",
        "mongodb://user:secret?more@host/path?x=secret",
        "redis://:secret@host/first",
        "redis://user:secret@host:port",
        "redis://user:se#secret@host",
        "redis+sentinel://:secret@one,two",
        "redis+sentinel://one,two/main?sentinel_pasword=secret",
        "redis://host?timeout=secret",
        "reddis://:secret@host",
        "redis://:secret@host?near_cache=secret",
        "postgresql://user:secret@host/db?near_cache=0",
    ],
)
def test_no_password_is_shown(url):
    """Neither the message nor the error's fields contain the password."""
    with pytest.raises(SettingsError) as caught:
        store_from_url(url)
    assert "secret" not in str(caught.value)
    assert "secret" not in repr(caught.value.value)


def made(url, **options):
    """Return what the client of a Redis store would be given, without a server."""
    return store_from_url(url, **options)._make().connection_pool


@pytest.mark.parametrize(
    ("url", "due"),
    [
        ("redis://", ("localhost", 6379, 0, None, None)),
        ("redis://db.example", ("db.example", 6379, 0, None, None)),
        ("valkey://db.example:7000/3", ("db.example", 7000, 3, None, None)),
        ("redis://:p%40%2F%3Aw@db/1", ("db", 6379, 1, None, "p@/:w")),
        ("redis://me:pw@[::1]:7000", ("::1", 7000, 0, "me", "pw")),
    ],
)
@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_redis_url_is_read(url, due, asynchronous):
    """Host, port, database, user and password go to the driver as they were meant, for both forms of the store."""
    options = made(url, asynchronous=asynchronous).connection_kwargs
    assert tuple(options.get(name) for name in ("host", "port", "db", "username", "password")) == due
    assert (options["socket_timeout"], options["socket_connect_timeout"]) == (2.0, 2.0)
    assert options["retry"].get_retries() == 0


@pytest.mark.parametrize("asynchronous", [False, True])
def test_what_stands_after_the_question_mark_is_used(asynchronous, tmp_path):
    """Every option of the URL reaches the store, the pool or the connection."""
    files = [str(tmp_path / name) for name in ("ca", "cert", "key")]
    for file in files:
        Path(file).touch()
    ca, certificate, key = files
    url = "rediss://db?prefix=shop:&timeout=0.5&max_connections=7"
    url += f"&ssl_ca_certs={ca}&ssl_certfile={certificate}&ssl_keyfile={key}"
    store = store_from_url(url, asynchronous=asynchronous)
    pool = store._make().connection_pool
    assert store._prefix == b"shop:"
    assert (pool.max_connections, pool.timeout, pool.connection_kwargs["socket_timeout"]) == (7, 0.5, 0.5)
    found = [pool.connection_kwargs[name] for name in ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile")]
    assert found == files
    assert pool.connection_class.__name__ == "SSLConnection"


def test_a_plus_is_a_plus():
    """Behind the question mark as before it, whether options of ours stand beside it or not, written %2B or not."""
    for written in ("a+b", "a%2Bb"):
        sentinel = made(f"redis+sentinel://:{written}@one/main?sentinel_password={written}&timeout=1")
        assert sentinel.connection_kwargs["password"] == "a+b"
        asked = sentinel.sentinel_manager.sentinels[0].connection_pool.connection_kwargs
        assert asked["password"] == "a+b"
        for more in ("", "&connections=5", "&connections=5&", "&options=-c%20x%3D1%26&prepare=off"):
            store = store_from_url(f"postgresql://h/db?user=u&password={written}&sslrootcert=/etc/a+b%20c.pem{more}")
            read = conninfo_to_dict(store._calls.address.conninfo)
            assert (read["user"], read["password"], read["sslrootcert"]) == ("u", "a+b", "/etc/a+b c.pem")
            assert read.get("options") == ("-c x=1&" if "options" in more else None)


@pytest.mark.parametrize("asynchronous", [False, True])
def test_sentinels_are_asked_for_the_master(asynchronous):
    """The hosts of a Sentinel URL, their own account, and the master's name, account and database are kept apart."""
    url = "rediss+sentinel://me:pw@one,two:7000/main/2?sentinel_username=w&sentinel_password=x"
    pool = made(url, asynchronous=asynchronous)
    assert (pool.service_name, pool.is_master) == ("main", True)
    asked = [sentinel.connection_pool.connection_kwargs for sentinel in pool.sentinel_manager.sentinels]
    assert [(one["host"], one["port"], one["username"], one["password"]) for one in asked] == [
        ("one", 26379, "w", "x"),
        ("two", 7000, "w", "x"),
    ]
    assert tuple(pool.connection_kwargs[name] for name in ("username", "password", "db")) == ("me", "pw", 2)
    assert "SSL" in pool.connection_class.__name__


@pytest.mark.parametrize("scheme", ["redis", "rediss+cluster", "valkey+sentinel", "postgresql", "postgres"])
def test_an_asynchronous_app_gets_the_awaited_form(scheme):
    """A store across a network is awaited where the app is, and blocks where it is not."""
    url = f"{scheme}://u:p@host{'/main' if 'sentinel' in scheme or 'postgres' in scheme else ''}"
    for asynchronous in (False, True):
        store = store_from_url(url, asynchronous=asynchronous)
        assert inspect.iscoroutinefunction(store.load) is asynchronous
        assert type(store).__name__.startswith("Async") is asynchronous


def test_a_local_store_is_the_same_for_both(tmp_path):
    """SQLite and memory have one form, which asynchronous apps use too."""
    assert isinstance(store_from_url("memory://", asynchronous=True), MemoryStore)
    assert isinstance(store_from_url(f"sqlite:///{tmp_path}/s.db", asynchronous=True), SQLiteStore)


@pytest.mark.parametrize(
    ("url", "driver", "extra"), [("redis://h", "redis", "redis"), ("postgresql://h/d", "psycopg", "postgres")]
)
def test_a_driver_that_is_missing_is_named_with_its_extra(url, driver, extra):
    """Without the driver the error says what to install."""
    code = (
        f"import sys; sys.modules[{driver!r}] = None\n"
        "from session_middleware.stores import store_from_url\n"
        f"try: store_from_url({url!r})\nexcept ValueError as problem: print(problem)"
    )
    assert f'pip install "session-middleware[{extra}]"' in printed_by(code)


def test_an_app_s_store_follows_its_kind():
    """What an adapter is given as a URL is the form that fits how the app runs."""
    settings = Settings(secret_keys=["0f6a1b2c3d4e5f60718293a4b5c6d7e8f9"])
    for runtime in (ThreadRuntime(), LoopRuntime()):
        engine = attach(settings, "redis://localhost", runtime=runtime)
        assert type(engine.store).__name__.startswith("Async") is runtime.asynchronous


def test_nothing_is_imported_that_is_not_used():
    """Naming a store in memory does not import SQLite."""
    code = (
        "import sys; from session_middleware.stores import store_from_url; store_from_url('memory://');"
        "print('sqlite3' in sys.modules)"
    )
    assert printed_by(code).strip() == "False"


@pytest.mark.parametrize("asynchronous", [False, True])
@pytest.mark.parametrize(
    ("url", "plain"),
    [
        ("redis://db?near_cache=0.5", "redis://db"),
        ("redis://db/1?prefix=shop:&near_cache=0.5&timeout=3", "redis://db/1?prefix=shop:&timeout=3"),
        ("redis+cluster://one,two?near_cache=0.5", "redis+cluster://one,two"),
        ("postgresql://db/app?near_cache=0.5", "postgresql://db/app"),
        ("postgresql://db/app?schema=shop&near_cache=0.5", "postgresql://db/app?schema=shop"),
    ],
)
def test_a_near_cache_before_a_store(url, plain, asynchronous, monkeypatch):
    """near_cache= in the URL of a store that announces puts a cache of that lease before what the rest of it names."""
    asked = []
    for kind in (RedisStore, AsyncRedisStore, PostgresStore, AsyncPostgresStore):
        real = kind.from_url
        monkeypatch.setattr(kind, "from_url", lambda url, real=real: asked.append(url) or real(url))
    near = store_from_url(url, asynchronous=asynchronous)
    assert type(near).__name__ == ("AsyncNearCache" if asynchronous else "NearCache")
    assert near.lease == 0.5
    assert asked == [plain]


@pytest.mark.parametrize(
    ("driver", "package", "url"), [("redis", "redis", "redis://h"), ("psycopg", "postgres", "postgresql://h/d")]
)
def test_a_driver_that_is_missing_names_its_extra(driver: str, package: str, url: str) -> None:
    """Whether the store is imported or named by its URL, the error says what to install."""
    said = printed_by(
        f"""
import sys
sys.modules[{driver!r}] = None  # not installed
from importlib import import_module
from session_middleware.stores import store_from_url
for ask in (lambda: import_module("session_middleware.stores.{package}"), lambda: store_from_url({url!r})):
    try:
        ask()
    except (ImportError, ValueError) as problem:
        print(problem)
"""
    )
    assert said.count(f"session-middleware[{package}]") == 2
