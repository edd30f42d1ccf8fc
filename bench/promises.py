"""What busauth's performance is held to, and whether this run showed it.

A promise is kept if the median keeps it; its spread says how sure that is.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from bench.consuming import Compared
from bench.figures import Spread
from bench.results import Results

_FLAT = 1.1


@dataclass(frozen=True, slots=True)
class Promise:
    """One figure and its bound.

    Attributes:
        what: the figure.
        found: what was measured.
        bound: what it is held to.
        least: whether the bound is the least that is asked, rather than the most.
        unit: what follows the number.
    """

    what: str
    found: Spread
    bound: float
    least: bool = False
    unit: str = "x"

    @property
    def kept(self) -> bool:
        """Return whether the median is on the right side."""
        median = self.found.median
        return median >= self.bound if self.least else median <= self.bound

    @property
    def wanted(self) -> str:
        """Return the bound in words."""
        return f"{'at least' if self.least else 'at most'} {self.bound:g} {self.unit}"


def promises(results: Results) -> list[Promise]:
    """Return those that this run can tell of."""
    return [
        *_consuming(results),
        *_guard(results),
        *_delegation(results),
        *_publishing(results),
        *_growth(results),
        *_memory(results),
    ]


def _consuming(results: Results) -> Iterator[Promise]:
    warm, cold = results.cell("warm", "RS256"), results.cell("cold", "RS256")
    if warm is not None:
        for one, other, bound in (
            ("e", "a", 1.3),
            ("e", "b", 2.3),
            ("e", "c", 3.0),
            ("f", "a", 1.1),
        ):
            yield from _more("warm RS256", warm, one, other, bound)
    if cold is not None:
        yield from _more("cold RS256", cold, "e", "b", 1.3)


def _more(where: str, found: Compared, one: str, other: str, bound: float) -> Iterator[Promise]:
    """By the clock, and by processor time: on a busy machine the first says little."""
    what = f"{where}: ({one}) carries as many messages as ({other}), times"
    yield Promise(what, found.faster(one, other), bound, least=True)
    yield Promise(f"{what}, by processor time", found.cheaper(one, other), bound, least=True)


def _guard(results: Results) -> Iterator[Promise]:
    if results.stages is not None:
        yield Promise(
            "a warm guard adds to a message", results.stages.added["warm"], 8.0, unit="us"
        )
        what = "a warm guard adds to a message with an HS256 proof"
        proven = results.stages.added["warm, proof HS256"]
        yield Promise(what, proven, 25.0, unit="us")
    for verified in results.verified:
        if verified.algorithm == "RS256":
            what = "one cold verification, in signature checks with JSON"
            yield Promise(what, verified.floors()["busauth"], 2.0)


def _delegation(results: Results) -> Iterator[Promise]:
    if results.delegated is not None:
        what = "cost of a message in time where Exchange is configured, against none"
        yield Promise(what, results.delegated.unneeded, _FLAT)


def _publishing(results: Results) -> Iterator[Promise]:
    if results.published is not None:
        what = "many by busauth, against one at a time by aio-pika"
        yield Promise(what, results.published.faster("busauth, many"), 3.5, least=True)


def _growth(results: Results) -> Iterator[Promise]:
    for swept in results.swept:
        if swept.name == "issuers":
            most, grown = list(swept.growth().items())[-1]
            yield Promise(f"cost of a message with {most:,} issuers, against 1", grown, _FLAT)
    for scaled in results.scaled:
        if scaled.name == "queue depth":
            most, cost = list(scaled.costs().items())[-1]
            yield Promise(f"cost of a message with {most:,} queued, against 1,000", cost, _FLAT)
        else:
            two = scaled.rates().get(2)
            if two is not None:
                yield Promise("two processes carry as much as one, times", two, 1.5, least=True)


def _memory(results: Results) -> Iterator[Promise]:
    if results.memory is not None:
        tokens, megabytes = results.memory["tokens"], results.memory["megabytes"]
        bound = 150 * tokens / 100_000
        yield Promise(f"{tokens:,} cached tokens", Spread.of([megabytes]), bound, unit="MB")
