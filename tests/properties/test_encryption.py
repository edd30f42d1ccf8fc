"""An envelope gives back exactly what was put in, or nothing."""

import string

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from busauth.errors import NotGenuine
from busauth.tokens import Decryption, KeptFor
from tests.unit.encrypting import KINDS, decryption, encryption, private_jwk, refusal
from tests.unit.opening import opened
from tests.unit.support import as_json, b64, token

BASE64URL = string.ascii_letters + string.digits + "-_"
kinds = st.sampled_from(KINDS)
words = st.text(max_size=30).filter(lambda text: text.isascii())
signatures = st.binary(min_size=1, max_size=600).map(b64)
tokens = st.builds(
    lambda claims, signature: (
        f"{b64(as_json({'alg': 'ES256'}))}.{b64(as_json(claims))}.{signature}"
    ),
    st.dictionaries(words, words | st.integers(), max_size=8),
    signatures,
)
letters = st.builds(
    KeptFor,
    queue=st.text(st.characters(codec="utf-8"), max_size=60),
    message_id=st.none() | st.text(st.characters(codec="utf-8"), max_size=60),
    body=st.binary(max_size=40),
)
names = st.sampled_from(["RSA-OAEP-256", "ECDH-ES", "A256GCMKW", "A256GCM", "JWT", *KINDS])
points = st.dictionaries(
    st.sampled_from(["kty", "crv", "x", "y"]),
    st.sampled_from(["EC", "OKP", "P-256", "X25519", "AAAA"]),
)
headers = st.dictionaries(
    st.sampled_from(["alg", "enc", "kid", "cty", "epk", "iv", "tag", "jku"]),
    words | st.none() | st.integers() | names | points,
)
GENUINE = {kind: encryption(kind).encrypt(token()) for kind in KINDS}


@given(raw=tokens, kind=kinds)
@pytest.mark.long
def test_the_round_trip_is_exact(raw: str, kind: str) -> None:
    """Every token comes out of its envelope as it went in, for busauth and for others."""
    envelope = encryption(kind).encrypt(raw)
    assert decryption().reveal(envelope) == raw
    assert opened(envelope, private_jwk(kind))[1] == raw.encode()


@given(kind=kinds, at=st.integers(0), by=st.sampled_from(BASE64URL + ".="))
def test_any_altered_character_is_refused(kind: str, at: int, by: str) -> None:
    """One character of any part is enough; nothing is taken for what it was."""
    envelope = GENUINE[kind]
    at %= len(envelope)
    assume(envelope[at] != by)
    altered = envelope[:at] + by + envelope[at + 1 :]
    with pytest.raises(NotGenuine):
        decryption().reveal(altered)


@pytest.mark.parametrize("kind", ["x25519", "secret"])
def test_every_altered_character_is_refused(kind: str) -> None:
    """No position of an envelope is left out."""
    for at, character in enumerate(GENUINE[kind]):
        altered = f"{GENUINE[kind][:at]}{'A' if character != 'A' else 'B'}{GENUINE[kind][at + 1 :]}"
        with pytest.raises(NotGenuine):
            decryption().reveal(altered)


@given(kind=kinds, cut=st.integers(0), more=st.text(BASE64URL + ".", max_size=20))
def test_a_cut_or_longer_envelope_is_refused(kind: str, cut: int, more: str) -> None:
    """What is missing at the end, or added to it, is noticed."""
    kept = GENUINE[kind][: cut % len(GENUINE[kind])]
    assume(kept + more != GENUINE[kind])
    for altered in (kept + more, GENUINE[kind] + (more or "A")):
        with pytest.raises(NotGenuine):
            decryption().reveal(altered)


@given(kind=kinds, name=st.sampled_from(["1", "2", "3"]))
def test_a_wrong_recipient_is_refused(kind: str, name: str) -> None:
    """Another key under the same name opens nothing."""
    other = Decryption(private_jwk(kind, name, kid=kind))
    assert refusal(GENUINE[kind], other).code == "token.decryption"


@given(envelope=st.text(BASE64URL + ".", max_size=300) | st.text(max_size=60))
def test_any_text_is_refused_with_a_code(envelope: str) -> None:
    """No text makes anything but a refusal."""
    assert refusal(envelope).code.startswith("token.")


@given(header=headers)
def test_any_header_is_refused_with_a_code(header: dict[str, object]) -> None:
    """Whatever a header says, of whatever type, it is a refusal at most."""
    rest = GENUINE["p256"].split(".", 1)[1]
    assert refusal(f"{b64(as_json(header))}.{rest}").code.startswith("token.")


@given(letter=letters, other=letters, kind=kinds)
def test_a_kept_token_opens_in_its_own_letter_only(
    letter: KeptFor, other: KeptFor, kind: str
) -> None:
    """Queue, message id and body together say which letter it is."""
    kept = encryption(kind).seal_for_redrive(token(), letter)
    assert decryption().open_for_redrive(kept, letter) == token()
    assume(letter != other)
    with pytest.raises(NotGenuine) as caught:
        decryption().open_for_redrive(kept, other)
    assert caught.value.code == "token.encryption_moved"
