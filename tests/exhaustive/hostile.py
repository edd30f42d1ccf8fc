"""Arbitrary messages: any property, header and body that a broker takes, and who may be behind it.

Each is drawn from a seed of its own, and is known by the number at the end of its body.
"""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from random import Random
from struct import pack
from typing import Any, cast

import pamqp.frame
from pamqp.header import ContentHeader

from tests.exhaustive.encoding import (
    array,
    content_header,
    nested,
    number,
    octets,
    short,
    table,
    text,
)
from tests.exhaustive.world import CLOCK, World, issuer, prepared, token

_NUMBER = re.compile(rb'"id": (\d+)\}\Z')
_U64 = (0, 1, 1_750_000_000, 2**31, 2**32, 253_402_300_800, 2**53, 2**63 - 1, 2**63, 2**64 - 1)
_SHORTS = (
    b"",
    b"x",
    b"\xc3\xa9" * 127,
    b"\xff\xfe",
    b"\0",
    b"n" * 255,
    b"text/plain",
    b"\xed\xa0\x80",
)
_NAMES = (
    *(b"", b"a", b"tenant", b"\xc3\xa9", b"\xff", b"n" * 255, b"x-death", b"x-delivery-count"),
    *(b"x-acquired-count", b"x-first-death-queue", b"x-match", b"timestamp_in_ms", b"txn-token"),
    *(b"Authorization", b"proxy-authorization", b"busauth-proof", b"busauth-seal", b"busauth-hop"),
    *(b"busauth-attempt", b"busauth-published", b"busauth-origin", b"busauth-redrive"),
    *(b"busauth-first", b"busauth-token", b"busauth-token-sha256", b"busauth-refusal"),
    *(b"busauth-queue", b"busauth-at", b"busauth-issuer", b"busauth-subject", b"busauth-cut"),
    *(b"busauth-noted", b"busauth-", b"CC", b"BCC", b"cc"),
)
SHORTLY = 10.0
"""Seconds after which some tokens expire."""

_COPIED_TO = (b"others", b"nowhere", b"")


@dataclass(frozen=True)
class Hostile:
    """A message to be thrown.

    Attributes:
        seed: what it was drawn from.
        body, header: its content, and its content header as a frame.
        may_run: whether its handler may run for it.
        must_run: whether it is an honest one, which has to be handled.
        times: how often it is published; its handler may run for one of them.
        expires: whether the broker may take it away in time.
    """

    seed: int
    body: bytes
    header: bytes = field(repr=False)
    may_run: bool = False
    must_run: bool = False
    times: int = 1
    expires: bool = False

    @property
    def is_readable(self) -> bool:
        """Whether the client library can read it."""
        try:
            pamqp.frame.unmarshal(self.header)
        except Exception:
            return False
        return True


def number_of(body: bytes) -> int | None:
    """Return the number by which a message is known."""
    found = _NUMBER.search(body)
    return int(found[1]) if found else None


# --- values -------------------------------------------------------------------------------------


_SCALARS = (
    *(b"t\0", b"t\x01", b"t\xff", b"b\x80", b"B\xff", b"s\x80\0", b"u\xff\xff"),
    *(b"I\x80\0\0\0", b"i\xff\xff\xff\xff", b"L" + bytes(8), b"L" + b"\xff" * 8, b"V"),
    *map(number, (-(2**63), -1, 0, 1, 5, 21, 1000, 10**6, 2**63 - 1)),
    *(b"f" + pack(">f", each) for each in (0.5, math.inf, math.nan, -0.0)),
    *(b"d" + pack(">d", each) for each in (0.5, 1e308, -math.inf, math.nan)),
    *(b"D" + bytes([scale]) + pack(">i", -7) for scale in (0, 2, 28, 255)),
    *(b"T" + pack(">Q", each) for each in _U64),
    *(kind(each) for kind in (text, octets) for each in _SHORTS),
)
"""Fields of every scalar type, at their limits."""


def _scalar(rng: Random) -> bytes:
    return rng.choice(_SCALARS) if rng.randrange(5) else text(rng.randbytes(rng.randrange(40)))


def _deep(rng: Random) -> bytes:
    """A field within a field within a field."""
    value = _scalar(rng)
    for _ in range(rng.choice((1, 5, 60))):
        value = array([value]) if rng.randrange(2) else nested([(b"k", value)])
    return value


def _wide(rng: Random) -> bytes:
    return array(rng.choices(_SCALARS, k=rng.choice((0, 3, 10, 100))))


def value_of(rng: Random) -> bytes:
    """A field of any type."""
    return rng.choice((_scalar,) * 20 + (_deep, _deep, _wide, _wide, _large))(rng)


def _large(rng: Random) -> bytes:
    return text(rng.choice((b"y", b"\xff", b"\xc3\xa9")) * rng.choice((100, 8_000, 30_000)))


def _deaths(rng: Random) -> bytes:
    """A history that a sender made up."""
    fields = [
        (b"count", rng.choice((number(99), value_of(rng)))),
        (b"queue", text(rng.choice((b"orders", b"orders.dead", b"orders.retry.50")))),
        (b"reason", text(rng.choice((b"expired", b"rejected", b"delivery_limit")))),
    ]
    return array([nested(fields)] * rng.choice((1, 30)))


_PLAUSIBLE: dict[bytes, tuple[bytes, ...]] = {
    b"busauth-seal": (text(b"1.2026." + b"A" * 43), text(b"2.2026." + b"A" * 43)),
    b"busauth-published": (text(b"1700000000.000000"),),
    b"busauth-refusal": (text(b"token.expired"),),
    b"busauth-queue": (text(b"orders"),),
    b"busauth-attempt": (number(0), number(1), number(99)),
    b"busauth-redrive": (number(1), number(10**6)),
    b"busauth-hop": (number(1), number(33)),
    b"x-delivery-count": (number(4), number(19), number(2**40), number(-1)),
    b"x-acquired-count": (number(5), number(21)),
    b"txn-token": (text(b"e30.e30.e30"),),
}
"""What busauth or the broker could have written there."""


def _forged(rng: Random, name: bytes) -> bytes:
    if name == b"x-death":
        return _deaths(rng)
    return rng.choice(_PLAUSIBLE[name]) if name in _PLAUSIBLE else value_of(rng)


def _header(rng: Random) -> tuple[bytes, bytes]:
    name = rng.choice((*_NAMES, *_NAMES, rng.randbytes(rng.randrange(1, 9))))
    if name in (b"CC", b"BCC"):
        return name, array(text(rng.choice(_COPIED_TO)) for _ in range(rng.randrange(3)))
    return name, _forged(rng, name) if rng.randrange(2) else value_of(rng)


def _some_headers(rng: Random) -> list[tuple[bytes, bytes]]:
    found = dict(_header(rng) for _ in range(rng.choice((0, 0, 1, 2, 4, 4))))
    if not rng.randrange(50):
        found |= {b"%d" % n: rng.choice(_SCALARS) for n in range(rng.choice((50, 300, 2000)))}
    return list(found.items())


def _some_properties(rng: Random) -> dict[str, bytes]:
    """Any of the properties that nobody binds, rarely most of them."""
    every: dict[str, bytes] = {
        "delivery_mode": rng.choice((b"\x01", b"\x02", b"\x02", rng.randbytes(1))),
        "priority": rng.randbytes(1),
        "expiration": short(rng.choice((b"0", b"5", b"1000", b"60000", b"x"))),
        "timestamp": pack(">Q", rng.choice(_U64)),
        "user_id": short(rng.choice((b"guest", b"guest", b"root"))),
        "app_id": short(rng.choice(_SHORTS)),
    }
    share = rng.choice((0.1, 0.3, 0.9))
    return {name: value for name, value in every.items() if rng.random() < share}


def _bound_properties(rng: Random) -> dict[str, bytes]:
    every = ("content_type", "content_encoding", "correlation_id", "reply_to", "message_id")
    names = (*every, "message_type")
    return {name: short(rng.choice(_SHORTS)) for name in names if rng.random() < 0.3}


# --- bodies -------------------------------------------------------------------------------------


def _body(rng: Random, seed: int) -> bytes:
    junk = rng.choice(
        (
            b"",
            b"",
            rng.randbytes(rng.randrange(60)),
            b"\xff" * rng.choice((1, 130_000, 300_000)) if not rng.randrange(40) else b"\xff",
            b"[" * rng.choice((10, 5_000)),
            b'{"a": ' * rng.choice((3, 900)),
        )
    )
    return junk + b'{"id": %d}' % seed


# --- tokens -------------------------------------------------------------------------------------


@cache
def _hostile_tokens() -> tuple[str, ...]:
    return tuple(each for each in issuer().hostile().values() if len(each) < 40_000)


def _insufficient(rng: Random) -> str:
    """A token that is not enough, whoever signed it."""
    now = int(CLOCK.now())
    return rng.choice(
        (
            lambda: token(scope="other"),
            lambda: token(exp=now - 60, iat=now - 600),
            lambda: token(nbf=now + 3600),
            lambda: token(aud="bank"),
            lambda: issuer().forged(),
            lambda: rng.choice(_hostile_tokens()),
            lambda: "a.b.c",
            lambda: token()[:-6],
        )
    )()


def _as_any_type(rng: Random, bearer: bytes) -> bytes:
    """The token's header, of any type."""
    return rng.choice(
        (
            text(bearer),
            octets(bearer),
            array([text(bearer)]),
            nested([(b"Bearer", text(bearer))]),
            text(b"\xff" + bearer),
            text(bearer + b" " + bearer),
            value_of(rng),
        )
    )


def _without_authority(rng: Random) -> list[tuple[bytes, bytes]]:
    bearer = f"Bearer {_insufficient(rng)}".encode()
    return rng.choice(
        (
            list,
            lambda: [(b"authorization", text(bearer))],
            lambda: [(b"authorization", text(bearer))],
            lambda: [(b"authorization", _as_any_type(rng, bearer))],
        )
    )()


# --- messages -----------------------------------------------------------------------------------

Drawing = Callable[[Random, int, World, bool], Hostile]


def _honest(rng: Random, seed: int, world: World, proven: bool) -> Hostile:
    return honest_one(seed, world)


def honest_one(seed: int, world: World) -> Hostile:
    """As an honest service publishes."""
    body = b'{"id": %d}' % seed
    return Hostile(seed, body, _signed(world, body), may_run=True, must_run=True)


def _signed(world: World, body: bytes, **claims: Any) -> bytes:
    bearer = token(**claims)
    properties = prepared(world, body, bearer, content_type="application/json")
    header = ContentHeader(body_size=len(body), properties=properties)
    return pamqp.frame.marshal(header, 1)


def _decorated(rng: Random, seed: int, world: World, proven: bool) -> Hostile:
    """An honest one to which somebody has added what no proof binds; now and then a copy of it."""
    body = b'{"id": %d}' % seed
    properties = _and_more(rng, _signed(world, body))
    times = 2 if proven and not rng.randrange(4) else 1
    return _made(seed, body, properties, may_run=True, times=times)


def _late(rng: Random, seed: int, world: World, proven: bool) -> Hostile:
    """As `_decorated`, and its token has expired when it comes."""
    body = b'{"id": %d}' % seed
    made = _signed(world, body, exp=int(CLOCK.now() + SHORTLY))
    return _made(seed, body, _and_more(rng, made))


def _and_more(rng: Random, made: bytes) -> dict[str, bytes]:
    headers, message_id = _read(made)
    headers = dict(_some_headers(rng)) | headers
    return {
        **_some_properties(rng),
        "headers": table(headers.items()),
        "content_type": short(b"application/json"),
        "message_id": short(message_id),
    }


def _read(made: bytes) -> tuple[dict[bytes, bytes], bytes]:
    """Return the headers, as fields, and the message id of what an honest service has made."""
    content = cast("ContentHeader", pamqp.frame.unmarshal(made)[2])
    headers = cast("dict[str, str]", content.properties.headers)
    fields = {name.encode(): text(value) for name, value in headers.items()}
    return fields, (content.properties.message_id or "").encode()


def _stolen(rng: Random, seed: int, world: World, proven: bool) -> Hostile:
    """A genuine token, and a proof of another message."""
    headers, _ = _read(_signed(world, b'{"id": 0}'))
    headers = dict(_some_headers(rng)) | headers
    properties = {
        **_some_properties(rng),
        **_bound_properties(rng),
        "headers": table(headers.items()),
    }
    return _made(seed, _body(rng, seed), properties, may_run=not proven)


def _nobodys(rng: Random, seed: int, world: World, proven: bool) -> Hostile:
    """No token, or one that is not enough; with luck it says that it is a copy of ours."""
    headers = dict(_some_headers(rng)) | dict(_without_authority(rng))
    properties = {**_some_properties(rng), **_bound_properties(rng)}
    if headers or rng.randrange(2):
        properties["headers"] = table(headers.items())
    return _made(seed, _body(rng, seed), properties)


def _odd(rng: Random, seed: int, world: World, proven: bool) -> Hostile:
    """A genuine token in a header of any type."""
    bearer = f"Bearer {token()}".encode()
    headers = dict(_some_headers(rng)) | {b"authorization": _as_any_type(rng, bearer)}
    properties = {**_some_properties(rng), **_bound_properties(rng)}
    properties["headers"] = table(headers.items())
    return _made(seed, _body(rng, seed), properties, may_run=not proven)


def _made(
    seed: int,
    body: bytes,
    properties: dict[str, bytes],
    *,
    may_run: bool = False,
    times: int = 1,
) -> Hostile:
    header = content_header(len(body), properties)
    return Hostile(
        seed, body, header, may_run=may_run, times=times, expires="expiration" in properties
    )


_KINDS: tuple[Drawing, ...] = (
    *(_nobodys,) * 10,
    *(_odd,) * 3,
    *(_stolen,) * 3,
    *(_decorated,) * 2,
    *(_late,) * 2,
    *(_honest,) * 2,
)


def drawn(seed: int, world: World, *, proven: bool, readable: bool) -> Hostile:
    """The message that belongs to a seed.

    Args:
        seed: its number.
        world: whose clock says when it was published.
        proven: whether the consumer demands proofs.
        readable: whether the client library must be able to read it.
    """
    rng = Random(seed)
    while True:
        found = rng.choice(_KINDS)(rng, seed, world, proven)
        if len(found.header) < 120_000 and (found.is_readable or not readable):
            return found
