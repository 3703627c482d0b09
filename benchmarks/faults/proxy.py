"""A proxy before a store's server that can make it slow, cut the line half-open, or lead to another server."""

from __future__ import annotations

import contextlib
import queue
import socket
import threading
import time

__all__ = ["Proxy"]


class Proxy:
    """Carries bytes between clients and a server on this machine.

    Args:
        server: its port.

    Attributes:
        port: where clients connect.
        delay: seconds by which each answer is late.
    """

    def __init__(self, server: int) -> None:
        self._server = server
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]
        self.delay = 0.0
        self._swallows = threading.Event()
        self._mutex = threading.Lock()
        self._open: set[socket.socket] = set()
        threading.Thread(target=self._accept, daemon=True).start()

    def swallow(self) -> None:
        """From now on nothing arrives and nobody is told, as on a line that was cut."""
        self._swallows.set()

    def restore(self) -> None:
        """Carry again what comes on new connections; those of before stay silent, as after a cut."""
        with self._mutex:
            self._swallows = threading.Event()

    def lead_to(self, server: int) -> None:
        """Close all connections and lead new ones to another server."""
        self._server = server
        self._close_all()

    def close(self) -> None:
        """Close everything."""
        with contextlib.suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)  # wakes who waits for the next client, as closing would not
        self._listening.close()
        self._close_all()

    def _close_all(self) -> None:
        with self._mutex:
            closing, self._open = self._open, set()
        for one in closing:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listening.accept()
                try:
                    server = socket.create_connection(("127.0.0.1", self._server), 2)
                except OSError:
                    client.close()
                    continue
                server.settimeout(None)
                for one in (client, server):
                    one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                with self._mutex:
                    self._open |= {client, server}
                    swallows = self._swallows
                for source, target, answers in ((client, server, False), (server, client, True)):
                    carrying = (source, target, swallows, answers)
                    threading.Thread(target=self._carry, args=carrying, daemon=True).start()

    def _carry(self, source: socket.socket, target: socket.socket, swallows: threading.Event, answers: bool) -> None:
        # What is late is late by so much after it came, however much comes meanwhile: a slow line is not a narrow one.
        late: queue.SimpleQueue[tuple[float, bytes]] = queue.SimpleQueue()
        threading.Thread(target=self._deliver, args=(late, target, swallows), daemon=True).start()
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                late.put((time.monotonic() + (self.delay if answers else 0.0), data))
        late.put((time.monotonic(), b""))
        with self._mutex:
            self._open.discard(source)
        source.close()

    @staticmethod
    def _deliver(
        late: queue.SimpleQueue[tuple[float, bytes]], target: socket.socket, swallows: threading.Event
    ) -> None:
        with contextlib.suppress(OSError):
            while True:
                due, data = late.get()
                if not data:
                    break
                time.sleep(max(0.0, due - time.monotonic()))  # being late is what this line plays
                if not swallows.is_set():
                    target.sendall(data)
            if not swallows.is_set():
                target.shutdown(socket.SHUT_RDWR)
