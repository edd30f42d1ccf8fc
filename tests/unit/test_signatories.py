"""Who signed it is judged in one order, whatever was signed."""

from dataclasses import replace
from typing import Any

import pytest

from busauth._tokens.compact import CompactToken, split
from busauth._tokens.signatories import Codes, Signatory
from busauth.errors import NotGenuine
from busauth.tokens import KeyUnknown, StaticKeys
from tests.unit.support import Signer

MAIN = Signer("ES256")
PARTY = Signatory(
    name="web",
    keys=StaticKeys([MAIN.jwk()]),
    algorithms=("ES256",),
    types=frozenset({"application/x+jwt"}),
    typ="x+jwt",
    codes=Codes("x.malformed", "x.type", "x.algorithm", "x.key_unknown", "x.signature"),
    key="a key of web",
    signature="web's",
)
HOSTILE: list[tuple[str, dict[str, Any]]] = [
    ("x.malformed", {"crit": ["exp"]}),
    ("x.type", {"typ": ["x+jwt"]}),
    ("x.algorithm", {"alg": "HS256"}),
    ("x.key_unknown", {"kid": 7}),
]
"""A rule each, in their order."""


def signed(signer: Signer = MAIN, **header: Any) -> CompactToken:
    """Return a JWS whose header says something else than a good one."""
    good = {"typ": "x+jwt", "alg": "ES256", "kid": "main"}
    return split(signer.sign({"iss": "web"}, good | header), max_bytes=4096)


def code(token: CompactToken, party: Signatory = PARTY) -> str:
    """Return the code of the refusal that a JWS meets."""
    with pytest.raises(NotGenuine) as caught:
        party.signer(token)
    return caught.value.code


def test_the_partys_key_signed_it() -> None:
    """What holds is held by the key that signed, whichever way its type is spelled."""
    for typ in ("x+jwt", "X+JWT", "application/x+jwt"):
        by = PARTY.signer(signed(typ=typ))
        assert by.holds()
        assert by.key.key_id == "main"


@pytest.mark.parametrize("first", range(len(HOSTILE)))
def test_the_first_rule_that_it_breaks_is_told(first: int) -> None:
    """A JWS that breaks a rule and all after it, its signature too, is refused for that one."""
    broken = {name: value for _, each in HOSTILE[first:] for name, value in each.items()}
    assert code(signed(Signer("ES256", "other"), **broken)) == HOSTILE[first][0]


def test_a_strict_header_says_no_more() -> None:
    """Where little may be said, an extension and a key inside are told after the type."""
    strict = replace(PARTY, strict=True)
    for more in ({"crit": ["exp"]}, {"jwk": MAIN.jwk()}):
        assert code(signed(**more), strict) == "x.malformed"
        assert code(signed(**more, typ="JWT"), strict) == "x.type"
    assert PARTY.signer(signed(jku="https://evil.test")).holds()  # never followed


def test_nobody_elses_signature_counts() -> None:
    """Another key by the party's name, and no key by another name."""
    assert code(signed(Signer("ES256", "other"))) == "x.signature"
    with pytest.raises(KeyUnknown) as caught:
        PARTY.signer(signed(kid="other"))
    unknown = caught.value
    assert (unknown.party, unknown.key_id) == ("web", "other")
    assert unknown.refusal.code == "x.key_unknown"
    assert "a key of web: kid='main' for ES256" in str(unknown)
