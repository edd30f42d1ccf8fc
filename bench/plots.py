"""Plots as SVG, drawn without a display, the same file for the same figures."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bench.contestants import CONTESTANTS, LABELS
from bench.figures import Spread
from bench.results import Results
from bench.tokens import ALGORITHMS

_STYLE: dict[Any, Any] = {
    "svg.hashsalt": "busauth",
    "svg.fonttype": "none",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
}
_GREY, _OURS = "#9aa5b1", "#2563a8"


def draw(results: Results, folder: Path) -> list[Path]:
    """Draw what was measured; return the files."""
    drawn = []
    for name, plot, wanted in (
        ("consume", _consume, results.compared),
        ("publish", _publish, results.published),
        ("stages", _stages, results.stages),
        ("growth", _growth, results.swept or results.scaled),
    ):
        if wanted:
            path = folder / f"{name}.svg"
            with _axes(path) as figure:
                plot(results, figure)
            drawn.append(path)
    return drawn


@contextmanager
def _axes(path: Path) -> Iterator[Figure]:
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(9, 5), layout="constrained")
        yield figure
        figure.savefig(path, metadata={"Date": None})


def _consume(results: Results, figure: Figure) -> None:
    """A panel for each algorithm, a group for each pattern, a bar for each contestant."""
    algorithms = list(dict.fromkeys(found.cell.algorithm for found in results.compared))
    panels = figure.subplots(1, len(algorithms), sharey=True, squeeze=False)[0]
    for algorithm, axes in zip(algorithms, panels, strict=True):
        cells = [found for found in results.compared if found.cell.algorithm == algorithm]
        for place, letter in enumerate(CONTESTANTS):
            bars = [found.faster(letter, "a") for found in cells]
            at = [index + (place - 2.5) * 0.14 for index in range(len(cells))]
            _bars(axes, at, bars, label=f"({letter}) {LABELS[letter]}", shade=place)
        axes.set_title(ALGORITHMS[algorithm])
        axes.set_xticks(range(len(cells)), [found.cell.pattern for found in cells])
        axes.axhline(1, color="black", linewidth=0.6)
    panels[0].set_ylabel("messages, times those of (a)")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=3)


def _bars(axes: Axes, at: list[float], bars: list[Spread], *, label: str, shade: int) -> None:
    heights = [bar.median for bar in bars]
    errors = [
        [bar.median - bar.low for bar in bars],
        [bar.high - bar.median for bar in bars],
    ]
    colour = mpl.colormaps["Blues" if "busauth" in label else "Greys"](0.35 + 0.11 * shade)
    axes.bar(at, heights, width=0.13, yerr=errors, label=label, color=colour, ecolor="#555555")


def _publish(results: Results, figure: Figure) -> None:
    assert results.published is not None
    axes = figure.subplots()
    found = {way: results.published.faster(way) for way in results.published.rates}
    _lying(axes, found)
    axes.set_xlabel("messages, times those of aio-pika one at a time (all confirmed)")


def _stages(results: Results, figure: Figure) -> None:
    assert results.stages is not None
    axes = figure.subplots()
    whole = {f"all: {name}": spread for name, spread in results.stages.added.items()}
    _lying(axes, {**whole, **results.stages.stages})
    axes.set_xlabel("microseconds that a guard adds to one message")


def _lying(axes: Axes, found: dict[str, Spread]) -> None:
    names = list(found)[::-1]
    bars = [found[name] for name in names]
    colours = [_OURS if name.startswith(("busauth", "all")) else _GREY for name in names]
    errors = [[bar.median - bar.low for bar in bars], [bar.high - bar.median for bar in bars]]
    axes.barh(names, [bar.median for bar in bars], xerr=errors, color=colours, ecolor="#555555")


def _growth(results: Results, figure: Figure) -> None:
    """A line for each thing that grew; processes are throughput, all else is cost."""
    costs = {swept.name: swept.growth() for swept in results.swept}
    rates = {}
    for scaled in results.scaled:
        if scaled.name == "processes":
            rates[scaled.name] = scaled.rates()
        else:
            costs[scaled.name] = scaled.costs()
    panels = figure.subplots(1, 2)
    _lines(panels[0], costs, "cost of a message, times the first step")
    panels[0].set_xscale("log")
    _lines(panels[1], rates, "messages, times those of one process")
    panels[1].set_xticks([step for steps in rates.values() for step in steps])
    for panel in panels:
        panel.set_xlabel("how many")


def _lines(axes: Axes, found: dict[str, dict[int, Spread]], label: str) -> None:
    for name, steps in found.items():
        at = [max(step, 1) for step in steps]
        axes.plot(at, [spread.median for spread in steps.values()], marker="o", label=name)
        low, high = zip(*((spread.low, spread.high) for spread in steps.values()), strict=True)
        axes.fill_between(at, low, high, alpha=0.15)
    axes.set_ylim(bottom=0)
    axes.set_ylabel(label)
    if found:
        axes.legend()
