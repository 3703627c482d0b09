"""Serve one contender: `python -m benchmarks.serve GROUP NAME PORT KIND`, by one of KINDS."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from benchmarks.contenders import make


def _plain(app: Any, port: int) -> None:
    """Serve as `pip install uvicorn` and `uvicorn app:app` do, with a log of each request."""
    import uvicorn

    # Said, since what the group "bench" brings would be taken up.
    uvicorn.run(app, port=port, http="h11", loop="asyncio")


def _standard(app: Any, port: int) -> None:
    """Serve by uvicorn with the C parts that `uvicorn[standard]` has, and nothing else done for a request."""
    import uvicorn

    uvicorn.run(app, port=port, access_log=False, log_level="error", lifespan="off", server_header=False)


def _gthread(app: Any, port: int) -> None:
    """Serve by gunicorn with 8 threads."""
    from gunicorn.app.base import BaseApplication  # type: ignore[import-untyped]

    class Served(BaseApplication):  # type: ignore[misc]
        def load_config(self) -> None:
            for key, value in {
                "bind": f"127.0.0.1:{port}",
                "worker_class": "gthread",
                "workers": 1,
                "threads": 8,
                "keepalive": 60,
                "loglevel": "error",
            }.items():
                self.cfg.set(key, value)

        def load(self) -> Any:
            return app

    Served().run()


KINDS: dict[str, Callable[[Any, int], None]] = {"plain": _plain, "standard": _standard, "gthread": _gthread}


def main() -> None:
    group, name, port, kind = sys.argv[1:]
    KINDS[kind](make(group, name).app, int(port))


if __name__ == "__main__":
    main()
