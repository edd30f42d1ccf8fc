"""What busauth writes on copies, and who is believed to have written it."""

import hmac
import json
from typing import Any

import pytest

from busauth.errors import ConfigurationError
from busauth.late.canonical import NotCanonical
from busauth.late.seal import HEADER, Opened, Seal, Sealed, hinted
from busauth.tokens.verifier import fingerprint
from tests.unit.support import b64

OLD, NEW = bytes(range(32)), bytes(range(32, 72))
ALICE, BOB = fingerprint("the token of alice"), fingerprint("the token of bob")
ABOUT: dict[str, Any] = {"message_id": "m-1", "token_sha256": ALICE, "body": b"an order"}
SEALED = Sealed(attempt=2, published_at=1_750_000_000.25, origin="shop orders.placed", redrive=1)


def seal(keys: dict[str, bytes] | None = None, *, group: str = "orders") -> Seal:
    return Seal(group, keys or {"1": OLD})


def headers(by: Seal | None = None, sealed: Sealed = SEALED, **about: Any) -> dict[str, Any]:
    """Return the headers of a sealed copy."""
    found: dict[str, Any] = sealed.headers()
    return found | {HEADER: (by or seal()).seal(found, **ABOUT | about)}


def opened(given: dict[str, Any], by: Seal | None = None, **about: Any) -> Opened:
    return (by or seal()).opened(given, **ABOUT | about)


@pytest.mark.parametrize("sealed", [SEALED, Sealed(), Sealed(attempt=1), Sealed(origin="")])
def test_what_was_sealed_is_believed(sealed: Sealed) -> None:
    """On the message that it was made for, a seal vouches for its headers, there or not."""
    assert opened(headers(sealed=sealed)) == (sealed, None)


def test_other_headers_are_not_covered() -> None:
    """The sender's own headers may come, go and change."""
    assert opened(headers() | {"tenant": "shop-1", "x-death": [{}]}).sealed == SEALED


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("busauth-attempt", 1),
        ("busauth-attempt", "2"),
        ("busauth-attempt", 2.0),
        ("busauth-attempt", None),
        ("busauth-attempt", ...),
        ("busauth-redrive", 0),
        ("busauth-redrive", True),
        ("busauth-published", "1750000001.25"),
        ("busauth-published", "1750000000.250000 "),
        ("busauth-published", ...),
        ("busauth-origin", "shop orders.paid"),
        ("busauth-origin", b"shop orders.placed"),
        ("busauth-origin", ...),
    ],
)
def test_an_altered_header_breaks_the_seal(name: str, value: Any) -> None:
    """Changed, taken away, or of another type: nothing of it is believed."""
    altered = {each: held for each, held in headers().items() if each != name}
    assert opened(altered if value is ... else altered | {name: value}) == (None, "seal.mac")


def test_an_added_header_breaks_the_seal() -> None:
    """A header that was not there is sealed as missing."""
    assert opened(headers(sealed=Sealed()) | {"busauth-origin": ""}) == (None, "seal.mac")


@pytest.mark.parametrize(
    "about",
    [{"message_id": "m-2"}, {"message_id": None}, {"message_id": ""}, {"body": b"another"}],
)
def test_a_seal_cannot_be_moved(about: dict[str, Any]) -> None:
    """On another message it is worth nothing."""
    assert opened(headers(), **about) == (None, "seal.mac")


def test_a_message_without_an_id_can_be_sealed() -> None:
    """No id is sealed as none, which is no empty one."""
    sealed = headers(message_id=None)
    assert opened(sealed, message_id=None).sealed == SEALED
    assert opened(sealed, message_id="").sealed is None


@pytest.mark.parametrize("token_sha256", [BOB, None, "", ALICE.upper(), ALICE[:-1]])
def test_a_seal_is_for_one_token(token_sha256: str | None) -> None:
    """Nobody puts a token of their own on a sealed copy, and inherits its published instant."""
    assert opened(headers(), token_sha256=token_sha256) == (None, "seal.mac")


def test_a_token_cannot_be_added_to_a_copy_that_has_none() -> None:
    """A copy without a token is sealed as such."""
    sealed = headers(token_sha256=None)
    assert opened(sealed, token_sha256=None).sealed == SEALED
    for token_sha256 in (ALICE, ""):
        assert opened(sealed, token_sha256=token_sha256) == (None, "seal.mac")


def test_what_is_sealed_cannot_change_places() -> None:
    """Id, token and body are told apart by their places, whatever they read."""
    sealed = headers(message_id=ALICE, token_sha256=BOB)
    assert opened(sealed, message_id=BOB, token_sha256=ALICE) == (None, "seal.mac")


def test_a_seal_is_one_groups_word() -> None:
    """Another group does not believe it, even where it has the same key."""
    assert opened(headers(), seal(group="stock")) == (None, "seal.mac")


def test_keys_are_rotated_in_three_steps() -> None:
    """While both keys are known, copies of either are believed."""
    before, added = seal({"1": OLD}), seal({"1": OLD, "2": NEW})
    moved, after = seal({"2": NEW, "1": OLD}), seal({"2": NEW})
    for making, opening in ((before, added), (added, moved), (moved, added), (moved, after)):
        assert opened(headers(making), opening).sealed == SEALED
    assert opened(headers(before), after) == (None, "seal.key_unknown")
    assert opened(headers(before), seal({"1": NEW})) == (None, "seal.mac")


def test_a_key_id_cannot_be_swapped() -> None:
    """A MAC counts under the key that made it alone."""
    both = seal({"1": OLD, "2": NEW})
    given = headers(both)
    given[HEADER] = given[HEADER].replace("1.1.", "1.2.")
    assert opened(given, both) == (None, "seal.mac")


@pytest.mark.parametrize(
    "value",
    ["", "1.1", "1.1.", "2.1." + "A" * 43, "1.1." + "A" * 42, "1.1." + "A" * 44, "1..x", 5,
     b"1.1.x", ["1"], {}, "1.1." + "ä" * 43, "1." + "k" * 65 + "." + "A" * 43, " 1.1." + "A" * 43,
     "1.1." + "A" * 43 + "\n", "1.1." + "A" * 100_000],
)  # fmt: skip
def test_what_is_no_seal_is_malformed(value: Any) -> None:
    """Anything may stand in a header."""
    assert opened(headers() | {HEADER: value}) == (None, "seal.malformed")


def test_a_missing_seal_is_told_apart() -> None:
    """A first delivery has none; that is nothing to worry about."""
    assert opened({}) == (None, "seal.missing")
    assert opened(SEALED.headers()) == (None, "seal.missing")


def test_a_macs_last_character_has_one_spelling() -> None:
    """The bits that no byte needs are no way to write a seal twice."""
    given = headers()
    last = given[HEADER][-1]
    for other in "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_":
        if other != last:
            changed = given | {HEADER: given[HEADER][:-1] + other}
            assert opened(changed) == (None, "seal.mac")


def test_values_without_a_canonical_form_are_not_sealed() -> None:
    """A copy never has them, and nobody else's are believed."""
    with pytest.raises(NotCanonical):
        seal().seal({"busauth-attempt": 0.5}, **ABOUT)
    assert opened(headers() | {"busauth-attempt": 0.5}) == (None, "seal.mac")


def test_a_seal_on_the_wire() -> None:
    """Any language can make one: HMAC-SHA-256 over a bencoded list, written out."""
    text = headers(sealed=Sealed(attempt=1), body=b"")[HEADER]
    body = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    covered = (
        "l14:busauth-seal-16:orders3:m-164:"
        + ALICE
        + "64:"
        + body
        + "d15:busauth-attempti1e15:busauth-redrivei0eee"
    )
    mac = hmac.digest(OLD, covered.encode(), "sha256")
    assert text == f"1.1.{b64(mac)}"
    bare = covered.replace(f"64:{ALICE}", "n")
    mac = hmac.digest(OLD, bare.encode(), "sha256")
    sealed = headers(sealed=Sealed(attempt=1), body=b"", token_sha256=None)
    assert sealed[HEADER] == f"1.1.{b64(mac)}"


@pytest.mark.parametrize(
    ("given", "hint"),
    [
        ({"busauth-attempt": 3}, Sealed(attempt=3)),
        ({"busauth-attempt": -1, "busauth-redrive": 10**7}, Sealed()),
        ({"busauth-attempt": True, "busauth-redrive": "1"}, Sealed()),
        ({"busauth-published": 1_750_000_000}, Sealed()),
        ({"busauth-published": "inf"}, Sealed()),
        ({"busauth-published": "1" * 40}, Sealed()),
        ({"busauth-published": "12.5"}, Sealed(published_at=12.5)),
        ({"busauth-origin": "a" * 513}, Sealed()),
        ({"busauth-origin": ["a"]}, Sealed()),
    ],
)
def test_without_a_key_the_headers_are_hints(given: dict[str, Any], hint: Sealed) -> None:
    """Whoever wrote them, they are read as far as they make sense."""
    assert hinted(given) == hint


@pytest.mark.parametrize(
    ("group", "keys"),
    [
        ("", {"1": OLD}),
        ("orders", {}),
        ("orders", {"1": OLD[:31]}),
        ("orders", {"1": "a" * 32}),
        ("orders", {"": OLD}),
        ("orders", {"a.b": OLD}),
        ("orders", {"k" * 65: OLD}),
        ("orders", {1: OLD}),
    ],
)
def test_a_seal_that_cannot_work_is_told_at_once(group: str, keys: Any) -> None:
    """No group, no key, a short key, or a name that is none."""
    with pytest.raises(ConfigurationError) as caught:
        Seal(group, keys)
    assert repr(OLD[:8])[2:-1] not in str(caught.value)


def test_a_seal_prints_no_key() -> None:
    """Its repr tells group and key ids."""
    assert repr(seal({"2": NEW, "1": OLD})) == "<Seal orders keys=2, 1>"


def test_sealed_headers_are_plain_values() -> None:
    """Every AMQP client can carry them."""
    assert json.loads(json.dumps(SEALED.headers())) == {
        "busauth-attempt": 2,
        "busauth-redrive": 1,
        "busauth-published": "1750000000.250000",
        "busauth-origin": "shop orders.placed",
    }
