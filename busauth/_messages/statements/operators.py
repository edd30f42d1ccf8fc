"""What a consumer asks before it takes an operator's word for a letter of its own."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Self

from pydantic import AfterValidator, BeforeValidator

from busauth._arguments import Range, Seconds, scope_names
from busauth._knobs import Knobs
from busauth._messages.proof import SKEW
from busauth._messages.statements.desks import Desks, Stated, TrustedDesk
from busauth._messages.statements.statement import REDRIVE_SCOPE, StatedLetter
from busauth._tokens.fetch import Fetcher
from busauth.caller import FirstToken
from busauth.clock import Clock
from busauth.errors import BadMessage, ConfigurationError, Forbidden, Untimely

LONGEST = 24 * 3600.0
"""Seconds after a statement was signed, from which on nothing is done for it any more."""

Within = Annotated[float, Range(unit="seconds", above=0, most=24 * 3600)]


def _one_or_more(given: object) -> object:
    """A lone name is one, not its letters; a lone desk is one, too."""
    return (given,) if isinstance(given, str | TrustedDesk) else given


def _named(given: frozenset[str]) -> frozenset[str]:
    if not given:
        raise ConfigurationError("is empty: whose token allows nothing would be an operator")
    return scope_names("scopes", given)


def _some(given: tuple[TrustedDesk, ...]) -> tuple[TrustedDesk, ...]:
    if not given:
        raise ConfigurationError("is empty: expected at least one TrustedDesk")
    return given


class Operators(Knobs):
    """Whose word counts for sending a dead letter again whose token is gone: ``on_redrive=``.

    Args:
        desks: whom the consumer believes about operators; see `TrustedDesk`.
        scopes: what an operator's token must have allowed, all of it; ``letters:redrive`` by
            default.
        issuers: whose operators count; None: whomever the desks take.
        max_age: seconds after the first token's `exp` from which on no operator can have the letter
            sent; it stands where policies have `GuardOptions.hard_max_age`.
        within: seconds after a statement was signed, up to which its message must have come: it
            may wait behind others.
    """

    desks: Annotated[tuple[TrustedDesk, ...], BeforeValidator(_one_or_more), AfterValidator(_some)]
    scopes: Annotated[frozenset[str], BeforeValidator(_one_or_more), AfterValidator(_named)] = (
        frozenset({REDRIVE_SCOPE})
    )
    issuers: Annotated[frozenset[str], BeforeValidator(_one_or_more)] | None = None
    max_age: Seconds = 7 * 24 * 3600.0
    within: Within = 900.0

    if TYPE_CHECKING:  # a lone name and any collection are taken; the fields hold what is said

        def __init__(
            self,
            *,
            desks: TrustedDesk | Iterable[TrustedDesk],
            scopes: str | Iterable[str] = ...,
            issuers: str | Iterable[str] | None = ...,
            max_age: float = ...,
            within: float = ...,
        ) -> None: ...

    def __str__(self) -> str:
        return f"Operators by {', '.join(desk.name for desk in self.desks)}"

    def fetching(self, fetcher: Fetcher, clock: Clock) -> "Operators":
        """Return the same with the keys of its desks in place: for settings, which say places.

        Raises:
            ConfigurationError: a URL may not be asked, or a file cannot be used.
        """
        desks = tuple(
            TrustedDesk(
                name=desk.name, keys=desk.source(fetcher, clock), algorithms=desk.algorithms
            )
            for desk in self.desks
        )
        return self.model_copy(update={"desks": desks})


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatorRules:
    """The same, for one queue.

    Attributes:
        operators: what is asked.
        desks: whose statements count, with their keys.
        queues: the queue's names, former ones too.
        retried_within: seconds after a statement was signed, up to which a retry is tried again of
            what was accepted on it.
    """

    operators: Operators
    desks: Desks = field(repr=False)
    queues: frozenset[str]
    retried_within: float = LONGEST

    @classmethod
    def of(
        cls, operators: Operators, queues: frozenset[str], clock: Clock, keep_for: float | None
    ) -> Self:
        """Return them.

        Args:
            operators: what is asked.
            queues: the queue's names, former ones too.
            clock: says how old keys are.
            keep_for: seconds for which the replay memory knows a message; None without one.

        Raises:
            ConfigurationError: two desks have one name, a key cannot be used, or the memory forgets
                a message while its statement counts.
        """
        needed = operators.within + 2 * SKEW
        if keep_for is not None and keep_for < needed:
            raise ConfigurationError(
                f"on_redrive: replay: keep_for={keep_for:g} s, and a statement counts for longer: "
                f"expected within + {2 * SKEW:g} s, {needed:g} s, or more"
            )
        known = LONGEST if keep_for is None else keep_for - 2 * SKEW
        return cls(
            operators=operators,
            desks=Desks.of(operators.desks, None, clock),
            queues=queues,
            retried_within=max(operators.within, min(LONGEST, known)),
        )

    def check(self, stated: Stated, seen: StatedLetter, now: float) -> None:
        """Compare a statement with the letter that it came with.

        Raises:
            Forbidden: ``redrive.queue``, ``redrive.letter``, ``redrive.scope`` or
                ``redrive.issuer``.
            BadMessage: ``redrive.body``.
            Untimely: ``redrive.expired``.
        """
        said = stated.letter
        if said.queue not in self.queues:
            expected = " or ".join(sorted(self.queues))
            raise Forbidden("redrive.queue", found=said.queue, expected=expected)
        if (said.letter, said.seal) != (seen.letter, seen.seal):
            found = "a statement about another letter, or about this one before it changed"
            raise Forbidden("redrive.letter", found=found, expected="its id, and its seal")
        self._check_body(said, seen)
        self._check_time(stated, now, self.operators.within)
        self._check_operator(stated.operator)

    def check_retry(self, stated: Stated, seen: StatedLetter, now: float) -> None:
        """Compare a statement with a retry, whose seal says that it was accepted on this one.

        Its letter is gone, and so is that one's seal.

        Raises:
            Forbidden, BadMessage, Untimely: as `check`.
        """
        self._check_body(stated.letter, seen)
        self._check_time(stated, now, self.retried_within)
        self._check_operator(stated.operator)

    def until(self, stated: Stated, first: FirstToken, *, is_retry: bool) -> float:
        """Return up to which instant an acceptance holds, seconds since the epoch."""
        within = self.retried_within if is_retry else self.operators.within
        return min(stated.issued_at + within + SKEW, first.expires_at + self.operators.max_age)

    def check_age(self, first: FirstToken, now: float) -> None:
        """Refuse work that is too old for an operator's word.

        Raises:
            Untimely: ``redrive.expired``.
        """
        if now >= first.expires_at + self.operators.max_age:
            found = f"the first token {now - first.expires_at:.0f} s past exp"
            expected = f"less than {self.operators.max_age:g} s"
            raise Untimely("redrive.expired", found=found, expected=expected)

    def _check_time(self, stated: Stated, now: float, within: float) -> None:
        age = now - stated.issued_at
        if not -SKEW <= age < within + SKEW:
            found = f"signed {age:.0f} s ago" if age >= 0 else f"signed {-age:.0f} s ahead"
            expected = f"less than {within:g} s ago"
            raise Untimely("redrive.expired", found=found, expected=expected)

    def _check_operator(self, operator: FirstToken) -> None:
        issuers, scopes = self.operators.issuers, self.operators.scopes
        if issuers is not None and operator.issuer not in issuers:
            expected = " or ".join(sorted(issuers))
            raise Forbidden("redrive.issuer", found=operator.issuer, expected=expected)
        if not scopes <= operator.scopes:
            found = f"scopes {' '.join(sorted(operator.scopes)) or 'none'}"
            raise Forbidden("redrive.scope", found=found, expected=" ".join(sorted(scopes)))

    @staticmethod
    def _check_body(said: StatedLetter, seen: StatedLetter) -> None:
        if said.body != seen.body:
            raise BadMessage("redrive.body", found="another body", expected="the one stated")
