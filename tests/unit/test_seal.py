"""What busauth writes on copies, and who is believed to have written it."""

import hmac
import json
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from busauth._messages.canonical import NotCanonical
from busauth._messages.seal import (
    HEADER,
    PURPOSE,
    Copy,
    Opened,
    Purpose,
    Seal,
    Sealed,
    hinted_attempt,
)
from busauth._tokens.verifier import fingerprint
from busauth.caller import Actor, FirstToken
from busauth.errors import ConfigurationError
from tests.unit.support import b64

OLD, NEW = bytes(range(32)), bytes(range(32, 72))
ALICE, BOB = fingerprint("the token of alice"), fingerprint("the token of bob")
FIRST = FirstToken(
    issuer="https://idp.example",
    subject="alice",
    client="web",
    scopes=frozenset({"orders:write", "orders:read"}),
    roles=frozenset({"buyer"}),
    audience=("shop",),
    actors=(Actor("gateway"),),
    issued_at=1_750_000_000.0,
    expires_at=1_750_000_300.0,
    token_id="t-1",
    session="s-1",
    token_sha256=ALICE,
)
SEALED = Sealed(
    attempt=2,
    published_at=1_750_000_000.25,
    origin="shop orders.placed",
    redrive=1,
    first=FIRST,
)
SENT: dict[str, Any] = {"tenant": "shop-1", "weights": [0.5, {"deep": [b"raw"]}], "none": None}
COPY = Copy({}, SENT, ("m-1", "text/plain", None, None, None, None, None, None), b"an order")


def seal(keys: dict[str, bytes] | None = None, *, group: str = "orders") -> Seal:
    return Seal(group, keys or {"1": OLD})


def headers(
    by: Seal | None = None,
    sealed: Sealed = SEALED,
    *,
    copy: Copy = COPY,
    token_sha256: str | None = ALICE,
) -> dict[str, Any]:
    """Return the headers that busauth writes on a sealed copy."""
    found: dict[str, Any] = sealed.headers()
    made = copy._replace(own=found)
    return found | {HEADER: (by or seal()).seal(made, token_sha256=token_sha256)}


def opened(
    given: dict[str, Any],
    by: Seal | None = None,
    *,
    copy: Copy = COPY,
    token_sha256: str | None = ALICE,
) -> Opened:
    """Read what stands on a delivery."""
    own = {name: value for name, value in given.items() if name != HEADER}
    seen = copy._replace(own=own)
    return (by or seal()).opened(given.get(HEADER), seen, token_sha256=token_sha256)


def of_id(message_id: str | None) -> Copy:
    return COPY._replace(properties=(message_id, *COPY.properties[1:]))


@pytest.mark.parametrize(
    "sealed",
    [
        SEALED,
        Sealed(),
        Sealed(attempt=1),
        Sealed(origin=""),
        *(replace(SEALED, purpose=purpose) for purpose in Purpose),
    ],
)
def test_what_was_sealed_is_believed(sealed: Sealed) -> None:
    """On the message that it was made for, a seal vouches for its headers, there or not."""
    assert opened(headers(sealed=sealed)) == (sealed, None)


@pytest.mark.parametrize(
    "sent",
    [
        {},
        {**SENT, "tenant": "shop-2"},
        {**SENT, "more": 1},
        {**SENT, "none": False},
        {**SENT, "weights": [0.5, {"deep": [b"row"]}]},
        {**SENT, "weights": [0.25, {"deep": [b"raw"]}]},
        {**SENT, "weights": ["0.5", {"deep": [b"raw"]}]},
        {**SENT, "weights": [0.5, {"deep": ["raw"]}]},
    ],
)
def test_the_senders_headers_are_covered(sent: dict[str, Any]) -> None:
    """Changed, added, taken away, or of another type: it is another copy."""
    assert opened(headers(), copy=COPY._replace(sent=sent)) == (None, "seal.mac")


def test_whatever_a_header_can_hold_is_covered() -> None:
    """Also what no other client could spell: this one writes and reads it alike."""
    at = datetime(2026, 1, 1, tzinfo=UTC)
    sent = {"at": at, "price": Decimal("1.10"), "raw": b"\xff", "weight": float("nan")}
    copy = COPY._replace(sent=sent)
    sealed = headers(copy=copy)
    assert opened(sealed, copy=copy).sealed == SEALED
    read_back = COPY._replace(sent={**sent, "raw": bytearray(b"\xff")})
    assert opened(sealed, copy=read_back).sealed == SEALED
    for name, other in (("at", at.replace(second=1)), ("price", Decimal("1.1")), ("weight", 0.0)):
        changed = COPY._replace(sent={**sent, name: other})
        assert opened(sealed, copy=changed) == (None, "seal.mac")


@pytest.mark.parametrize("place", range(8))
def test_properties_are_covered(place: int) -> None:
    """Each of them, there or not."""
    properties = [*COPY.properties]
    properties[place] = "another"
    changed = COPY._replace(properties=properties)
    assert opened(headers(), copy=changed) == (None, "seal.mac")


@pytest.mark.parametrize(("made", "said"), [
    (made, said) for made in Purpose for said in Purpose if made is not said
])  # fmt: skip
def test_a_seal_is_for_one_purpose(made: Purpose, said: Purpose) -> None:
    """A letter is no parked message, a retry is neither, and so on."""
    sealed = headers(sealed=replace(SEALED, purpose=made))
    assert opened(sealed | {PURPOSE: said.value}) == (None, "seal.mac")


@pytest.mark.parametrize("token_sha256", [ALICE, BOB, None])
def test_what_is_parked_waits_for_another_token(token_sha256: str | None) -> None:
    """Nobody knows yet with which token it comes back; whose it must be is in the record."""
    parked = replace(SEALED, purpose=Purpose.PARKED)
    assert opened(headers(sealed=parked), token_sha256=token_sha256).sealed == parked


def test_a_record_of_a_first_token_cannot_be_changed() -> None:
    """Neither widened nor made another caller's."""
    wider = replace(FIRST, scopes=FIRST.scopes | {"orders:refund"})
    for other in (wider, replace(FIRST, subject="bob"), None):
        given = {**replace(SEALED, first=other).headers(), HEADER: headers()[HEADER]}
        assert opened(given) == (None, "seal.mac")


def test_a_queue_that_was_renamed_opens_its_former_seals() -> None:
    """Former names are declared; nobody else's seals open."""
    renamed = Seal("placed", {"1": OLD}, formerly=("orders",))
    assert opened(headers(), renamed).sealed == SEALED
    assert opened(headers(renamed)) == (None, "seal.mac")
    assert opened(headers(seal(group="stock")), renamed) == (None, "seal.mac")


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
    "other", [of_id("m-2"), of_id(None), of_id(""), COPY._replace(body=b"another")]
)
def test_a_seal_cannot_be_moved(other: Copy) -> None:
    """On another message it is worth nothing."""
    assert opened(headers(), copy=other) == (None, "seal.mac")


def test_a_message_without_an_id_can_be_sealed() -> None:
    """No id is sealed as none, which is no empty one."""
    sealed = headers(copy=of_id(None))
    assert opened(sealed, copy=of_id(None)).sealed == SEALED
    assert opened(sealed, copy=of_id("")).sealed is None


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
    sealed = headers(copy=of_id(ALICE), token_sha256=BOB)
    assert opened(sealed, copy=of_id(BOB), token_sha256=ALICE) == (None, "seal.mac")


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
    given[HEADER] = given[HEADER].replace("2.1.", "2.2.")
    assert opened(given, both) == (None, "seal.mac")


@pytest.mark.parametrize(
    "value",
    ["", "2.1", "2.1.", "1.1." + "A" * 43, "2.1." + "A" * 42, "2.1." + "A" * 44, "2..x", 5,
     b"2.1.x", ["1"], {}, "2.1." + "ä" * 43, "2." + "k" * 65 + "." + "A" * 43, " 2.1." + "A" * 43,
     "2.1." + "A" * 43 + "\n", "2.1." + "A" * 100_000],
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
    deep: list[Any] = []
    for _ in range(40):
        deep = [deep]
    for odd in (2**64, object(), deep, {1: 2}, "\ud800"):
        copy = COPY._replace(sent={"odd": odd})
        with pytest.raises(NotCanonical):
            seal().seal(copy, token_sha256=ALICE)
        assert opened(headers(), copy=copy) == (None, "seal.mac")


def test_a_seal_on_the_wire() -> None:
    """HMAC-SHA-256 over bencoded lists, written out."""
    sealed = Sealed(attempt=1)
    body = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    copy = Copy({}, {"half": 0.5}, ("m-1", None), b"")
    covered = (
        "l14:busauth-seal-26:orderse"
        f"l64:{ALICE}64:{body}l3:m-1nee"
        "d15:busauth-attempti1e15:busauth-purpose5:retry15:busauth-redrivei0ee"
        "d4:halfr3f000000ee"
    )
    mac = hmac.digest(OLD, covered.encode(), "sha256")
    assert headers(sealed=sealed, copy=copy)[HEADER] == f"2.1.{b64(mac)}"
    bare = covered.replace(f"64:{ALICE}", "n")
    mac = hmac.digest(OLD, bare.encode(), "sha256")
    assert headers(sealed=sealed, copy=copy, token_sha256=None)[HEADER] == f"2.1.{b64(mac)}"


@pytest.mark.parametrize(
    ("given", "hint"),
    [(3, 3), (0, 0), (-1, 0), (10**7, 0), (True, 0), ("1", 0), (1.0, 0), (None, 0), ([1], 0)],
)
def test_without_a_key_the_attempt_is_a_hint(given: Any, hint: int) -> None:
    """Whoever wrote it, it is read as far as it makes sense."""
    assert hinted_attempt({"busauth-attempt": given}) == hint


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
    assert json.loads(json.dumps(replace(SEALED, first=None).headers())) == {
        "busauth-purpose": "retry",
        "busauth-attempt": 2,
        "busauth-redrive": 1,
        "busauth-published": "1750000000.250000",
        "busauth-origin": "shop orders.placed",
    }
