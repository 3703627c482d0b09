"""Serve one contender: `python -m benchmarks.serve GROUP NAME PORT [gthread]`, under uvicorn, or gunicorn with 8 threads."""

from __future__ import annotations

import sys
from typing import Any

from benchmarks.contenders import make


def main() -> None:
    group, name, port, *kind = sys.argv[1:]
    app = make(group, name).app
    if not kind:
        import uvicorn

        uvicorn.run(app, port=int(port), access_log=False, log_level="error", lifespan="off", server_header=False)
        return
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


if __name__ == "__main__":
    main()
