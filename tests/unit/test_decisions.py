"""Each record of a decision has what a reader looks for, in one order."""

import re
from pathlib import Path

ADR = Path(__file__).parents[2] / "docs" / "adr"
PARTS = ["Status", "Context", "Decision", "Consequences"]


def test_a_record_has_its_parts() -> None:
    """Number and title, status, context, decision, consequences; others stand between them."""
    for page in ADR.glob("*.md"):
        text = page.read_text()
        assert text.startswith(f"# {page.name[:4]}: "), page.name
        parts = re.findall(r"^\*\*(.+?)\.\*\*", text, re.MULTILINE)
        assert [part for part in parts if part in PARTS] == PARTS, page.name
