"""How much is measured: a full run, or a quick one that shows that everything works."""

from dataclasses import dataclass

from bench.patterns import Pattern


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One comparison of all contestants.

    Attributes:
        pattern: how tokens repeat.
        algorithm: what signs them.
        rounds: how often each contestant takes its turn.
    """

    pattern: Pattern
    algorithm: str
    rounds: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """Numbers of messages, rounds and steps.

    Attributes:
        messages: what each measurement consumes.
        warm_up: what each contestant consumes before.
        cells: the comparisons.
        published: what each measurement publishes, one at a time and many.
        publish_rounds: turns of each way to publish.
        depths: queue depths; what is consumed at each is `depth_messages`, so few that more than
            the prefetch stays behind: what is read ahead costs the same at each depth.
        depth_rounds: turns of each depth.
        processes: how many consume one queue.
        process_messages: what all of them consume together.
        process_rounds: turns of each number of processes.
        issuers, handlers, revocations: the steps of the sweeps in process.
        loop: messages that a sweep in process takes each time.
        loop_rounds: turns of each step.
        cached: tokens whose memory is measured.
    """

    messages: int = 6000
    warm_up: int = 1000
    cells: tuple[Cell, ...]
    published: tuple[int, int] = (2000, 10_000)
    publish_rounds: int = 5
    depths: tuple[int, ...] = (1000, 10_000, 100_000, 1_000_000)
    depth_messages: int = 750
    depth_rounds: int = 9
    processes: tuple[int, ...] = (1, 2, 4)
    process_messages: int = 20_000
    process_rounds: int = 3
    issuers: tuple[int, ...] = (1, 10, 100)
    handlers: tuple[int, ...] = (1, 10, 100)
    revocations: tuple[int, ...] = (0, 1000, 100_000, 1_000_000)
    loop: int = 2000
    loop_rounds: int = 25
    cached: int = 100_000

    @property
    def most_tokens(self) -> int:
        """Return how many tokens an algorithm's cold cell needs."""
        return self.messages + self.warm_up


def _cells(rounds: dict[str, tuple[int, int, int]]) -> tuple[Cell, ...]:
    return tuple(
        Cell(pattern=pattern, algorithm=algorithm, rounds=count)
        for algorithm, counts in rounds.items()
        for pattern, count in zip(Pattern, counts, strict=True)
        if count
    )


FULL = Scale(cells=_cells({"RS256": (7, 5, 5), "ES256": (3, 3, 3), "EdDSA": (3, 3, 3)}))
QUICK = Scale(
    messages=1500,
    warm_up=300,
    cells=_cells({"RS256": (2, 1, 1), "ES256": (0, 0, 1), "EdDSA": (0, 0, 1)}),
    published=(300, 1000),
    publish_rounds=2,
    depths=(1000, 20_000),
    depth_rounds=2,
    processes=(1, 2),
    process_messages=3000,
    process_rounds=1,
    revocations=(0, 1000, 100_000),
    loop=500,
    loop_rounds=7,
    cached=20_000,
)
