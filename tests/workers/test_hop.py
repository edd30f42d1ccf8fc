"""How what a service holds is said, and which chains there are to play."""

from pathlib import Path

import pytest

from workers.demo.__main__ import CHAINS
from workers.hop import Hop

NOTHING = frozenset[str]()


@pytest.mark.parametrize(
    ("hop", "said"),
    [
        (
            Hop("a", "uma", (), ("a",), frozenset({"x", "b"}), NOTHING, 300.0),
            "a: uma for a; may b x; 300 s",
        ),
        (
            Hop("a", "uma", ("m", "e"), ("a",), NOTHING, frozenset({"rider"}), 72_000.0),
            "a: uma by m, e; as rider; for a; may nothing; 20 h",
        ),
        (
            Hop("a", "uma", (), ("a", "b"), frozenset({"x"}), NOTHING, 59.5, "t-1"),
            "a: uma in a transaction; for a, b; may x; 59.5 s",
        ),
    ],
)
def test_a_hop_says_all_that_is_held(hop: Hop, said: str) -> None:
    """On whose behalf, by whom, for whom, with what, how long: what differs is said otherwise."""
    assert str(hop) == said


def test_make_says_which_chains_there_are() -> None:
    """`make help` names each chain that the demo plays, and the one that it plays by itself."""
    makefile = (Path(__file__).parents[2] / "Makefile").read_text("utf-8")
    others = "|".join(name for name in CHAINS if name != "shop")
    assert f"(CHAIN={others};" in makefile
    assert "\nCHAIN = shop\n" in makefile
