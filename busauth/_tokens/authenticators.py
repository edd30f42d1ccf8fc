"""Who judges which token, where a guard trusts several.

A JWS goes to the verifier of its `iss`, or to who is asked about that issuer's tokens; what is no
JWS, to the first that takes it. Whoever a token goes to has the last word: nobody is asked because
somebody else refused.
"""

from collections.abc import Coroutine
from typing import Protocol

from busauth._arguments import kind_of
from busauth._callables import is_async
from busauth._tokens.asking.confirmed import Confirmed
from busauth._tokens.asking.introspection import Introspection
from busauth._tokens.asking.sessions import Sessions
from busauth._tokens.evidence import Verified
from busauth._tokens.verifier import CACHED_TOKENS, MAX_TOKEN_BYTES, Verifier, Verifiers
from busauth.errors import ConfigurationError


class Authenticator(Protocol):
    """Proves raw tokens genuine. It never waits: what it needs, it says, and `found` waits."""

    def takes(self, token: str) -> bool:
        """Return whether a token is this one's to judge, by its looks."""
        ...

    def recall(self, token: str) -> Verified:
        """Prove a token genuine with what is at hand, without waiting.

        Raises:
            Refused: with the first rule that it breaks.
            NotAtHand: keys, or an answer, must be fetched; see `KeyUnknown`, `answered`.
        """
        ...

    def check_shape(self, token: str) -> float | None:
        """Return `exp` of a token that was not authenticated, infinity where it cannot be read.

        Raises:
            NotGenuine: it is malformed.
        """
        ...


_PARTS = ("takes", "recall", "check_shape")


def check_authenticator(given: object) -> None:
    """Refuse what proves no tokens, or would have to be awaited.

    Raises:
        ConfigurationError: says what it lacks.
    """
    lacking = [part for part in _PARTS if not callable(getattr(given, part, None))]
    if isinstance(given, type) or lacking:
        without = "" if isinstance(given, type) else f" without {' and '.join(lacking)}"
        raise ConfigurationError(
            f"got {kind_of(given)}{without}: expected a Verifier(...), an Introspection(...), "
            "Sessions(...), or an Authenticator (an object with takes, recall and check_shape)"
        )
    for part in _PARTS:
        if is_async(getattr(given, part)):
            raise ConfigurationError(
                f"{type(given).__name__}.{part} is async: expected a plain function; what must be "
                "awaited, recall says by `answered(...)`"
            )


class _Own:
    """An authenticator of a user's own: another answer than `Verified` is the program's mistake."""

    def __init__(self, given: Authenticator) -> None:
        self._given = given
        self.takes = given.takes
        self.check_shape = given.check_shape

    def recall(self, token: str) -> Verified:
        """Let it recall a token, and hold it to what it returns."""
        found: object = self._given.recall(token)
        if isinstance(found, Verified):
            return found
        if isinstance(found, Coroutine):
            found.close()  # nobody will await it
        raise TypeError(
            f"{type(self._given).__name__}.recall returned {kind_of(found)}: expected a Verified, "
            "as Verifier.recall returns"
        )


class _Chosen:
    """The first of several that takes a token; what nobody takes, the first one refuses."""

    def __init__(self, *members: Authenticator, max_token_bytes: int) -> None:
        self._members = members
        self.max_token_bytes = max_token_bytes

    def takes(self, token: str) -> bool:
        """Return whether any does."""
        return any(member.takes(token) for member in self._members)

    def recall(self, token: str) -> Verified:
        """Let the one that takes it recall it."""
        return self._for(token).recall(token)

    def check_shape(self, token: str) -> float | None:
        """Let the one that takes it look at it."""
        return self._for(token).check_shape(token)

    def _for(self, token: str) -> Authenticator:
        first, *others = self._members
        if not others or len(token) > self.max_token_bytes:  # nobody reads what is too long
            return first
        return next((member for member in self._members if member.takes(token)), first)


class Authenticators(_Chosen):
    """Verifiers, introspection and sessions as one.

    Args:
        trusted: `Verifier`, `Introspection`, `Sessions`, or an `Authenticator` of one's own; what
            is no JWS goes to the first that takes it.
        max_token_bytes: longer tokens are refused unread.
        cache_size: how many verified JWTs are remembered.

    Raises:
        ConfigurationError: there are none, or one proves no tokens; two of a kind are for one
            issuer; or a session would be taken for an issuer's word.
    """

    def __init__(
        self,
        *trusted: Verifier | Authenticator,
        max_token_bytes: int = MAX_TOKEN_BYTES,
        cache_size: int = CACHED_TOKENS,
    ) -> None:
        own = [each for each in trusted if isinstance(each, Verifier)]
        others = [each for each in trusted if not isinstance(each, Verifier)]
        for each in others:
            check_authenticator(each)
        _check_issuers(own, others)
        self._verifiers = (
            Verifiers(*own, max_token_bytes=max_token_bytes, cache_size=cache_size) if own else None
        )
        self._others = tuple(
            each if isinstance(each, Introspection | Sessions | _Chosen) else _Own(each)
            for each in others
        )
        members = (self._verifiers, *self._others) if self._verifiers else self._others
        super().__init__(*members, max_token_bytes=max_token_bytes)

    def signed(self, token: str) -> bool:
        """Return whether an issuer whose keys are known signed it; see `Verifiers.signed`."""
        return self._verifiers is not None and self._verifiers.signed(token)

    def confirmed(self) -> Authenticator:
        """Return the same trust for handlers that want a live answer: local first, then asked.

        Raises:
            ConfigurationError: tokens of an issuer are verified, and nobody can be asked about
                them.
        """
        if self._verifiers is None:
            return self
        asked = {each.issuer: each for each in self._others if isinstance(each, Introspection)}
        if missing := self._verifiers.issuers - asked.keys():
            raise ConfigurationError(
                f"introspect=True: expected an Introspection for {' and '.join(sorted(missing))}"
            )
        confirmed = Confirmed(self._verifiers, asked)
        return _Chosen(confirmed, *self._others, max_token_bytes=self.max_token_bytes)


def _check_issuers(own: list[Verifier], others: list[Authenticator]) -> None:
    """A caller's issuer says who vouched; an issuer may be verified and asked, both."""
    if not own and not others:
        raise ConfigurationError("expected a Verifier, an Introspection or Sessions: got none")
    verified = [each.issuer for each in own]
    asked = [each.issuer for each in others if isinstance(each, Introspection)]
    rest = [getattr(each, "issuer", each) for each in others if not isinstance(each, Introspection)]
    for names in (verified + rest, asked + rest):
        if len(set(names)) != len(names):
            raise ConfigurationError(f"two have one issuer: expected a name for each of {names}")
