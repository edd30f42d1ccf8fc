"""What somebody may try with an envelope, without the consumer's private key."""

import json
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from joserfc import jwe

from busauth._tokens.encryption import jose
from busauth._tokens.encryption.encryption import KEPT
from busauth.errors import NotGenuine
from busauth.tokens import Decryption, KeptFor
from tests.unit.encrypting import (
    KINDS,
    decryption,
    encryption,
    forged,
    private_jwk,
    private_jwks,
    public_jwk,
    refusal,
    with_header,
)
from tests.unit.opening import raw
from tests.unit.support import b64, token

HONEST = {kind: encryption(kind).encrypt(token()) for kind in KINDS}


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Count what is handed to the cryptography."""
    handed: list[str] = []

    def counting(value: str, *args: Any, **settings: Any) -> Any:
        handed.append(value)
        return jwe.decrypt_compact(value, *args, **settings)

    monkeypatch.setattr(jose, "decrypt_compact", counting)
    return handed


NO_ZIP: list[Any] = [None, "", "GZ", []]


@pytest.mark.parametrize("kind", KINDS)
def test_compressed_content_is_refused(kind: str, opened: list[str]) -> None:
    """A small envelope that would inflate is refused for its header, unopened."""
    bomb = forged(kind, b"A" * 200_000, ["DEF"], zip="DEF")
    assert len(bomb) < 3000
    assert refusal(bomb).code == "token.encryption_zip"
    for value in NO_ZIP:
        assert refusal(with_header(HONEST[kind], zip=value)).code == "token.encryption_zip"
    assert opened == []


@pytest.mark.parametrize("count", [1, 2**31, 2**63, "many", None])
def test_no_count_of_iterations_is_ever_run(count: Any, opened: list[str]) -> None:
    """PBES2 is refused whatever `p2c` says, unopened; nobody can add one to another envelope."""
    for name in ("PBES2-HS256+A128KW", "PBES2-HS512+A256KW"):
        tried = with_header(HONEST["secret"], alg=name, p2s="c2FsdA", p2c=count)
        assert refusal(tried).code == "token.encryption_algorithm"
    assert opened == []
    assert refusal(with_header(HONEST["secret"], p2c=count)).code == "token.decryption"


def test_a_stray_count_is_not_followed() -> None:
    """What its publisher wrote beside an algorithm that takes none is ignored (RFC 7516, 4)."""
    raw_token = token()
    assert decryption().decrypt(forged("rsa", raw_token, p2c=2**40, p2s="x")) == raw_token


ALGORITHMS: list[Any] = [
    "none",
    "",
    None,
    5,
    [],
    {},
    "RSA1_5",
    "RSA-OAEP",
    "dir",
    "A128KW",
    "A256KW",
]
ALGORITHMS += ["ECDH-ES+A256KW", "A128GCMKW", "rsa-oaep-256", "RSA-OAEP-256 "]


@pytest.mark.parametrize("name", ALGORITHMS)
@pytest.mark.parametrize("kind", ["rsa", "p256", "secret"])
def test_another_algorithm_is_refused(kind: str, name: Any, opened: list[str]) -> None:
    """The header never chooses: what is not allowed is refused unopened."""
    tried = with_header(HONEST[kind], alg=name)
    assert refusal(tried).code == "token.encryption_algorithm"
    assert refusal(with_header(HONEST[kind], enc=name)).code == "token.encryption_algorithm"
    assert opened == []


@pytest.mark.parametrize("kind", KINDS)
def test_an_allowed_algorithm_of_another_key_is_refused(kind: str, opened: list[str]) -> None:
    """Each key has one algorithm: a public RSA key is no secret, a secret no point."""
    for other in ("RSA-OAEP-256", "ECDH-ES", "A256GCMKW"):
        if other != json.loads(raw(HONEST[kind].split(".")[0]))["alg"]:
            tried = with_header(HONEST[kind], alg=other)
            assert refusal(tried).code == "token.encryption_algorithm"
    assert opened == []


@pytest.mark.parametrize("content", ["A128GCM", "A192GCM", "A128CBC-HS256", "A256CBC-HS512"])
def test_other_content_encryption_is_refused(content: str, opened: list[str]) -> None:
    """One content encryption, although the others' envelopes are whole."""
    assert refusal(forged("rsa", token(), enc=content)).code == "token.encryption_algorithm"
    assert opened == []


@pytest.mark.parametrize(
    "key_id", [..., None, "", 5, [], {}, "other", "rsa ", "RSA", "../rsa", "' OR 1=1", "\ud800"]
)
def test_a_kid_leads_to_its_key_or_to_none(key_id: Any, opened: list[str]) -> None:
    """Exactly one of the consumer's own names: no path, no case, no guess among the keys."""
    code = refusal(with_header(HONEST["rsa"], kid=key_id)).code
    assert code == ("token.json" if key_id == "\ud800" else "token.encryption_key")
    assert opened == []


def test_a_header_with_two_meanings_is_refused() -> None:
    """A member that is there twice, for a reader that takes the other one."""
    first, rest = HONEST["rsa"].split(".", 1)
    doubled = raw(first).decode().replace("{", '{"kid":"p256",', 1)
    assert refusal(f"{b64(doubled.encode())}.{rest}").code == "token.json"


def test_a_kept_token_names_its_letter_whole() -> None:
    """A member that is not there is not one that says null."""
    letter = KeptFor(queue="q", message_id=None, body=b"")
    named: dict[str, Any] = {**letter.members(), "typ": KEPT}
    nameless = forged("p256", token(), **named)  # which leaves out what is None
    assert "busauth-message-id" not in json.loads(raw(nameless.split(".")[0]))
    with pytest.raises(NotGenuine) as caught:
        decryption().open_for_redrive(nameless, letter)
    assert caught.value.code == "token.encryption_moved"


@pytest.mark.parametrize("name", ["jku", "jwk", "x5u", "x5c", "x5t"])
def test_no_key_in_a_header_is_followed(name: str) -> None:
    """A key that the envelope brings along opens nothing."""
    own = Decryption(private_jwk("p256", "attacker", kid="p256"))
    brought = {"jku": "https://attacker.test/keys", "x5u": "https://attacker.test/x"}
    value: Any = brought.get(name) or (private_jwk("p256", "attacker") if name == "jwk" else "x")
    assert refusal(with_header(HONEST["p256"], **{name: value}), own).code == "token.decryption"


@pytest.mark.parametrize("name", ["crit", "b64"])
@pytest.mark.parametrize("value", [None, [], ["exp"], True, False])
def test_critical_extensions_are_refused(name: str, value: Any) -> None:
    """Whatever they say."""
    assert refusal(with_header(HONEST["rsa"], **{name: value})).code == "token.crit"


@pytest.mark.parametrize("kind", KINDS)
def test_an_envelope_in_an_envelope_is_refused(kind: str) -> None:
    """One layer: what is inside is signed, not encrypted again."""
    assert refusal(forged(kind, HONEST[kind])).code == "token.encryption_content"


UNSIGNED = ["", "opaque", "eyJhbGciOiJub25lIn0.e30.", "e30.e30", '{"sub":"alice"}', "e30..e30"]
UNSIGNED += ["e30.e30.e30\n", " e30.e30.e30", "e30.e30.e30.", "Bearer e30.e30.e30", "e30.e30.\xe4"]


@pytest.mark.parametrize("inside", UNSIGNED)
def test_unsigned_content_is_refused(inside: str) -> None:
    """That it was encrypted for the consumer proves nobody's word: claims, text, `alg` none."""
    if not inside:
        assert refusal(forged("p256", inside)).code == "token.segments"
        return
    assert refusal(forged("p256", inside)).code == "token.encryption_content"


@pytest.mark.parametrize("content_type", [..., None, "", 5, "JWE", "json", "jwk-set+json", "JWS"])
def test_content_of_another_type_is_refused(content_type: Any) -> None:
    """A signed token that is announced as something else is not read as one."""
    changes = {} if content_type is ... else {"cty": content_type}
    tried = with_header(HONEST["rsa"], **changes or {"cty": ...})
    assert refusal(tried).code == "token.encryption_type"


@pytest.mark.parametrize("content_type", ["JWT", "jwt", "application/jwt"])
def test_a_media_type_is_read_as_one(content_type: str) -> None:
    """In any case, and with its prefix (RFC 7515, section 4.1.10)."""
    assert decryption().decrypt(forged("p256", token(), cty=content_type)) == token()


@pytest.mark.parametrize(
    "kind", ["jwt", "at+jwt", "busauth-kept+jwt", "busauth-proof+jwt", 5, None]
)
def test_an_envelope_of_another_type_is_refused(kind: Any) -> None:
    """Explicit types do not mix; ``JWT`` says no more than none."""
    tried = with_header(forged("p256", token()), typ=kind)
    expected = "token.decryption" if kind == "jwt" else "token.encryption_type"
    assert refusal(tried).code == expected


def _point(**changes: Any) -> dict[str, Any]:
    header = json.loads(raw(HONEST["p256"].split(".")[0]))
    return {**header["epk"], **changes}


ZERO = b64(bytes(32))
OFF_CURVE = {
    "off": _point(y=_point()["x"]),
    "zero": _point(x=ZERO, y=ZERO),
    "beyond-the-field": _point(x=b64(b"\xff" * 32)),
    "long": _point(x=b64(b"\x01" * 64)),
    "empty": _point(x=""),
    "not-base64": _point(x="***"),
    "number": _point(x=5),
    "text-y": _point(y=None),
}


@pytest.mark.parametrize("name", OFF_CURVE)
def test_a_point_off_the_curve_is_refused(name: str) -> None:
    """An invalid point would tell about the private key; it is refused like any other failure."""
    assert refusal(with_header(HONEST["p256"], epk=OFF_CURVE[name])).code == "token.decryption"


SMALL_ORDER = [
    bytes(32),
    bytes([1]) + bytes(31),
    bytes.fromhex("e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800"),
    bytes.fromhex("5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157"),
    b"\xec" + b"\xff" * 30 + b"\x7f",
    b"\xed" + b"\xff" * 30 + b"\x7f",
    b"\xee" + b"\xff" * 30 + b"\x7f",
]


@pytest.mark.parametrize("point", SMALL_ORDER)
def test_a_point_of_small_order_is_refused(point: bytes) -> None:
    """X25519: an agreement that everybody knows the outcome of (RFC 7748, section 6.1)."""
    epk = {"kty": "OKP", "crv": "X25519", "x": b64(point)}
    assert refusal(with_header(HONEST["x25519"], epk=epk)).code == "token.decryption"


def _other_curves() -> dict[str, Any]:
    numbers = ec.generate_private_key(ec.SECP256K1()).public_key().public_numbers()
    coordinates = {"x": b64(numbers.x.to_bytes(32)), "y": b64(numbers.y.to_bytes(32))}
    return {
        "p384": {k: v for k, v in public_jwk("p384").items() if k in ("kty", "crv", "x", "y")},
        "secp256k1": {"kty": "EC", "crv": "secp256k1", **coordinates},
        "x25519": {"kty": "OKP", "crv": "X25519", "x": public_jwk("x25519")["x"]},
        "rsa": {k: v for k, v in public_jwk("rsa").items() if k in ("kty", "n", "e")},
        "private": {**_point(), "d": private_jwk("p256")["d"]},
        "more": {**_point(), "use": "enc"},
        "half": {"kty": "EC", "crv": "P-256"},
        "text": "epk",
        "none": None,
        "list": [],
    }


@pytest.mark.parametrize("name", _other_curves())
def test_an_ephemeral_key_of_another_kind_is_refused(name: str, opened: list[str]) -> None:
    """The curve is the key's, and the members are those of a public key alone."""
    tried = with_header(HONEST["p256"], epk=_other_curves()[name])
    assert refusal(tried).code == "token.encryption_header"
    assert opened == []


def _altered(envelope: str, part: int, value: bytes) -> str:
    parts = envelope.split(".")
    parts[part] = b64(value)
    return ".".join(parts)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [1, 8, 11, 13, 15, 16, 17, 32, 33, 255, 257, 512])
def test_other_lengths_are_refused(kind: str, size: int, opened: list[str]) -> None:
    """Key, vector and tag have one length each: a short tag could be guessed."""
    for part in (1, 2, 4):
        held = len(raw(HONEST[kind].split(".")[part]))
        if held != size:
            assert (
                refusal(_altered(HONEST[kind], part, bytes(size))).code == "token.encryption_size"
            )
    assert opened == []


@pytest.mark.parametrize("value", [None, 5, "", "AAAA", "A" * 4000, ["A" * 16]])
@pytest.mark.parametrize("name", ["iv", "tag"])
def test_other_lengths_in_a_wrapped_keys_header_are_refused(name: str, value: Any) -> None:
    """A256GCMKW has a vector and a tag of its own, and they have one length as well."""
    code = refusal(with_header(HONEST["secret"], **{name: value})).code
    assert code == ("token.too_large" if value == "A" * 4000 else "token.encryption_header")


@pytest.mark.parametrize(
    ("envelope", "code"),
    [
        pytest.param("A" * 20_000, "token.too_large", id="long"),
        pytest.param("....", "token.segments", id="dots"),
        pytest.param("e30.....", "token.segments", id="more-dots"),
        pytest.param("e30.AA.AA.AA", "token.segments", id="four"),
        pytest.param("e30..AA.AA.", "token.segments", id="no-tag"),
        pytest.param("e30...AA.AA", "token.segments", id="no-vector"),
        pytest.param("e30..AA..AA", "token.segments", id="no-content"),
        pytest.param("e30..AB.AA.AA", "token.encoding", id="not-canonical"),
        pytest.param("e30.A.AA.AA.AA", "token.encoding", id="lone-character"),
        pytest.param("e30..A=.AA.AA", "token.characters", id="padding"),
        pytest.param("W10..AA.AA.AA", "token.json", id="list"),
        pytest.param("AAAA..AA.AA.AA", "token.json", id="no-json"),
        pytest.param("A" * 2000 + "..AA.AA.AA", "token.too_large", id="long-header"),
        pytest.param("e30..AA.AA.AA", "token.encryption_algorithm", id="empty-header"),
    ],
)
def test_what_is_no_envelope_is_refused(envelope: str, code: str, opened: list[str]) -> None:
    """Size and shape come first."""
    assert refusal(envelope).code == code
    assert opened == []


@pytest.mark.parametrize("part", range(5))
@pytest.mark.parametrize("kind", KINDS)
def test_parts_of_two_envelopes_do_not_fit(kind: str, part: int) -> None:
    """Nothing can be moved from one token's envelope to another's."""
    mine, other = HONEST[kind].split("."), encryption(kind).encrypt(token(sub="mallory")).split(".")
    if mine[part] != other[part]:
        mine[part] = other[part]
        assert refusal(".".join(mine)).code == "token.decryption"


@pytest.mark.parametrize("fault", [ValueError, TypeError, KeyError, AssertionError, OverflowError])
def test_no_fault_of_joserfc_says_anything(fault: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever it raises becomes one refusal, without its text and without what caused it."""

    def failing(*_args: Any, **_settings: Any) -> Any:
        raise fault(token())

    monkeypatch.setattr(jose, "decrypt_compact", failing)
    refused = refusal(HONEST["rsa"])
    assert refused.code == "token.decryption"
    assert refused.__cause__ is None
    assert refused.__context__ is None


def test_each_failure_to_open_looks_the_same() -> None:
    """A wrong key, a wrong tag and altered content cannot be told apart."""
    told = set()
    for kind in KINDS:
        for part in (1, 2, 3, 4):
            value = raw(HONEST[kind].split(".")[part])
            if value:
                altered = bytes([value[0] ^ 1]) + value[1:]
                told.add(refusal(_altered(HONEST[kind], part, altered)).detail)
    assert len(told) == 1


def test_no_refusal_shows_keys_or_tokens() -> None:
    """Evidence names what is public, and not much of it."""
    tried = [
        with_header(HONEST["p256"], kid=token()),
        with_header(HONEST["p256"], alg=token()),
        with_header(HONEST["p256"], cty=token()),
        forged("p256", token() + "."),
        _altered(HONEST["secret"], 3, b"x"),
    ]
    hidden = [*token().split("."), private_jwk("secret")["k"]]
    for envelope in tried:
        shown = refusal(envelope)
        assert not any(part in f"{shown!r} {shown.detail}" for part in hidden)


def test_every_refusal_is_of_what_is_not_genuine() -> None:
    """Nothing about an envelope sends a message to the dead letters."""
    assert not NotGenuine.genuine
    assert refusal(HONEST["rsa"], Decryption(private_jwks()[1:])).status == 401
