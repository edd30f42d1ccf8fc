"""100,000 inputs that no client should send: each costs its sender, and nobody else, what it must.

Inputs are drawn from a seed of their own, which a failure names; `drawn(seed)` draws it again.
"""

import asyncio
from dataclasses import dataclass, field
from random import Random
from time import process_time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.broker.arguments import anything
from tests.broker.fuzzing import Arena, Client, End, errors
from tests.broker.mutations import MUTATIONS, READY, Case, Mutation
from tests.broker.sequences import CHANNELS, STEPS, any_order, encoded, end_of

INPUTS = 100_000
_BATCH = 5_000
_KINDS: list[Mutation] = [*MUTATIONS, any_order, any_order, anything, anything]
_PAUSE = 500
_LONGEST = 2.0
"""Seconds of processor time that one input of at most some 10 kB may cost the broker."""


def drawn(seed: int) -> tuple[Case, list[bytes]]:
    """The input that belongs to a seed, and the packets in which it comes."""
    rng = Random(seed)
    case = _KINDS[seed % len(_KINDS)](rng)
    return case, pieces(case.data, rng)


def pieces(data: bytes, rng: Random) -> list[bytes]:
    """The same bytes in the packets of a network that cuts where it likes."""
    cuts = sorted(rng.randrange(len(data) + 1) for _ in range(rng.choice((0, 0, 0, 1, 5))))
    return [data[start:end] for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True)]


@dataclass
class Attack:
    """One input after the other, each from a connection of its own."""

    arena: Arena = field(default_factory=Arena)
    longest: float = 0.0

    async def meet(self, case: Case, packets: list[bytes]) -> End:
        """Send an input; return how its connection fared."""
        client = Client(self.arena)
        started = process_time()
        client.send(case.before)
        for packet in packets:
            client.send(packet)
        self.longest = max(self.longest, process_time() - started)
        if case.seconds:
            await self.arena.clock.advance(case.seconds)
        end = client.leave()
        self.arena.check()
        return end

    async def meet_seeds(self, first: int, last: int, found: list[str]) -> None:
        """Meet the inputs of some seeds; `found` is what the broker calls faults of its own."""
        for seed in range(first, last):
            case, packets = drawn(seed)
            try:
                end = await self.meet(case, packets)
                assert end.code in case.codes, f"closed with {end.code}, not {case.codes}"
                assert case.channels in (None, end.channels), f"closed {end.channels}"
                assert not found, found[0]
            except Exception as error:
                name = _KINDS[seed % len(_KINDS)].__name__
                raise AssertionError(f"seed {seed}, {name}: {error}\n{case.data!r}") from error
            if not seed % _PAUSE:
                await asyncio.sleep(0)  # lets the loop forget the timers that were cancelled


@pytest.mark.long
@pytest.mark.parametrize(
    "first",
    [
        0,
        *(pytest.param(each, marks=pytest.mark.thorough) for each in range(_BATCH, INPUTS, _BATCH)),
    ],
)
async def test_inputs(first: int) -> None:
    """Whatever comes, its connection ends with the right code, and every other is served."""
    attack = Attack()
    with errors() as found:
        await attack.meet_seeds(first, first + _BATCH, found)
    assert attack.longest < _LONGEST
    attack.arena.left()


def test_kinds() -> None:
    """A seed always draws the same input."""
    assert all(drawn(seed) == drawn(seed) for seed in range(len(_KINDS)))


_STEPS = st.lists(st.tuples(st.sampled_from(STEPS), st.sampled_from(CHANNELS)), max_size=20)


@settings(max_examples=300, deadline=None)
@given(steps=_STEPS)
def test_any_order(steps: list[tuple[str, int]]) -> None:
    """Frames without fault mean the same in any order, on any channel, as a reference has it."""
    asyncio.run(_in_order(steps))


async def _in_order(steps: list[tuple[str, int]]) -> None:
    end = end_of(steps)
    case = Case(encoded(steps), frozenset({end.code}))
    with errors() as found:
        assert await Attack().meet(case, [case.data]) == end
    assert not found


@settings(max_examples=300, deadline=None)
@given(data=st.binary(max_size=200), before=st.sampled_from([b"", READY]))
def test_any_bytes(data: bytes, before: bytes) -> None:
    """Any bytes, before or after the handshake, are the affair of who sends them."""
    asyncio.run(_as_they_come(Case(data, frozenset(), before=before)))


async def _as_they_come(case: Case) -> None:
    with errors() as found:
        await Attack().meet(case, [case.data])
    assert not found
