"""What busauth raises, and what it refuses.

```text
BusauthError
├── Refused                  a verdict; `code`, `found`, `expected`
│   ├── NotGenuine           401  not proven to be an issuer's word       -> <queue>.rejected
│   ├── Untimely             401  genuine, but not valid at this instant   -> <queue>.dead
│   ├── Forbidden            403  genuine, but not allowed                -> <queue>.dead
│   ├── BadMessage           400  allowed, but the message is unusable    -> <queue>.dead
│   └── HandlerFailed        500  accepted, but the handler gave up       -> <queue>.dead
├── Deferred                 something is out of reach: try again later
├── Reject                   raised *by a handler*: dead-letter this message, do not retry
├── PublishError             a message was not published
│   └── NotAllPublished      some of a batch were not; says which
├── CallerError              no caller in scope, or the scope has ended
└── ConfigurationError       wrong settings, found before anything runs
```

A `Refused` is safe to log, to count and to answer with: it holds no token and no claim that was
not part of the rule. Its `code` is stable; codes are listed in docs/refusals.md.
"""

from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from http import HTTPStatus
from itertools import islice
from typing import ClassVar

from busauth._redaction import redact, redact_cut

EVIDENCE_LIMIT = 200
"""Characters of `found` and `expected` that are kept: a sender chooses some of them."""

_LOOKED_AT, _LEVELS = 5 * EVIDENCE_LIMIT, 8
"""Characters, and levels of nesting, that are looked at: a token may be cut at their end."""

_REASONS, _PLACES = 5, 10
"""Reasons that an error of a batch tells, and places that it tells of each."""


class BusauthError(Exception):
    """The root of everything that busauth raises on purpose."""


class Refused(BusauthError):  # noqa: N818 -- the design's word is refusal; it is a verdict
    """A verdict: this delivery may not run.

    Args:
        code: the stable, dotted machine code, such as ``token.signature``.
        found: what was seen, bounded and printable; never a token.
        expected: what would have been accepted.
    """

    status: ClassVar[int] = 401
    genuine: ClassVar[bool] = True
    """Whether the token had been proven genuine when the refusal was made."""

    mistake: Exception | None = None
    """The error of a check that a user brought, where that refused; the log has its traceback."""

    onward: bool = False
    """Whether it says why no token goes on: a handler that lacks one is not tried again."""

    def __init__(self, code: str, *, found: object = None, expected: object = None) -> None:
        self.code = code
        self.found = evidence(found)
        self.expected = evidence(expected)
        super().__init__(self.detail)

    @property
    def detail(self) -> str:
        """The evidence as one line: ``code: got X, expected Y``."""
        parts = [f"got {self.found}"] if self.found is not None else []
        if self.expected is not None:
            parts.append(f"expected {self.expected}")
        return f"{self.code}: {', '.join(parts)}" if parts else self.code

    def problem(self) -> dict[str, str | int]:
        """Return problem details (RFC 9457): status and code, and nothing of the evidence."""
        return {
            "type": f"urn:busauth:refusal:{self.code}",
            "title": _phrase(self.status),
            "status": self.status,
            "code": self.code,
        }

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.detail}>"


def _phrase(status: int) -> str:
    """Return what a status is called; one without a name is what its class is (RFC 9110, 15)."""
    for known in (status, status // 100 * 100):
        with suppress(ValueError):
            return HTTPStatus(known).phrase
    return "Error"


class NotGenuine(Refused):
    """The token was not proven to be the configured issuer's word for this audience."""

    genuine = False


class Untimely(Refused):
    """The token is genuine, not valid at this instant, and no policy accepted that."""


class Forbidden(Refused):
    """The caller is genuine and in time, and may not do this."""

    status = 403


class BadMessage(Refused):
    """The caller may do this, and the message itself cannot be used."""

    status = 400


class HandlerFailed(Refused):
    """The message was accepted, and its handler failed.

    Attributes:
        retry: whether another attempt could succeed.
        error: the type of the error with which it failed, by name, where it is one of its own.
    """

    status = 500

    def __init__(self, code: str, *, found: object, retry: bool, error: str | None = None) -> None:
        super().__init__(code, found=found)
        self.retry = retry
        self.error = error


class Deferred(BusauthError):  # noqa: N818 -- the design's word: a decision, not a fault
    """What a decision needs is out of reach; no message is guilty of it.

    Args:
        reason: what is out of reach, for people.
        probe: awaited before trying again; returns when it is back, raises `Deferred` while
            it is not. Without one, time alone decides.
    """

    onward: bool = False
    """Whether no token to go on with can be had now: a handler's message is given back for it."""

    def __init__(
        self, reason: str, *, probe: Callable[[], Awaitable[object]] | None = None
    ) -> None:
        super().__init__(reason)
        self.reason = reason
        self.probe = probe


Transient = tuple[type[Exception], ...]
"""Kinds of errors that are nobody's fault, next to `OSError`."""


def defer_if_transient(what: str, error: Exception, transient: Transient = ()) -> None:
    """Raise `Deferred` for an error that is nobody's fault, and return for every other.

    One rule for all objects that a user brings: an `OSError`, of which `ConnectionError` and
    `TimeoutError` are kinds, is nobody's fault, and so is what was declared to be. A group is, if
    all that is in it is. Anything else is a verdict, or a mistake, which accepts nothing.

    Args:
        what: what was asked, for people, such as "the replay memory is".
        error: what it raised.
        transient: what was declared; see `GuardOptions.transient`.

    Raises:
        Deferred: from the error.
    """
    kinds = (Deferred, OSError, *transient)
    if isinstance(error, ExceptionGroup):
        is_transient = error.split(kinds)[1] is None
    else:
        is_transient = isinstance(error, kinds) and not isinstance(error, BusauthError)
    if is_transient:
        raise Deferred(f"{what} out of reach: {type(error).__name__}") from error


@contextmanager
def told_to_handlers(transient: Transient = ()) -> Iterator[None]:
    """Mark what says that no token goes on, for who runs the handler that lacks it.

    Args:
        transient: kinds of errors that are nobody's fault, next to `OSError`.

    Raises:
        Refused: marked.
        Deferred: marked; also for an error that is nobody's fault, a time that is over among them.
    """
    try:
        try:
            yield
        except Exception as error:
            defer_if_transient("who gives the token that goes on is", error, transient)
            raise
    except (Refused, Deferred) as error:
        error.onward = True
        raise


def held_by(error: BaseException) -> Iterator[BaseException]:
    """Yield what a group holds, in order, groups in it looked into; any other error is all of it.

    Args:
        error: what was raised, by a task group perhaps.
    """
    waiting = [error]  # a list and no recursion: how deep groups nest is somebody else's choice
    while waiting:
        each = waiting.pop()
        if isinstance(each, BaseExceptionGroup):
            waiting.extend(reversed(each.exceptions))
        else:
            yield each


class Reject(BusauthError):  # noqa: N818 -- reads as a statement: raise Reject("card declined")
    """Raised by a handler for a message that will never succeed: dead-lettered, not retried.

    One in an exception group rejects as well, whatever else the group holds.

    Args:
        reason: why, for whoever reads the dead letters. It is published with the message.
    """

    def __init__(self, reason: str) -> None:
        self.reason = evidence(reason) or ""
        super().__init__(self.reason)  # whoever prints it prints what may be shown


class PublishError(BusauthError):
    """A message was refused before it was sent, or the broker did not confirm that it was routed.

    Where it was sent and no answer came (a timeout, a closed connection), its fate is unknown, and
    the reason says so: the broker may have the message, or take it later.

    Args:
        reason: what stood in the way and what to do about it.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class NotAllPublished(PublishError):  # noqa: N818 -- says what it is, as the others do
    """Some messages of a batch were not published; the others were.

    Attributes:
        errors: what went wrong, by the message's place in the batch, from 0 on.
    """

    def __init__(self, errors: Mapping[int, PublishError]) -> None:
        self.errors = errors
        places: dict[str, list[int]] = {}
        for place, error in errors.items():
            places.setdefault(error.reason, []).append(place)
        told: list[str] = []
        for reason, at in islice(places.items(), _REASONS):  # a batch may have thousands
            shown = ", ".join(map(str, at[:_PLACES]))
            rest = f" and {len(at) - _PLACES} more" if len(at) > _PLACES else ""
            told.append(f"at place{'s' if len(at) > 1 else ''} {shown}{rest}: {reason}")
        if (more := len(places) - len(told)) > 0:
            told.append(f"and {more} more reasons, see `errors`")
        found = "1 message was" if len(errors) == 1 else f"{len(errors)} messages were"
        super().__init__(f"{found} not published; {'; '.join(told)}")


class CallerError(BusauthError):
    """There is no caller to act for, or its handler has ended."""


class ConfigurationError(BusauthError, ValueError):
    """Settings or a decorated function that cannot work, told before anything runs."""


def evidence(value: object) -> str | None:
    """Render a value as bounded, printable, single-line text without tokens; None stays None.

    Of a large value as much is looked at as is shown: it may be a sender's.
    """
    if value is None:
        return None
    text = value if isinstance(value, str) else repr(_beginning(value, _LEVELS))
    is_cut = len(text) > _LOOKED_AT
    if is_cut:
        text = redact_cut(text[:_LOOKED_AT])
    elif "." in text:  # as in every token; most of what is told has none
        text = redact(text)
    # One line, and no escapes for a terminal: a sender's text must not write a log's next line.
    text = text if text.isprintable() else ascii(text)
    is_cut = is_cut or len(text) > EVIDENCE_LIMIT
    return f"{text[: EVIDENCE_LIMIT - 1]}…" if is_cut else text


def _beginning(value: object, levels: int) -> object:
    """Return what of a value can come to be shown."""
    match value:
        case str() | bytes() | bytearray():
            return value[:_LOOKED_AT]
        case list() | dict() if not levels:
            return ...
        case list():
            return [_beginning(item, levels - 1) for item in value[:EVIDENCE_LIMIT]]
        case dict():
            shown = islice(value.items(), EVIDENCE_LIMIT)
            return {_beginning(name, 0): _beginning(item, levels - 1) for name, item in shown}
    return value
