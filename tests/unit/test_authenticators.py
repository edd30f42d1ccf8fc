"""Several who judge, and which token goes to whom."""

from typing import Any

import pytest

from busauth import Guard, Verifier
from busauth._tokens.keys.waiting import found
from busauth.errors import ConfigurationError, Deferred, NotGenuine
from busauth.tokens import Authenticators, Fetcher, Session, Sessions, Verified, answered
from tests.unit.introspecting import OPAQUE, Asked, asked, asks, outcome
from tests.unit.support import AUDIENCE, NOW, Signer, caller, proven_by, token, verifier

OTHER = "https://other.test"
SIGNER = Signer("ES256")


class Store:
    """Sessions in a dictionary."""

    def __init__(self, **known: Session) -> None:
        self.known = known

    async def find(self, session_id: str) -> Session | None:
        return self.known.get(session_id)


def local(**settings: Any) -> Verifier:
    """Return a verifier of another issuer than the one that is asked."""
    return verifier(SIGNER, **{"issuer": OTHER} | settings)


def sessions(**settings: Any) -> Sessions:
    session = Session(claims={"sub": "sam"}, ends_at=NOW + 60)
    store = Store(s_1=session, an_id=session)
    usual: dict[str, Any] = {"issuer": "shop-sessions", "audience": AUDIENCE, "prefix": "s_"}
    return Sessions(store, **usual | settings)


def everything(world: Asked) -> Authenticators:
    return Authenticators(local(), world.introspection, sessions(prefix="s_"))


async def test_each_token_goes_to_who_judges_it() -> None:
    """A JWS goes by its issuer; everything else to the first that takes it."""
    world = asked()
    trusted = Authenticators(local(), sessions(), world.introspection)
    assert await outcome(trusted, token(SIGNER, iss=OTHER, sub="jo")) == "jo"
    assert world.transport.received == []
    assert await outcome(trusted, "s_1") == "sam"
    assert world.transport.received == []
    assert await outcome(trusted, world.issuer.reference("ref")) == "ref"
    assert await outcome(trusted, world.issuer.token("jws")) == "jws"
    assert len(world.transport.received) == 2


async def test_what_was_proven_is_recalled_by_the_same() -> None:
    """Without waiting, a token goes the same way."""
    world = asked()
    trusted = Authenticators(local(), sessions(), world.introspection)
    for each in (token(SIGNER, iss=OTHER), "s_1", world.issuer.reference()):
        assert trusted.takes(each)
        assert await proven_by(trusted, each) == trusted.recall(each)


async def test_nobody_is_asked_because_somebody_refused() -> None:
    """A forged, misspelt or foreign JWS is not sent to an endpoint, nor looked up as a session."""
    world = asked()
    trusted = Authenticators(local(), world.introspection, sessions(prefix=""))
    genuine = token(SIGNER, iss=OTHER)
    head, body, signature = genuine.split(".")
    for each, code in (
        (token(Signer("ES256", "evil"), iss=OTHER), "token.key_unknown"),
        (f"{head}.{body}.", "token.segments"),
        (f"{head}.{body}x.{signature}", "token.encoding"),
        (f"{head}..{signature}", "token.segments"),
        (token(SIGNER, iss="https://third.test"), "token.issuer"),
        (token(SIGNER, iss=...), "token.issuer"),
    ):
        assert await outcome(trusted, each) == code
    assert world.transport.received == []


async def test_what_nobody_takes_is_refused() -> None:
    """Each refuses what is not its own, whichever is asked first."""
    world = asked(prefix="o_")
    for first in (local(), world.introspection, sessions()):
        with pytest.raises(NotGenuine):
            await proven_by(Authenticators(first, sessions(issuer="x")), "neither")
    assert world.transport.received == []


async def test_an_opaque_token_goes_to_the_endpoint_whose_prefix_it_has() -> None:
    """Tokens of one issuer are not shown to another."""
    first, second = asked(prefix="one_"), asked(prefix="two_")
    other = asks(second.issuer, Fetcher(transport=second.transport), issuer=OTHER, prefix="two_")
    trusted = Authenticators(first.introspection, other)
    assert await outcome(trusted, "two_x") == "token.inactive"
    assert (len(first.transport.received), len(second.transport.received)) == (0, 1)


async def test_too_long_is_refused_before_anything_is_read() -> None:
    """Whatever it looks like, nobody takes it apart."""
    world = asked()
    trusted = Authenticators(local(), world.introspection, max_token_bytes=300)
    for each in ("x" * 301, token(SIGNER, iss=OTHER, padding="x" * 300)):
        assert await outcome(trusted, each) == "token.too_large"


async def test_the_edge_asks_who_would_judge() -> None:
    """What can be published is looked at by whoever it would go to."""
    trusted = everything(asked())
    assert trusted.check_shape(token(SIGNER, iss=OTHER)) == NOW + 300
    for each in (OPAQUE, "s_1"):
        assert trusted.check_shape(each) == float("inf")


def test_who_cannot_be_told_apart_is_an_error() -> None:
    """One of a kind for each issuer, and sessions have a name of their own."""
    world = asked()
    url = world.issuer.url
    for trusted in (
        (),
        (local(), local()),
        (world.introspection, asked().introspection),
        (sessions(), sessions()),
        (world.introspection, sessions(issuer=url)),
        (local(), sessions(issuer=OTHER)),
    ):
        with pytest.raises(ConfigurationError):
            Authenticators(*trusted)
    Authenticators(local(issuer=url), world.introspection)  # local, and asked where it matters


class Proves:
    """An authenticator of one's own; what it returns is up to a test."""

    def __init__(self, found: Any = None, *, asked: bool = False) -> None:
        self.found, self.asked = found, asked

    def takes(self, token: str) -> bool:
        return True

    def recall(self, token: str) -> Any:
        if self.asked:
            return answered((self, token), self.ask)
        return self.found

    async def ask(self) -> Any:
        return self.found

    def check_shape(self, token: str) -> float | None:
        return None


class Half:
    """It takes tokens, and proves none."""

    def takes(self, token: str) -> bool:
        return True


class Waits(Proves):
    """It proves tokens when it is awaited."""

    async def recall(self, token: str) -> Any:
        return self.found


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (Half(), "got a Half without recall and check_shape: expected a Verifier"),
        (Verifier, "got the class Verifier, and no instance of it: expected a Verifier"),
        (Proves, "got the class Proves, and no instance of it"),
        (Waits(), r"Waits\.recall is async: expected a plain function; .* by `answered"),
        ("https://idp", "got a str without takes and recall"),
    ],
)
def test_what_proves_no_tokens_is_refused_at_once(given: Any, told: str) -> None:
    """Several in one say what somebody lacks, and a guard refuses the same."""
    with pytest.raises(ConfigurationError, match=told):
        Authenticators(given)
    with pytest.raises(ConfigurationError, match="expected"):
        Guard(given)


@pytest.mark.parametrize("asked", [False, True])
async def test_what_is_no_verified_is_told_by_name(asked: bool) -> None:
    """Whoever returns something else is at fault, and no message is; a `Verified` is passed on."""

    async def later() -> None:
        """Nobody awaits it."""

    for found_, told in ((caller(), "a Caller"), (None, "None"), (later(), "a coroutine")):
        trusted = Authenticators(Proves(found_, asked=asked))
        with pytest.raises(TypeError, match=rf"Proves\.recall returned {told}: expected a Verif"):
            await found(lambda: trusted.recall("x"))  # noqa: B023 -- it is called at once
    verified = Verified(caller(), None, 0)
    trusted = Authenticators(Proves(verified, asked=asked))
    assert await found(lambda: trusted.recall("x")) is verified


def test_confirming_needs_somebody_to_ask() -> None:
    """An issuer whose tokens are verified, and who cannot be asked, is told at once."""
    with pytest.raises(ConfigurationError, match=OTHER):
        everything(asked()).confirmed()


async def test_a_deferral_stays_one() -> None:
    """Nobody else is asked instead of who is out of reach."""
    world = asked()
    world.transport.down = True
    trusted = Authenticators(local(), world.introspection, sessions(prefix=""))
    with pytest.raises(Deferred):
        await proven_by(trusted, "an_id")
