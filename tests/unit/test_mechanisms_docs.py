"""docs/mechanisms.md tells what a policy of one's own may ask."""

import re
from dataclasses import fields
from pathlib import Path

from busauth.expiry import LateToken

PAGE = (Path(__file__).parents[2] / "docs" / "mechanisms.md").read_text("utf-8")


def test_everything_of_a_late_token_is_told() -> None:
    """The table has each attribute and each method, and nothing else."""
    table = PAGE.split("| `late` has |")[1].split("\n\n")[0]
    cells = re.findall(r"^\| (`.+?) \|", table, re.MULTILINE)
    told = {name for cell in cells for name in re.findall(r"`(\w+)", cell)}
    methods = {name for name in vars(LateToken) if not name.startswith("_")}
    known = {field.name for field in fields(LateToken) if not field.name.startswith("_")}
    assert told == methods | known
