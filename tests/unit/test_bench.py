"""The parts of the benchmark that can be right or wrong: draws, statistics, tokens, bounds."""

import random
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import ClassVar

import jwt
import pytest

from bench import consumer, tokens
from bench.figures import Spread, ratios
from bench.messages import Order, enveloped, plain
from bench.patterns import Pattern, callers, zipf
from bench.promises import Promise
from bench.report import shown
from bench.scale import FULL, QUICK
from bench.tally import Tally
from bench.tokens import AUDIENCE, ISSUER, Pool

ALGORITHMS = sorted(tokens.ALGORITHMS)


def test_spread_is_the_median_and_the_quartiles() -> None:
    """A spread names the middle and the quartiles, whatever the order of the values."""
    values = [1.0, 2.0, 3.0, 4.0, 5.0]
    random.Random(1).shuffle(values)
    assert Spread.of(values) == Spread(3.0, 2.0, 4.0, 5)


def test_quartiles_lie_between_neighbours() -> None:
    """Where a quartile falls between two values, it is taken in proportion."""
    assert Spread.of([0.0, 1.0]) == Spread(0.5, 0.25, 0.75, 2)


def test_spread_of_nothing_is_an_error() -> None:
    """There is no median of no values."""
    with pytest.raises(ValueError, match="at least one"):
        Spread.of([])


def test_ratios_compare_rounds_not_medians() -> None:
    """A round that was slow on both sides leaves the ratio as it is."""
    assert ratios([20.0, 2.0, 200.0], [10.0, 1.0, 100.0]) == Spread(2.0, 2.0, 2.0, 3)


def test_ratios_need_the_same_rounds() -> None:
    """A side with more rounds than the other cannot be compared."""
    with pytest.raises(ValueError, match="shorter"):
        ratios([1.0, 2.0], [1.0])


def test_warm_callers_take_turns() -> None:
    """Warm messages are of a hundred callers, equally often."""
    drawn = Counter(callers(Pattern.WARM, 500))
    assert len(drawn) == 100
    assert set(drawn.values()) == {5}


def test_cold_callers_never_come_twice() -> None:
    """A cold message's token is new, also after those that came before."""
    before, after = callers(Pattern.COLD, 50), callers(Pattern.COLD, 70, since=50)
    assert len({*before, *after}) == 120


def test_zipf_draws_by_rank() -> None:
    """The first rank comes about twice as often as the second, and all ranks are in range."""
    drawn = Counter(zipf(10_000, 200_000, seed=3, exponent=1.0))
    assert drawn[0] / drawn[1] == pytest.approx(2.0, rel=0.1)
    assert drawn[0] / drawn[9] == pytest.approx(10.0, rel=0.15)
    assert set(drawn) <= set(range(10_000))


def test_draws_are_the_same_in_every_run() -> None:
    """Contestants in processes of their own get the same messages."""
    assert callers(Pattern.MIXED, 100, since=7) == callers(Pattern.MIXED, 100, since=7)


@pytest.fixture(scope="module", params=ALGORITHMS)
def pool(request: pytest.FixtureRequest) -> Pool:
    return tokens.mint(request.param, 3)


def decoded(pool: Pool, token: str) -> dict[str, object]:
    """Verify as a contestant would."""
    claims: dict[str, object] = jwt.decode(
        token,
        jwt.PyJWK(pool.jwk).key,
        algorithms=[pool.algorithm],
        audience=AUDIENCE,
        issuer=ISSUER,
    )
    return claims


def test_minted_tokens_are_good_and_of_different_callers(pool: Pool) -> None:
    """Each token of a pool verifies under its key, and is of a caller of its own."""
    assert len({decoded(pool, token)["sub"] for token in pool.tokens}) == 3


@pytest.mark.parametrize("what", ["forged", "expired", "foreign audience", "foreign issuer"])
def test_bad_tokens_are_bad(pool: Pool, what: str) -> None:
    """Each bad token of a pool is refused by a verification that takes the good ones."""
    with pytest.raises(jwt.InvalidTokenError):
        decoded(pool, pool.bad[what])


def test_everybody_gets_the_same_order_and_token() -> None:
    """The envelope for taskiq holds the order that others find in the body, and the same token."""
    body, properties = plain("a.b.c")
    envelope, others = enveloped("a.b.c")
    order = Order.model_validate_json(body)
    assert order.model_dump_json().encode() == body
    assert order.item.encode() in envelope
    assert b"Bearer a.b.c" in envelope
    assert (properties.headers or {})["authorization"] == (others.headers or {})["authorization"]


def test_a_tally_stops_at_its_goal() -> None:
    """What is handled after the goal is not counted, and does not move the clock."""
    tally = Tally()
    tally.begin(2)
    tally()
    tally()
    stopped = tally.last
    tally()
    assert tally.result()["count"] == 2
    assert tally.last == stopped


@pytest.mark.parametrize(
    ("median", "least", "kept"), [(1.3, True, True), (1.2, True, False), (1.2, False, True)]
)
def test_promises_are_kept_on_the_right_side(median: float, least: bool, kept: bool) -> None:
    """A bound is the least or the most that is asked, itself included."""
    promise = Promise("x", Spread.of([median]), 1.3, least=least)
    assert promise.kept is kept


def test_shown_figures_carry_their_spread() -> None:
    """A figure is never shown without its quartiles."""
    assert shown(Spread.of([1.0, 2.0, 3.0])) == r"2.00 \[1.50..2.50]"


def test_each_algorithm_is_measured_in_each_pattern() -> None:
    """A full run leaves out no cell; a quick one leaves out no algorithm."""
    cells = {(cell.pattern, cell.algorithm) for cell in FULL.cells}
    assert len(cells) == len(Pattern) * len(ALGORITHMS)
    assert {cell.algorithm for cell in QUICK.cells} == set(ALGORITHMS)


class Lenient:
    """A contestant that lets so many messages through, and says that it checked so many."""

    checks: ClassVar = True

    def __init__(self, tally: Tally, through: int, checked: int | None = None) -> None:
        self.checked = checked
        self._tally = tally
        self._through = through

    @asynccontextmanager
    async def consuming(self, queue: str) -> AsyncIterator[None]:
        for _ in range(self._through):
            self._tally()
        yield


@pytest.fixture
def quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(consumer, "_QUIET", 0.0)


@pytest.mark.usefixtures("quiet")
async def test_whoever_lets_a_bad_token_through_is_not_measured() -> None:
    """A contestant whose handler saw more than the good message fails before the clock runs."""
    tally = Tally()
    with pytest.raises(AssertionError, match="saw 2 messages"):
        await consumer._probe(Lenient(tally, 2), "probe", tally)


@pytest.mark.usefixtures("quiet")
async def test_whoever_refuses_the_bad_tokens_alone_is_measured() -> None:
    """A contestant whose handler saw the good message alone goes on."""
    tally = Tally()
    await consumer._probe(Lenient(tally, 1), "probe", tally)


def test_a_check_that_did_not_run_was_not_measured() -> None:
    """A middleware that counts fewer checks than messages fails the measurement."""
    with pytest.raises(AssertionError, match="ran 3 times for 5"):
        consumer._check_that_it_checked(Lenient(Tally(), 0, checked=10), 7, 5)
