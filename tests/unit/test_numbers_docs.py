"""What the documents measured names the run that measured it."""

import re
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "docs" / "benchmarks"
MEASURED = re.compile(r"\d µs|microseconds|[0-9.]+ times what|\d MiB more of the process")
RUN = re.compile(r"python -m (bench[\w.]*)|make (bench)|(benchmarks)/README\.md")
PAGES = [page for page in (ROOT / "docs").glob("*.md") if MEASURED.search(page.read_text("utf-8"))]


def test_figures_are_those_of_the_run() -> None:
    """Each figure of the benchmarks' page is one of the kept run's medians, rounded."""
    page = (RESULTS / "README.md").read_text("utf-8").split("![")[0]
    medians = re.findall(r"(\d+\.\d+) \[", (RESULTS / "results.txt").read_text("utf-8"))
    told = re.findall(r"(\d+\.\d+)|(\d+) MB", page.split("Medians of ratios")[1])
    figures = [one or other for one, other in told]
    assert len(figures) > 10
    for figure in figures:
        digits = len(figure.partition(".")[2])
        assert figure in {f"{float(median):.{digits}f}" for median in medians}, figure


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_what_was_measured_can_be_measured_anew(page: Path) -> None:
    """A page with measured figures names the command, or leads to the run; the command exists."""
    found = RUN.findall(page.read_text("utf-8"))
    assert found, "measured figures, and no run that made them"
    assert all(find_spec(module) for module, _, _ in found if module)
