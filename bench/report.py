"""What was found, as tables: ratios with their spread first, absolute figures for orientation."""

from collections.abc import Iterator

from rich.table import Table

from bench.contestants import CONTESTANTS, LABELS
from bench.delegation import Delegated
from bench.figures import Spread
from bench.promises import promises
from bench.publishing import BASELINE
from bench.results import Results
from bench.scaling import Scaled
from bench.tokens import ALGORITHMS


def shown(spread: Spread, digits: int = 2) -> str:
    """Return a median with its quartiles."""
    low, high = f"{spread.low:.{digits}f}", f"{spread.high:.{digits}f}"
    return f"{spread.median:.{digits}f} [{low}..{high}]".replace("[", r"\[")


def tables(results: Results) -> Iterator[Table]:
    """Return a table for each thing that was measured, and the promises at the end."""
    if results.compared:
        yield _consuming(results)
        yield _cheaper(results)
        yield _processor(results)
    if results.published is not None:
        yield _publishing(results)
    if results.stages is not None:
        yield _stages(results)
    if results.verified:
        yield _verified(results)
    if results.delegated is not None:
        yield _delegated(results.delegated)
    if results.swept:
        yield _swept(results)
    for scaled in results.scaled:
        yield _scaled(scaled)
    yield _promises(results)


def _consuming(results: Results) -> Table:
    table = Table("tokens", *_columns(), title="Messages, as times those of (a)")
    for compared in results.compared:
        name = f"{compared.cell.pattern} {ALGORITHMS[compared.cell.algorithm]}"
        base = Spread.of(compared.rates("a"))
        cells = (shown(compared.faster(letter, "a")) for letter in CONTESTANTS if letter != "a")
        table.add_row(name, f"{base.median:,.0f}/s", *cells)
    return table


def _cheaper(results: Results) -> Table:
    title = "The same by processor time: messages for the price of one of (a)"
    table = Table("tokens", *_columns(), title=title)
    for compared in results.compared:
        name = f"{compared.cell.pattern} {ALGORITHMS[compared.cell.algorithm]}"
        table.add_row(name, *(shown(compared.cheaper(letter, "a")) for letter in CONTESTANTS))
    return table


def _processor(results: Results) -> Table:
    title = "Processor time for one message (us): what a shared machine disturbs least"
    table = Table("tokens", *_columns(), title=title)
    for compared in results.compared:
        name = f"{compared.cell.pattern} {ALGORITHMS[compared.cell.algorithm]}"
        costs = (shown(Spread.of(compared.costs(letter)), 0) for letter in CONTESTANTS)
        table.add_row(name, *costs)
    return table


def _columns() -> list[str]:
    return [f"({letter}) {label}" for letter, label in LABELS.items()]


def _publishing(results: Results) -> Table:
    assert results.published is not None
    table = Table("way", f"times {BASELINE}", "messages/s", "us", title="Publishing, confirmed")
    for way, rates in results.published.rates.items():
        cost = Spread.of(results.published.costs[way])
        ratio = shown(results.published.faster(way))
        table.add_row(way, ratio, f"{Spread.of(rates).median:,.0f}", shown(cost, 0))
    return table


def _stages(results: Results) -> Table:
    assert results.stages is not None
    table = Table("what", "us", title="What a guard adds to one message, and its stages (warm)")
    for name, spread in results.stages.added.items():
        table.add_row(f"all: {name}", shown(spread))
    for name, spread in results.stages.stages.items():
        table.add_row(name, shown(spread))
    for name, spread in results.stages.proofs.items():
        table.add_row(f"message proof: {name}", shown(spread))
    return table


def _verified(results: Results) -> Table:
    ways = list(results.verified[0].costs)
    title = "One cold verification, in floors: a bare signature check and json.loads"
    table = Table("algorithm", *ways, title=title)
    for verified in results.verified:
        floors = (shown(spread) for spread in verified.floors().values())
        table.add_row(ALGORITHMS[verified.algorithm], *floors)
    return table


def _delegated(found: Delegated) -> Table:
    table = Table("what", "times", "of", "us", title="What it costs that authority goes on")
    for name, costs in found.costs.items():
        cost = shown(Spread.of(costs), 0)
        table.add_row(name, shown(found.times(name)), found.against[name], cost)
    return table


def _swept(results: Results) -> Table:
    title = "A message's cost as things grow, in process, against the first step"
    table = Table("what", "steps", title=title)
    for swept in results.swept:
        growth = (f"{step:,}: {shown(spread)}" for step, spread in swept.growth().items())
        table.add_row(swept.name, "\n".join(growth))
    return table


def _scaled(scaled: Scaled) -> Table:
    columns = ("messages/s", "times the first", "us, times the first", "cores: idle", "broker")
    table = Table(scaled.name, *columns, title=f"(e) by {scaled.name}")
    costs, rates = scaled.costs(), scaled.rates()
    for step, found in scaled.rounds.items():
        rate = Spread.of(drained.rate for drained in found).median
        idle = Spread.of(drained.load.idle for drained in found).median
        broker = [d.load.broker for d in found if d.load.broker is not None]
        busy = f"{Spread.of(broker).median:.1f}" if broker else "not seen"
        cells = (f"{rate:,.0f}", shown(rates[step]), shown(costs[step]), f"{idle:.0%}", busy)
        table.add_row(f"{step:,}", *cells)
    return table


def _promises(results: Results) -> Table:
    table = Table("promise", "found", "wanted", "kept", title="What busauth is held to")
    for promise in promises(results):
        kept = "yes" if promise.kept else "no"
        table.add_row(promise.what, shown(promise.found), promise.wanted, kept)
    return table
