"""What the whole run says is searched for tokens and keys: whoever says one fails.

It listens where things are said, whatever test says them: what a test printed and logged, and what
the programs that it started wrote; every event and every error of busauth's own; every span and
metric; and every page that was served. A test that has to have a token said in the clear says why,
by `pytest.mark.prints_tokens("why")`.
"""

import asyncio
import base64
import json
import logging
import re
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from functools import wraps
from typing import Any

import httpx
import pytest
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import Span

from busauth.audit import Event
from busauth.errors import BusauthError

_COMPACT = re.compile(
    r"(?<![\w-])(e[yw][\w-]{8,})\.([\w-]*)\.([\w-]{16,})((?:\.[\w-]+){0,2})", re.ASCII
)
_PRIVATE = (
    re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----"),
    re.compile(r"""["'](?:d|k)["']\s*:\s*["'][\w-]{40,}["']""", re.ASCII),
)
_SHOWN = 24
_TAIL = 64 * 1024
"""Characters of a program's output that are kept: what it writes comes in pieces."""

_HAND_OUT = ("/token", "/mint", "/introspect", "/statements")
"""Where HTTP servers hand out tokens, or signed words, to whoever may have them."""


def secrets_in(text: str) -> Iterator[str]:
    """Yield what each token or key in a text begins with."""
    for match in _COMPACT.finditer(text):
        if _is_jose(match[1]):
            yield f"a token, {match[0][:_SHOWN]}..."
    for pattern in _PRIVATE:
        for match in pattern.finditer(text):
            yield f"a key, {match[0][:_SHOWN]}..."


def _is_jose(part: str) -> bool:
    try:
        header = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    except ValueError:
        return False
    return isinstance(header, dict) and "alg" in header


@dataclass(slots=True)
class Heard:
    """What was found in what is said, since it was last asked."""

    found: list[str]

    def search(self, where: str, *said: object) -> None:
        """Look through what is said somewhere."""
        for each in said:
            text = each if isinstance(each, str) else _text_of(each)
            self.found += [f"{where}: {secret}" for secret in secrets_in(text)]

    def taken(self) -> list[str]:
        """Return what was found, each once, and begin anew."""
        found, self.found = list(dict.fromkeys(self.found)), []
        return found


def _text_of(said: object) -> str:
    if isinstance(said, bytes | bytearray):
        return said.decode("utf-8", "replace")
    return "" if said is None or isinstance(said, int | float) else str(said)


class Listening(logging.Handler):
    """A plugin of pytest's; and a handler of the log, which hears what is logged.

    Attributes:
        heard: what was found since the last test ended.
    """

    def __init__(self) -> None:
        super().__init__()
        self.heard = Heard([])
        self._undo = pytest.MonkeyPatch()

    def emit(self, record: logging.LogRecord) -> None:
        """Hear a line as any handler would write it."""
        self.heard.search("the log", self.format(record))

    def pytest_sessionstart(self) -> None:
        """Begin to listen."""
        logging.getLogger("busauth").addHandler(self)
        self._after(Event, "__init__", "an event", _event)
        self._after(
            BusauthError, "__init__", "an error", lambda error, *_, **__: (error, repr(error))
        )
        self._after(Span, "end", "a span", lambda span, *_, **__: (span.to_json(),))
        self._listen_to_metrics()
        self._listen_to_programs()
        self._listen_to_pages()

    def pytest_sessionfinish(self) -> None:
        """End it."""
        self._undo.undo()
        logging.getLogger("busauth").removeHandler(self)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_teardown(self, item: pytest.Item) -> Iterator[None]:
        """Fail whichever test has said one, once all of it was said."""
        yield
        self.heard.search("printed", *(text for _, _, text in item._report_sections))
        found = self.heard.taken()
        if found and item.get_closest_marker("prints_tokens") is None:
            pytest.fail("said in the clear: " + "; ".join(found), pytrace=False)

    def _after(
        self, owner: type, name: str, where: str, said: Callable[..., tuple[object, ...]]
    ) -> None:
        """Search what is said each time that a method has returned."""
        method = getattr(owner, name)

        @wraps(method)
        def heard(self_: Any, *given: Any, **named: Any) -> Any:
            result = method(self_, *given, **named)
            self.heard.search(where, *said(self_, *given, **named))
            return result

        self._undo.setattr(owner, name, heard)

    def _listen_to_metrics(self) -> None:
        collected = InMemoryMetricReader.get_metrics_data

        def heard(reader: InMemoryMetricReader) -> Any:
            data = collected(reader)
            self.heard.search("a metric", *([data.to_json()] if data is not None else ()))
            return data

        self._undo.setattr(InMemoryMetricReader, "get_metrics_data", heard)

    def _listen_to_programs(self) -> None:
        """Hear what programs write to a test: in pieces, so that the last ones are kept."""
        communicate = subprocess.Popen.communicate

        def told(program: Any, *given: Any, **named: Any) -> Any:
            out, err = communicate(program, *given, **named)
            self._search_written(program.args, out, err)
            return out, err

        self._undo.setattr(subprocess.Popen, "communicate", told)
        protocol = asyncio.subprocess.SubprocessStreamProtocol
        received = protocol.pipe_data_received

        def heard(self_: Any, fd: int, data: bytes) -> None:
            received(self_, fd, data)
            said = self_.__dict__.setdefault("said", {})
            said[fd] = (said.get(fd, "") + data.decode("utf-8", "replace"))[-_TAIL:]
            args = self_._transport.get_extra_info("subprocess").args
            self._search_written(args, said[fd])

        self._undo.setattr(protocol, "pipe_data_received", heard)

    def _search_written(self, args: Any, *said: object) -> None:
        """Search what a program wrote, but for the one that prints tokens for development."""
        name = _name(args)
        if not re.search(r"busauth token (?!inspect|verify)", name):
            self.heard.search(f"written by {name}", *said)

    def _listen_to_pages(self) -> None:
        """Hear what HTTP servers answer, but for those that hand out tokens."""

        def search(response: httpx.Response) -> None:
            if response._request is None:  # made by hand: nobody served it
                return
            path = response.request.url.path
            if not path.endswith(_HAND_OUT):
                self.heard.search(f"served at {path}", str(response.headers), response.content)

        sync, later = httpx.Response.read, httpx.Response.aread

        def read(response: httpx.Response) -> bytes:
            content = sync(response)
            search(response)
            return content

        async def aread(response: httpx.Response) -> bytes:
            content = await later(response)
            search(response)
            return content

        self._undo.setattr(httpx.Response, "read", read)
        self._undo.setattr(httpx.Response, "aread", aread)


def _event(event: Event, *_: object, **__: object) -> tuple[object, ...]:
    return tuple(getattr(event, each.name) for each in fields(event))


def _name(args: Any) -> str:
    words = [args] if isinstance(args, str | bytes) else list(map(str, args))
    return " ".join(str(word) for word in words[:6])[:120]
