"""What docs/testing.md shows runs as it stands there."""

import subprocess
import sys
from pathlib import Path

from busauth import BusOptions, RetryOptions
from busauth._amqp.topology import RetryLadder

DOCS = Path(__file__).parents[2] / "docs"


def test_an_issuer_to_try_things_with_serves_a_guard() -> None:
    """The example is a whole program, and its caller is who the token was made for."""
    section = (DOCS / "testing.md").read_text("utf-8").split("## An issuer to try things with")[1]
    program = section.split("```python")[1].split("```")[0]
    ran = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert ran.stderr == ""
    assert ran.stdout.startswith("ann of http://127.0.0.1:")


def test_five_retries_have_six_rungs() -> None:
    """As docs/settings.md says it: each retry waits on its own rung or on the one above."""
    ladder = RetryLadder("orders", BusOptions().retry)
    assert len(ladder.names()) == 6
    assert {ladder.rung(4) for _ in range(64)} == {"orders.retry.16000", "orders.retry.32000"}
    assert ladder.rung(5) is None
    capped = RetryLadder("orders", RetryOptions(limit=5, first=1, longest=2))
    assert capped.names() == ("orders.retry.1000", "orders.retry.2000")
