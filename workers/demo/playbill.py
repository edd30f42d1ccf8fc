"""The end of the demo: what was expected and what was seen, scene by scene."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text


@dataclass(frozen=True, slots=True)
class Row:
    """One scene's outcome.

    Attributes:
        title: the scene.
        expected, seen: facts; see `record`.
        trouble: why the scene did not end by itself, if it did not.
    """

    title: str
    expected: tuple[str, ...]
    seen: tuple[str, ...]
    trouble: str = ""

    @property
    def equal(self) -> bool:
        """Return whether everything expected was seen, and nothing else."""
        return not self.trouble and Counter(self.expected) == Counter(self.seen)


def show(rows: Sequence[Row], console: Console) -> None:
    """Print the table."""
    table = Table(box=box.SIMPLE, padding=(0, 1), pad_edge=False)
    table.add_column()
    table.add_column("scene", max_width=22)
    for heading in ("expected, and seen", "seen instead", ""):
        table.add_column(heading, overflow="fold")
    for number, row in enumerate(rows, 1):
        verdict = Text("equal", "green") if row.equal else Text("DIFFERS", "bold red")
        seen = [] if row.equal else [*counted(row.seen), row.trouble]  # said once is enough
        table.add_row(
            str(number), Text(row.title), Text("\n".join(counted(row.expected))),
            Text("\n".join(seen).strip(), "" if row.equal else "red"), verdict,
        )  # fmt: skip
        table.add_section()
    console.print()
    console.print(table)


def counted(facts: Sequence[str]) -> list[str]:
    """Return each fact once, with how often it was seen where that is more than once."""
    return [f"{fact} x{n}" if n > 1 else fact for fact, n in Counter(facts).items()]


def last_word(rows: Sequence[Row], seconds: float) -> str:
    """Return the sentence that sums it up."""
    different = [str(number) for number, row in enumerate(rows, 1) if not row.equal]
    if different:
        return f"Not as expected, in {seconds:.0f} s: scene {', '.join(different)}."
    return f"All {len(rows)} scenes went as expected, in {seconds:.0f} s."
