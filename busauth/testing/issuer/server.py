"""A real little HTTP server for an issuer: what the demo runs, and tests across processes."""

import threading
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self

from busauth.testing.issuer.http.front import Front
from busauth.testing.issuer.http.messages import Request, Response
from busauth.testing.issuer.issuer import Issuer

_POLL_SECONDS = 0.05
_MOST_BYTES = 4 * 1024 * 1024  # of a body: what is longer is cut off, and so is no form and no JSON

_PATIENCE_SECONDS = 30.0
"""Without a byte, after which a client is hung up on: each has a thread."""

_DIGITS = 12  # of a length: more than any body has


class _Sockets(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128  # the usual 5 make a crowd of clients wait a second for their turn


class IssuerServer(Front):
    """Serves an issuer on loopback, or another host, from a thread of its own.

    `delay` is in the machine's seconds: who asks is not in this process's time.

    Args:
        issuer: whose answers are served; its `url` becomes this server's.
        host: the address to listen on.
        port: the port; 0 for a free one.
        url: the issuer's `url` instead, where it is known by another name.
        remembers: False keeps nothing of what was asked, for a server that lives long.

    Attributes:
        issuer: the same.
        port: where it listens.
    """

    def __init__(
        self,
        issuer: Issuer,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        url: str | None = None,
        remembers: bool = True,
    ) -> None:
        super().__init__(issuer)
        self.issuer = issuer
        self._remembers = remembers
        self._stopped = threading.Event()
        self._server = _Sockets((host, port), self._handler())
        self.port = int(self._server.server_address[1])
        issuer.url = url or f"http://127.0.0.1:{self.port}"
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(_POLL_SECONDS,), daemon=True
        )

    def __enter__(self) -> Self:
        """Start answering."""
        self._thread.start()
        return self

    def __exit__(
        self,
        _type: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        """Stop answering and free the port."""
        self._stopped.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _heard(self, request: Request) -> Response | None:
        if self._remembers:
            self.received.append(request)
        self._stopped.wait(self.delay)
        return self._answered(request)

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        outer = self

        class Handler(BaseHTTPRequestHandler):
            timeout = _PATIENCE_SECONDS

            def handle_any(self) -> None:
                answer = outer._heard(_read(self))
                if answer is not None:
                    with suppress(ConnectionError):  # whoever asked has gone
                        _write(self, answer)

            do_GET = do_POST = do_PUT = do_DELETE = handle_any  # noqa: N815 -- the names of http.server

            def log_message(self, *_: object) -> None:
                """Say nothing: tests look at `received`."""

        return Handler


def _read(handler: BaseHTTPRequestHandler) -> Request:
    headers = {name.lower(): value for name, value in handler.headers.items()}
    length = headers.get("content-length", "")
    # Of a number without end Python makes none: its last digits would change nothing.
    said = int(length[:_DIGITS]) if length.isdecimal() else 0
    body = handler.rfile.read(min(said, _MOST_BYTES))
    return Request(handler.command, handler.path, headers, body)


def _write(handler: BaseHTTPRequestHandler, answer: Response) -> None:
    handler.send_response(answer.status)
    for name, value in answer.head().items():
        handler.send_header(name, value)
    handler.end_headers()
    handler.wfile.write(answer.body)
