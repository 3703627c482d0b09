"""Whatever somebody takes for the URL of a store: no error, no attribute of one, no command shows the password in it."""

from __future__ import annotations

import traceback

import pytest

from session_middleware.__main__ import main
from session_middleware.adapters.attach import default_store
from session_middleware.errors import SessionError, SettingsError
from session_middleware.stores import masked, store_from_url
from session_middleware.stores.postgres import AsyncPostgresStore, PostgresStore
from session_middleware.stores.postgres.address import Address
from session_middleware.stores.redis.url import address_of

SECRET = "hunter2"

#: What other tools call a URL, slips of the pen, and our own forms with a password that was not escaped.
HOSTILE = [
    "hunter2",
    ":hunter2",
    "hunter2@h",
    "u:hunter2@h:5432/db",
    "host=db.example user=app password=hunter2 dbname=app",
    "Host=db.example;Username=app;Password=hunter2",
    "Server=db.example,1433;User Id=app;Password=hunter2",
    "shop.redis.cache.windows.net:6380,password=hunter2=,ssl=True,abortConnect=False",
    "redis-cli -h h -a hunter2",
    "PGPASSWORD=hunter2 psql -h h",
    "jdbc:postgresql://h/db?user=app&password=hunter2",
    "postgresql+psycopg://app:hunter2@h/db",
    "mysql://app:hunter2@h/db",
    "hunter2://h",
    "memory://hunter2",
    "sqlite://app:hunter2@h/db",
    "sqlite:///sessions.db?key=hunter2",
    "sqlite:///sessions.db#hunter2",
    "redis:hunter2@h",
    "redis//:hunter2@h",
    "REDIS://:hunter2@h",
    "redis:///hunter2",
    "redis://u:hunter2/x@h/0",
    "redis://u:6379/hunter2@h",
    "redis://u:6379?hunter2@h",
    "redis://u:6379?hunter2",
    "redis://u:6379?timeout=hunter2@h",
    "redis://u:pw@h/0#hunter2",
    "redis://u:hunter2@h:63790000/0",
    "redis://u:hunter2@h/0?timeout=x",
    "redis://u:hunter2@h/0\n",
    "redis://h/0?password=hunter2",
    "redis://h/0,password=hunter2",
    "redis://shop.redis.cache.windows.net:6380,password=hunter2=,ssl=True",
    "rediss://shop.redis.cache.windows.net:6380,password=hunter2",
    "redis://h:6379;password=hunter2",
    "redis+cluster://h:6379,password=hunter2",
    "redis+cluster://u:hunter2@h/hunter2",
    "redis+sentinel://h:26379,serviceName=main,password=hunter2",
    "redis+sentinel://u:6379/hunter2@h",
    "redis+sentinel://u:hunter2@h/",
    "redis://:hunter2@h?near_cache=hunter2",
    "postgresql:host=h password=hunter2",
    "postgresql:/u:hunter2@h/db",
    "postgresql://h/db password=hunter2",
    "postgresql://h/db?timeout=2 password=hunter2",
    "postgresql://h,password=hunter2/db",
    "postgresql://h:5432,password=hunter2/db",
    "postgresql://h:5432/db;user=app;password=hunter2",
    "postgresql://h:5432/db&password=hunter2",
    "postgresql://u:pa/ss?timeout=hunter2@h/db",
    "postgresql://u:pa/ss?schema=hunter2@h/db",
    "postgresql://u:pa/ss?prepare=hunter2&announces=no@h/db",
    "postgresql://u:pa/ss?connections=hunter2@h/db",
    "postgresql://u:hunter2/@h/db",
    "postgresql://u:5432/hunter2@h/db",
    "postgresql://u:a@hunter2@h/db",
    "postgresql://u:hun%zzhunter2@h/db",
    "postgresql://u:hunter2%FFx@h/db",
    "postgresql://u:hunter2%FFx@h/db?connections=5",
    "postgresql://u@h/db?password=hunter2%FFx",
    "postgresql://u:hunter2\udcff@h/db",
    "postgresql://u:hunter2@h:54x2/db",
    "postgresql://hunter2@[::1/db",
    "postgresql://u:p@h/db?schema=Hunter2",
    "postgresql://u@h/db?passwd=hunter2",
    "postgresql://u@h/db?password=hunter2&timeout=x",
    "postgresql://h/db?sslpassword=hunter2&near_cache=x",
    "postgresql://h/db?near_cache=2&near_cache=3&password=hunter2",
    "postgresql://u:hunter2@/db?host=/tmp&port=hunter2",
]


def shown_by(problem):
    """Return all that a log, an error reporter or a debugger shows of an exception, and of those it came from."""
    seen, texts = problem, []
    while seen is not None:
        texts += [str(seen), repr(seen), repr(seen.args), repr(vars(seen))]
        seen = seen.__cause__ or seen.__context__
    return "\n".join([*texts, *traceback.format_exception(problem)])


@pytest.mark.parametrize("asynchronous", [False, True])
@pytest.mark.parametrize("url", HOSTILE)
def test_no_error_shows_the_password(url, asynchronous):
    """Neither the message nor an attribute of the error, nor what it came from, contains the password."""
    with pytest.raises(SessionError) as caught:
        store_from_url(url, asynchronous=asynchronous)
    assert SECRET not in shown_by(caught.value).lower()
    assert isinstance(caught.value, SettingsError)
    assert caught.value.fix


@pytest.mark.parametrize("url", HOSTILE)
def test_no_command_shows_the_password(url, monkeypatch, capsys, tmp_path):
    """The same for each command that takes a URL, and for the variables of a move."""
    monkeypatch.chdir(tmp_path)
    for arguments in (
        ["list", "alice", f"--store={url}"],
        ["create-schema", f"--store={url}"],
        ["move", url, "redis://127.0.0.1:1"],
        ["move", "redis://127.0.0.1:1", url],
    ):
        assert main(["sessions", *arguments]) == 1
    told = capsys.readouterr()
    assert SECRET not in (told.out + told.err).lower()
    monkeypatch.setenv("SESSION_STORE_URL", "memory://")
    for variable in ("SESSION_STORE_MOVE_TO", "SESSION_STORE_MOVE_FROM"):
        monkeypatch.setenv(variable, url)
        with pytest.raises(SessionError) as caught:
            default_store()
        assert SECRET not in shown_by(caught.value).lower()


@pytest.mark.parametrize("kind", [PostgresStore, AsyncPostgresStore])
@pytest.mark.parametrize("url", [url for url in HOSTILE if url.startswith("postgresql://") and "near_cache" not in url])
def test_a_store_of_postgresql_shows_no_password(url, kind):
    """The same where the store is made by its own name."""
    with pytest.raises(SessionError) as caught:
        kind.from_url(url)
    assert SECRET not in shown_by(caught.value).lower()


@pytest.mark.parametrize("asynchronous", [False, True])
@pytest.mark.parametrize("more", ["timeout=2", "near_cache=2"])
@pytest.mark.parametrize(
    "url",
    [
        "redis://u:hunter2@h/0?",
        "redis+cluster://u:hunter2@h?",
        "redis+sentinel://u:hunter2@h/main?sentinel_username=s&sentinel_password=hunter2&",
        "postgresql://u:hunter2@h/db?sslpassword=hunter2&",
    ],
)
def test_a_store_that_was_made_shows_no_password(url, more, asynchronous):
    """Nor does what it is made of: an error reporter or a debugger shows the variables of every frame."""
    store = store_from_url(url + more, asynchronous=asynchronous)
    assert SECRET not in repr(store)
    assert SECRET not in repr(vars(getattr(store, "store", store)))
    if url.startswith("redis"):
        assert SECRET not in repr(address_of(url.rstrip("?&")))


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("postgresql://u:p?timeout=hunter2@h/db", "p?timeout=hunter2"),
        ("postgresql://u:p?schema=hunter2@h/db", "p?schema=hunter2"),
        ("postgresql://u:hunter2#x@h/db", "hunter2#x"),
        ("postgresql://u:p@h/db#hunter2", 'database "db#hunter2" does not exist'),
        ("postgresql://u:p@h/db;hunter2", 'database "db;hunter2" does not exist'),
    ],
)
def test_what_libpq_takes_for_a_password_or_a_name_is_not_shown(url, words):
    """A bare ? or # belongs to the password, as libpq reads it; a name with something behind it is hidden everywhere."""
    store = PostgresStore.from_url(url)
    assert SECRET not in repr(store)
    assert SECRET not in store._calls.address.without_secrets(words)
    assert store._calls.schema == "session_middleware"


def test_libpqs_words_are_shown_without_secrets():
    """Every secret of an address is taken out of a text, wherever it stands, also one that is a piece of another."""
    address = Address("host=h user=u password=hunter sslpassword=hunter2", 2)
    assert address.without_secrets('bad "hunter2",\n hunter and hunter2') == 'bad "***", *** and ***'


def test_a_database_called_as_the_password_is_shown():
    """What an address shows of itself does not tell by a gap that the password is another of its words."""
    assert Address("postgresql://app:app@app/app", 2).shown == "postgresql://app/app"


@pytest.mark.parametrize(
    ("url", "says"),
    [
        (
            "host=db.example user=app password=hunter2 dbname=app",
            "for PostgreSQL write postgresql://user:password@host",
        ),
        ("Host=db.example;Username=app;Password=hunter2", "for PostgreSQL write postgresql://user:password@host"),
        ("shop.redis.cache.windows.net:6380,password=hunter2=,ssl=True", "write rediss://user:password@host:6380/0"),
        ("rediss://shop.example:6380,password=hunter2", "Write rediss://user:password@host"),
        ("redis+sentinel://h,serviceName=main", "Write rediss+sentinel://user:password@host:26379"),
        ("redis-cli -h h -a hunter2", "Did you mean redis://"),
        ("redis+sentinel://u:6379/hunter2@h", "written %2F"),
        ("postgresql://h/db;password=hunter2", "Write postgresql://user:password@host"),
        ("postgresql://u:pa/ss?timeout=hunter2@h/db", "Write timeout=2"),
    ],
)
def test_another_products_form_is_told_ours(url, says):
    """The message still names the form that is wanted."""
    with pytest.raises(SessionError) as caught:
        store_from_url(url)
    assert says in str(caught.value)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("memory://", "memory://"),
        ("sqlite:////var/lib/my app/sessions.db", "sqlite:////var/lib/my app/sessions.db"),
        (
            "redis://u:pw@db.example:6379/3?timeout=2&prefix=shop:",
            "redis://***@db.example:6379/3?timeout=***&prefix=***",
        ),
        ("valkeys://[::1]:7000", "valkeys://[::1]:7000"),
        ("redis+cluster://one:1,two:2", "redis+cluster://one:1,two:2"),
        ("rediss+sentinel://:pw@one,two/main/2", "rediss+sentinel://***@one,two/main/2"),
        ("postgres://u:p?w@one,two:5432/db?sslmode=require", "postgres://***"),
        ("postgresql://u:pw@one,two:5432/db?sslmode=require", "postgresql://***@one,two:5432/db?sslmode=***"),
    ],
)
def test_what_is_harmless_is_shown(url, shown):
    """Of a URL that is written as ours, errors show servers, path and the names of options."""
    assert masked(url) == shown
