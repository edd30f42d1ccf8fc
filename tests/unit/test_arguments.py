"""Arguments are held to their annotations where they are said."""

import inspect
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, Literal, Protocol

import pytest
from pydantic import BaseModel, ValidationError

import busauth
from busauth import (
    Binding,
    Bus,
    Caller,
    ConfigurationError,
    Guard,
    OnError,
    Publication,
    StaticKeys,
    Verifier,
    delegation,
    expiry,
    letters,
    messages,
    revocation,
    tokens,
)
from busauth._arguments import checked, checked_class, fits, ranges, told
from busauth.messages import MessageSecurity, TrustedPublisher
from busauth.revocation import Transmitter, Transmitters
from busauth.testing import Issuer
from busauth.tokens import ClientSecretBasic, Fetcher, JWKSOptions, shared_encryption_key
from tests.unit.support import pem_of, private_key

ODD = [
    *(None, 5, -1, 1.5, True, "", "x", b"", b"x", object(), int, len),
    *([], {}, (), ("a",), [None], [5], {"a": 1}, {1: "a"}, {"a": b"short"}),
]
DOORS = (busauth, tokens, messages, expiry, revocation, letters, delegation)
PUBLIC = {name: getattr(door, name) for door in DOORS for name in door.__all__}
URL = "amqp://guest:guest@localhost/"
PEM = {"key": pem_of(private_key("ES256")), "algorithm": "ES256"}
SECRET = shared_encryption_key(bytes(32), key_id="k")


def sample(issuer: Issuer) -> dict[str, dict[str, Any]]:
    """Return what each public name may be made with, each argument of which is then replaced."""
    keys = StaticKeys(issuer.jwks())
    desk = letters.StatementSigner("d", private_key("ES256"), algorithm="ES256")
    guard = Guard(Verifier(keys, issuer="https://i", audience="a"))
    named = {"issuer": "https://i", "audience": "a"}
    asks = ClientSecretBasic("a", "b")
    idp = delegation.TokenExchange("https://i", client=asks)
    transmitters = Transmitters([Transmitter("n", keys)], audience="a")
    return {
        "Bus": {"url": URL, "guard": guard, "service": "s"},
        "Binding": {"exchange": "e"},
        "CheckpointFile": {"path": "x", "key": bytes(32)},
        "ClientSecretBasic": {"client_id": "a", "secret": "b"},
        "ClientSecretPost": {"client_id": "a", "secret": "b"},
        "Decryption": {"keys": SECRET},
        "FreshToken": {"token": "t"},
        "KeptToken": {"keys": None},
        "LetterKeys": {"keys": SECRET},
        "Desk": {
            "guard": guard,
            "signer": desk,
        },
        "OperatorToken": {"token": "t", "desk": "https://desk"},
        "StatementSigner": {"name": "d", **PEM},
        "EventLog": {},
        "Exchange": {"exchanger": idp},
        "EventSigner": {"name": "n", "audience": "a", **PEM},
        "FeedPublisher": {"url": URL},
        "Fetcher": {},
        "Guard": named,
        "InProcessReplay": {"keep_for": 60.0},
        "Introspection": {**named, "endpoint": "https://i/", "client": asks},
        "JwtGrant": {"issuer": "https://i", "client": asks, "through": idp},
        "JWKS": {"url": "https://i/k"},
        "MessageSecurity": {},
        "MutualTls": {"client_id": "c", "certificate": "c.pem"},
        "Onward": {"exchanger": idp, "audience": "a"},
        "PrivateKeyJwt": {"client_id": "c", **PEM},
        "ProofSigner": {"name": "c", **PEM},
        "Proofs": {"publishers": [TrustedPublisher("n", keys)], "max_age": 60.0},
        "TrustedPublisher": {"name": "n", "keys": keys},
        "Redrive": {"url": URL, "guard": guard, "queue": "q", "keys": None},
        "Release": {"url": URL, "guard": guard, "queue": "q"},
        "RetiredKeys": {"keep_for": 60.0, "sources": ["a"]},
        "RevocationFeed": {"url": URL, "transmitters": transmitters},
        "Received": {"body": b"", "exchange": "", "routing_key": "q", "redelivered": False},
        "Route": {"exchange": "e", "key": "k"},
        "Sessions": {**named, "store": None},
        "StaticKeys": {"keys": issuer.jwks()},
        "SelfSigned": {"workload": "w", **PEM},
        "TokenExchange": {"issuer": "https://i", "client": asks},
        "TransactionTokens": {"issuer": "https://i", "trust_domain": "d", "client": asks},
        "TokenEncryption": {"recipients": {"a": SECRET}},
        "Transmitter": {"name": "n", "keys": keys},
        "Transmitters": {"transmitters": [Transmitter("n", keys)], "audience": "a"},
        "UnsafeHttp": {},
        "Verifier": {**named, "keys": keys},
        "Verifiers": {},
        "Voucher": {"exchanger": idp, "audience": "a"},
        "Wanted": {},
        "keycloak": {},
        "load_settings": {},
        "shared_encryption_key": {"secret": bytes(32), "key_id": "k"},
        "shared_secret": {"secret": bytes(64)},
    }


_ELSEWHERE = frozenset(
    {
        *("Accept", "Actor", "Caller", "Event", "Late", "LateToken", "Letter"),
        *("Proven", "Provenance", "Publication", "Readiness", "Released"),
        *("Found", "Group", "Chapter", "Record", "Redriven", "groups", "history", "look"),
        *("Accepted", "Copy", "Held", "Judge", "NotNow", "Outcome", "Refusal"),
        *("Foreseen", "Stage", "pure"),
        *("Exchanged", "ExchangeRequest", "Renewed", "Subject", "Transaction"),
        *("SecurityEvent", "Session", "StatedLetter"),
        *(
            "GuardedConsumer",
            "Profile",
            "SystemClock",
            "as_nobody",
            "bearer_token",
            "dead_letters",
            "answered",
            "found",
        ),
        *("keep_beating", "log_event"),
        *("TolerantConnection", "TolerantRobustConnection", "TolerantTransport"),
        *("Answer", "Authenticators", "Checkpoint", "CompactToken"),
        *("Credentials", "FormerKey", "Freshness", "KeptFor", "Key", "Original", "Position"),
        *("OutgoingMessage", "Properties", "ReplayKey", "Reply", "Retired", "SeenMessage"),
        *("Signed", "SignedBy", "Target", "Verified"),
    }
)
"""Values that busauth hands out, or that are made for each message, and what is awaited."""


def test_nothing_public_fails_in_its_depth(issuer: Issuer) -> None:
    """Whatever is handed to whatever is public, it is taken or refused in a sentence."""
    found = []
    for name, good in sample(issuer).items():
        made = PUBLIC[name]
        for parameter in inspect.signature(made).parameters.values():
            for odd in ODD:
                several = parameter.kind is parameter.VAR_POSITIONAL
                given, named = ((odd,), {}) if several else ((), {parameter.name: odd})
                try:
                    made(*given, **{**good, **named})
                except ConfigurationError:
                    pass
                except Exception as error:
                    found.append(f"{name}({parameter.name}={odd!r}): {error!r}")
    assert "\n".join(found) == ""


async def handle(caller: Caller) -> None:
    """Do nothing."""


HELD = [*ODD, [("shop", "k")], ({"exchange": "shop"},), {5}, [b"a"], (Binding("shop"), None)]


@pytest.mark.parametrize("of_a_bus", [True, False])
def test_no_decorator_fails_in_its_depth(of_a_bus: bool, issuer: Issuer) -> None:
    """The same of what decorators are given, of what collections hold, and of what iterators do."""
    verifier = Verifier(StaticKeys(issuer.jwks()), issuer="https://i", audience="a")
    found = []
    decorator = Bus.consumer if of_a_bus else Guard.__call__
    for name in [*inspect.signature(decorator).parameters][1:]:
        for odd in [*HELD, *(iter(each) for each in HELD if isinstance(each, list | tuple))]:
            guard = Guard(verifier)
            made: Any = Bus(URL, guard=guard, service="s").consumer if of_a_bus else guard
            try:
                made(**{"queue": "q", name: odd})(handle)
            except ConfigurationError:
                pass
            except Exception as error:
                found.append(f"{name}={odd!r}: {error!r}")
    assert "\n".join(found) == ""


async def test_a_batch_is_held_to_what_it_is(issuer: Issuer) -> None:
    """What is in it is told, a generator's as well, before anything is sent."""
    guard = Guard(Verifier(StaticKeys(issuer.jwks()), issuer="https://i", audience="a"))
    batch: Any = [Publication("q", b""), ("q", b"")]
    for each in (batch, iter(batch)):
        with pytest.raises(ConfigurationError, match=r"that holds a tuple.*several of Publication"):
            await Bus(URL, guard=guard, service="s").publish_many(each)


def test_all_that_is_public_is_looked_at(issuer: Issuer) -> None:
    """A new public name is added above, or to those that are values."""
    made = {name for name, found in PUBLIC.items() if callable(found) and not _is_declared(found)}
    assert made == sample(issuer).keys() | _ELSEWHERE


def _is_declared(found: Any) -> bool:
    """Exceptions, enumerations and protocols are made by nobody, models hold to their own types."""
    kinds = (BaseException, Enum, BaseModel)
    is_protocol = getattr(found, "_is_protocol", False)
    return (
        is_protocol
        or (isinstance(found, type) and issubclass(found, kinds))
        or (not inspect.isroutine(found) and not isinstance(found, type))
    )


class Speaks(Protocol):
    """What has two members."""

    loud: bool

    def speak(self) -> str: ...


class Parrot:
    """It has both."""

    loud = True

    def speak(self) -> str:
        return "hello"


@pytest.mark.parametrize(
    ("hint", "right", "wrong", "words"),
    [
        (str, ["a", ""], [b"a", 5, None], "str"),
        (float, [1, 1.5], [True, "1"], "float"),
        (int, [1], [True, 1.5], "int"),
        (bool, [True], [1], "bool"),
        (bytes, [b"a"], ["a", bytearray(b"a")], "bytes"),
        (str | None, ["a", None], [5], "str or None"),
        (
            Iterable[str],
            ["a", ["a"], {"a": 1}, iter([])],
            [5, b"a", [5], ("a", 5)],
            "several of str",
        ),
        (Iterable[Parrot], [[Parrot()], ()], ["a", [5], {"a": 1}], "several of Parrot"),
        (
            Mapping[str, bytes],
            [{"a": b"a"}],
            [b"a", {"a": "a"}, {1: b"a"}],
            "mapping of str to byt",
        ),
        (tuple[int, ...], [(), (1, 2)], [(1, "a"), [1]], "several of int"),
        (tuple[int, str], [(1, "a")], [("a", 1)], "several of int"),
        (Sequence[int], [[1], (1,)], ["a", {1}], "several of int"),
        (OnError, [OnError.RETRY], ["retry"], "OnError.DEAD_LETTER or OnError.RETRY"),
        (Speaks, [Parrot()], [Parrot, "a", 5], "Speaks (an object with loud, speak)"),
        (Callable[[int], str], [len, 5], [], "Callable"),
        (Literal["a"], ["a", "b"], [], "anything"),
        (Any, [5], [], "anything"),
    ],
)
def test_a_value_fits_an_annotation_or_not(
    hint: Any, right: list[Any], wrong: list[Any], words: str
) -> None:
    """Collections are looked into, text is not several of anything but text, and 1 is not True."""
    assert [value for value in right if not fits(value, hint)] == []
    assert [value for value in wrong if fits(value, hint)] == []
    assert words in told(hint)


def test_the_sentence_shows_a_type_and_never_a_value() -> None:
    """An argument may be a secret: what was found is told by its type."""
    with pytest.raises(ConfigurationError) as caught:
        MessageSecurity(seal=b"short")  # type: ignore[arg-type]  # that is the point
    expected = "MessageSecurity(seal=...): got a bytes, expected a mapping of str to bytes or None"
    assert str(caught.value) == expected


def test_the_name_of_a_profile_serves_as_one(issuer: Issuer) -> None:
    """In code as in a settings file; a name that there is not is told with those that there are."""
    keys = StaticKeys(issuer.jwks())
    Verifier(keys, issuer="https://i", audience="a", profile="keycloak")
    with pytest.raises(ConfigurationError, match=r"'ping': expected a Profile, or one of lenient"):
        Verifier(keys, issuer="https://i", audience="a", profile="ping")


def test_a_call_that_cannot_be_bound_says_so_in_pythons_words() -> None:
    """A missing or unknown argument is a TypeError, as of any function."""

    @checked_class
    @dataclass(frozen=True, slots=True)
    class Point:
        x: int

    @checked
    def far(point: Point, *others: int, unit: str = "m") -> int:
        return point.x + sum(others)

    assert far(Point(1), 2, unit="km") == 3
    with pytest.raises(TypeError, match="unexpected keyword argument 'z'"):
        Point(x=1, z=2)  # type: ignore[call-arg]  # that is the point
    with pytest.raises(ConfigurationError, match=r"Point\(x=\.\.\.\): got None, expected int"):
        Point(None)  # type: ignore[arg-type]  # that is the point
    with pytest.raises(ConfigurationError, match=r"the class .*Point, and no instance of it"):
        far(Point)  # type: ignore[arg-type]  # that is the point


@pytest.mark.parametrize("odd", [-1, -0.5, float("nan"), float("inf")])
def test_every_number_has_a_range(odd: float, issuer: Issuer) -> None:
    """Of what is public nothing takes fewer than none, what is no number, or a span without end."""
    found = []
    for name, good in sample(issuer).items():
        hints = typing.get_type_hints(_init_of(PUBLIC[name]))
        for parameter in inspect.signature(PUBLIC[name]).parameters:
            if _is_number(hints.get(parameter)):
                found += _taken(PUBLIC[name], name, {**good, parameter: odd})
    assert "\n".join(found) == ""


@pytest.mark.parametrize("odd", [-1, float("nan"), float("inf")])
def test_every_number_of_options_has_a_range(odd: float) -> None:
    """The same of what is declared: options, and policies as they stand in a file."""
    found = []
    for name, kind in PUBLIC.items():
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            for field, of in kind.model_fields.items():
                if _is_number(of.annotation):
                    found += _taken(kind, name, {field: odd})
    assert "\n".join(found) == ""


def _init_of(made: Any) -> Any:
    return vars(made).get("__init__", made) if isinstance(made, type) else made


def _is_number(hint: Any) -> bool:
    return any(kind in (hint, *typing.get_args(hint)) for kind in (int, float)) or any(ranges(hint))


def _taken(made: Any, name: str, given: dict[str, Any]) -> list[str]:
    try:
        made(**given)
    except (
        ConfigurationError,
        ValidationError,
    ):  # the latter of tables, which a file's place joins
        return []
    return [f"{name}: {given}"]


def test_a_number_out_of_range_is_told_with_its_unit() -> None:
    """The argument, what was found, and what would be taken."""
    with pytest.raises(ConfigurationError) as caught:
        Fetcher(timeout=-1)
    assert str(caught.value) == "Fetcher(timeout=...): got -1, expected seconds above 0"
    with pytest.raises(ConfigurationError, match=r"keep_for=-1: .*: expected seconds above 0"):
        JWKSOptions(keep_for=-1)


async def test_what_is_awaited_holds_its_numbers_to_a_range() -> None:
    """It is told before anything connects."""
    with pytest.raises(
        ConfigurationError, match=r"dead_letters\(limit=\.\.\.\): got -1, expected a"
    ):
        await letters.dead_letters(URL, "orders.dead", limit=-1)
    with pytest.raises(
        ConfigurationError, match=r"FeedPublisher\(timeout=\.\.\.\): got 0, expected"
    ):
        revocation.FeedPublisher(URL, timeout=0)


def test_a_misspelt_argument_is_told_with_the_one_that_was_meant() -> None:
    """It stays the TypeError that it is in Python; a name that is like none is told by Python."""
    guard: Any = Guard(issuer="https://idp.example", audience="shop")
    bus: Any = Bus("amqp://localhost/", guard=guard, service="shop")
    with pytest.raises(TypeError, match=r"consumer\(\) got .* 'scope'; did you mean 'scopes'\?"):
        bus.consumer("orders", scope={"a"})
    with pytest.raises(TypeError, match=r"'on_expire'; did you mean 'on_expired'\?"):
        guard(queue="orders", on_expire=None)
    with pytest.raises(TypeError, match=r"unexpected keyword argument 'zebra'$"):
        bus.consumer("orders", zebra=1)
