"""The command line: `session-middleware demo | check | sessions | schema`, or `python -m session_middleware`."""

from __future__ import annotations

import argparse
import errno
import io
import os
import re
import signal
import sys
from collections.abc import Sequence

from session_middleware.errors import SessionError

__all__ = ["main"]

#: What says that nobody takes what we print, or nothing more of it.
_CANNOT_WRITE = {errno.EPIPE, errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_LIKE_AN_OPTION = re.compile(r"-[A-Za-z0-9_-]{21}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command.

    Args:
        arguments: what follows the program's name; by default what the process was given.

    Returns:
        The exit status: 0 if all is well, 1 if not (a message says what), 2 for a mistake on the command line, 130 after Ctrl-C.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):  # a terminal that has no letters for a user's name
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        try:
            options = _parser().parse_args(_with_id_last(sys.argv[1:] if arguments is None else arguments))
            status: int = options.run(options)
        except SessionError as problem:
            print(f"error: {problem}", file=sys.stderr)
            status = 1
        except KeyboardInterrupt:
            print("Stopped.", file=sys.stderr)
            status = 128 + signal.SIGINT  # as a shell says it
        finally:
            print(end="", flush=True)  # which is nothing where the shell has closed the output
    except OSError as problem:
        if problem.errno not in _CANNOT_WRITE:
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # else the interpreter tries again at its end
        if problem.errno != errno.EPIPE:  # else whoever reads has seen enough, as `| head` has
            print(f"error: the output could not be written ({problem.strerror}).", file=sys.stderr)
        return 1
    return status


def _with_id_last(arguments: Sequence[str]) -> list[str]:
    """Put a public id that begins with "-", as one in 64 does, where argparse does not take it for an option."""
    if "--" in arguments:  # whoever wrote it knows
        return list(arguments)
    ids = [text for text in arguments if _LIKE_AN_OPTION.fullmatch(text)] if arguments[:1] == ["sessions"] else []
    return [text for text in arguments if text not in ids] + (["--", *ids] if ids else [])


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="session-middleware", description="Signed-in sessions that end when they should."
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    demo = commands.add_parser("demo", help="run a small app in which every rule has a button")
    demo.add_argument("--port", type=int, default=8000, help="0 takes a free one (default: 8000)")
    demo.add_argument("--host", default="127.0.0.1", help="the address to listen on (default: 127.0.0.1)")
    demo.add_argument(
        "--insecure-dev",
        action="store_true",
        help="cookies without Secure and __Host-: for Safari, which keeps Secure cookies on https only",
    )
    demo.set_defaults(run=_demo)

    check = commands.add_parser("check", help="print the policy of an app's settings in words, and what is doubtful")
    check.add_argument(
        "--settings",
        metavar="MODULE:NAME",
        help="where the Settings are, or a wrapped app that has them; `django` for the project of "
        "DJANGO_SETTINGS_MODULE; by default the SESSION_LIFETIME_* variables of the environment",
    )
    check.set_defaults(run=_check)

    sessions = commands.add_parser("sessions", help="look at sessions in a store, and end them")
    _add_sessions(sessions)

    schema = commands.add_parser("schema", help="print the SQL of a store's tables, for a migration of your own")
    schema.add_argument("database", choices=["postgresql"])
    schema.add_argument("--name", default="session_middleware", help="the schema's (default: session_middleware)")
    schema.set_defaults(run=_schema)
    return parser


def _add_sessions(parser: argparse.ArgumentParser) -> None:
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument(
        "--store",
        metavar="URL",
        help="default: the store of the app that --settings names, else SESSION_STORE_URL, else sqlite:///sessions.db",
    )
    shared.add_argument(
        "--settings",
        metavar="MODULE:NAME",
        help="the app, or its Settings; without them only the limits of each login count",
    )
    verbs = parser.add_subparsers(required=True, metavar="VERB")

    listing = verbs.add_parser("list", parents=[shared], help="the live sessions of a user")
    listing.add_argument("subject", help="the user's id, as given to login()")
    show = verbs.add_parser("show", parents=[shared], help="one session, and why it ended")
    show.add_argument("id", help="its public id, as lists, logs and session.id show it")
    end = verbs.add_parser("end", parents=[shared], help="end one session")
    end.add_argument("id", help="its public id")
    end_all = verbs.add_parser("end-all", parents=[shared], help="end every session of a user")
    end_all.add_argument("subject", help="the user's id")
    before = verbs.add_parser("end-before", parents=[shared], help="end every session of everybody begun before")
    before.add_argument("instant", help="for example 2026-01-31T12:00:00Z, or now")
    create = verbs.add_parser("create-schema", parents=[shared], help="make the tables of a postgresql:// store, once")
    move = verbs.add_parser("move", help="take all sessions from one store to another, while the app uses both")
    move.add_argument("source", metavar="FROM_URL", help="the store they leave")
    move.add_argument("target", metavar="TO_URL", help="the store they go to")
    move.set_defaults(run=_move)
    for verb in (listing, show, end, end_all, before, create):
        verb.set_defaults(run=_sessions, verb=verb.prog.rpartition(" ")[2])


def _demo(options: argparse.Namespace) -> int:
    from session_middleware.demo import run

    def stop(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, stop)  # so that the temporary folder goes away then, too
    try:
        run(options.host, options.port, insecure_dev=options.insecure_dev)
    except KeyboardInterrupt:
        print("Stopped.")
    except (OSError, OverflowError) as problem:
        print(f"error: cannot listen on {options.host}:{options.port} ({problem}); try --port 0", file=sys.stderr)
        return 1
    return 0


def _check(options: argparse.Namespace) -> int:
    from session_middleware.commands.check import run

    return run(options.settings)


def _sessions(options: argparse.Namespace) -> int:
    from session_middleware.commands.sessions import run

    return run(options)


def _move(options: argparse.Namespace) -> int:
    from session_middleware.commands.move import run

    return run(options.source, options.target)


def _schema(options: argparse.Namespace) -> int:
    from session_middleware.stores.postgres import schema_sql

    print(schema_sql(options.name), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
