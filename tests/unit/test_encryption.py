"""Tokens that travel encrypted, and those that a dead letter keeps."""

import builtins
import sys
from collections.abc import Callable
from typing import Any

import pytest

from busauth import Verifiers
from busauth._redaction import redact
from busauth._tokens.envelope import is_encrypted, refuse_encrypted
from busauth.errors import ConfigurationError, NotGenuine
from busauth.tokens import Decryption, KeptFor, TokenEncryption, shared_encryption_key
from tests.unit.encrypting import (
    KINDS,
    decryption,
    encryption,
    jwk_algorithm,
    private_jwk,
    private_jwks,
    public_jwk,
    refusal,
)
from tests.unit.opening import opened
from tests.unit.support import Signer, proven_by, token, verifier

LETTER = KeptFor(queue="orders.placed", message_id="m-1", body=b"body")


@pytest.mark.parametrize("kind", KINDS)
def test_the_consumer_gets_the_token_exactly(kind: str) -> None:
    """What was encrypted for a key comes out of it, letter for letter."""
    raw = token()
    assert decryption().reveal(encryption(kind).encrypt(raw)) == raw


@pytest.mark.parametrize("kind", KINDS)
def test_others_open_what_is_encrypted(kind: str) -> None:
    """An implementation from the primitives alone gets the token, and the header as documented."""
    raw = token()
    header, plaintext = opened(encryption(kind).encrypt(raw), private_jwk(kind))
    usual = {"alg": jwk_algorithm(kind), "enc": "A256GCM", "kid": kind, "cty": "JWT"}
    extra = {"ECDH-ES": {"epk"}, "A256GCMKW": {"iv", "tag"}}.get(header["alg"], set())
    assert plaintext == raw.encode()
    assert {name: header[name] for name in usual} == usual
    assert set(header) == set(usual) | extra


def test_nobody_else_sees_anything_of_it() -> None:
    """No part of the token is in the envelope, nor is one envelope like the next."""
    raw = token()
    first, second = encryption("p256").encrypt(raw), encryption("p256").encrypt(raw)
    assert not any(part in first for part in raw.split("."))
    assert set(first.split(".")[2:]).isdisjoint(second.split("."))


async def test_what_is_inside_is_judged_as_usual() -> None:
    """An envelope adds no trust: a token of nobody's is refused, a genuine one is genuine."""
    verifiers = Verifiers(verifier())
    genuine = decryption().reveal(encryption("p256").encrypt(token()))
    assert (await proven_by(verifiers, genuine)).caller.subject == "alice"
    foreign = decryption().reveal(encryption("p256").encrypt(token(Signer(name="other"), kid=...)))
    with pytest.raises(NotGenuine):
        await proven_by(verifiers, foreign)


def test_an_envelope_is_told_by_its_five_parts() -> None:
    """Whoever has no key for one says so."""
    assert is_encrypted(encryption("p256").encrypt(token()))
    assert not is_encrypted(token())
    refuse_encrypted(token())
    with pytest.raises(NotGenuine) as caught:
        refuse_encrypted(encryption("p256").encrypt(token()))
    assert caught.value.code == "token.encrypted"


def test_a_plain_token_is_refused_unless_it_may_come() -> None:
    """Encryption is demanded by whoever has keys for it, and may be introduced step by step."""
    raw = token()
    assert Decryption(private_jwks(), required=False).reveal(raw) == raw
    with pytest.raises(NotGenuine) as caught:
        decryption().reveal(raw)
    assert caught.value.code == "token.not_encrypted"


def test_an_envelope_of_another_consumer_is_refused() -> None:
    """Another key, or another one under the same name."""
    envelope = encryption("p256").encrypt(token())
    assert refusal(envelope, Decryption(private_jwk("rsa"))).code == "token.encryption_key"
    impostor = Decryption(private_jwk("p256", "impostor", kid="p256"))
    assert refusal(envelope, impostor).code == "token.decryption"


def test_keys_are_rotated_without_losing_what_is_queued() -> None:
    """While both keys are held, tokens for either are read; afterwards the old ones are not."""
    raw = token()
    old = TokenEncryption({"shop": public_jwk("p256", "2025")}).encrypt(raw)
    new = TokenEncryption({"shop": public_jwk("p256", "2026")}).encrypt(raw)
    both = Decryption({"keys": [private_jwk("p256", "2025"), private_jwk("p256", "2026")]})
    assert [both.reveal(envelope) for envelope in (old, new)] == [raw, raw]
    after = Decryption([private_jwk("p256", "2026")])
    assert refusal(old, after).code == "token.encryption_key"


def test_a_recipient_is_named_where_there_are_several() -> None:
    """Each recipient has a key; a name that is not known is an error."""
    sealed = TokenEncryption({"shop": public_jwk("p256"), "stock": public_jwk("rsa")})
    assert Decryption(private_jwk("rsa")).reveal(sealed.encrypt(token(), "stock")) == token()
    for name in (None, "nobody"):
        with pytest.raises(ConfigurationError, match="shop"):
            sealed.encrypt(token(), name)


@pytest.mark.parametrize("raw", ["", "opaque", "a.b", "e30.e30.", "a.b.c.d.e", "e30.e30.ä"])
def test_only_a_signed_token_is_encrypted(raw: str) -> None:
    """What no consumer could accept is not sent."""
    with pytest.raises(NotGenuine):
        encryption("p256").encrypt(raw)


def test_a_token_is_as_long_as_it_may_be() -> None:
    """The longest token travels with the largest key, and one byte more does not."""
    raw = token(padding="x" * 6000)
    bound = len(raw)
    sender = TokenEncryption({"shop": public_jwk("rsa")}, max_token_bytes=bound)
    assert Decryption(private_jwk("rsa"), max_token_bytes=bound).reveal(sender.encrypt(raw)) == raw
    shorter = Decryption(private_jwk("rsa"), max_token_bytes=bound - 1)
    assert refusal(sender.encrypt(raw), shorter).code == "token.too_large"
    with pytest.raises(NotGenuine) as caught:
        TokenEncryption({"shop": public_jwk("rsa")}, max_token_bytes=bound - 1).encrypt(raw)
    assert caught.value.code == "token.too_large"


def test_a_long_token_that_is_allowed_comes_through() -> None:
    """A bound above the default counts on both sides."""
    raw = token(padding="x" * 90_000)
    sender = TokenEncryption({"shop": public_jwk("p256")}, max_token_bytes=200_000)
    assert (
        Decryption(private_jwk("p256"), max_token_bytes=200_000).reveal(sender.encrypt(raw)) == raw
    )


def test_an_envelope_is_redacted_like_a_token() -> None:
    """No log line shows one, of any kind."""
    for kind in KINDS:
        assert redact(f"got {encryption(kind).encrypt(token())} today") == "got [token] today"


def test_a_repr_shows_names_only() -> None:
    """Neither side prints its keys."""
    for shown in (repr(encryption("secret")), repr(Decryption(private_jwk("secret")))):
        assert "secret A256GCMKW" in shown
        assert private_jwk("secret")["k"] not in shown


@pytest.mark.parametrize("kind", KINDS)
def test_a_kept_token_opens_in_its_letter(kind: str) -> None:
    """A redrive gets exactly the token that the letter kept."""
    kept = encryption(kind).seal_for_redrive(token(), LETTER)
    assert decryption().open_for_redrive(kept, LETTER) == token()


@pytest.mark.parametrize(
    "other",
    [
        KeptFor(queue="orders.paid", message_id="m-1", body=b"body"),
        KeptFor(queue="orders.placed", message_id="m-2", body=b"body"),
        KeptFor(queue="orders.placed", message_id=None, body=b"body"),
        KeptFor(queue="orders.placed", message_id="m-1", body=b"Body"),
    ],
)
def test_a_kept_token_is_of_no_use_in_another_letter(other: KeptFor) -> None:
    """Another queue, message or body, and it stays closed, in both directions."""
    for sealed, letter in ((LETTER, other), (other, LETTER)):
        kept = encryption("p256").seal_for_redrive(token(), sealed)
        with pytest.raises(NotGenuine) as caught:
            decryption().open_for_redrive(kept, letter)
        assert caught.value.code == "token.encryption_moved"


def test_a_kept_token_is_no_travelling_one() -> None:
    """Neither is taken for the other, whichever header it is put into."""
    kept = encryption("p256").seal_for_redrive(token(), LETTER)
    assert refusal(kept).code == "token.encryption_type"
    with pytest.raises(NotGenuine) as caught:
        decryption().open_for_redrive(encryption("p256").encrypt(token()), LETTER)
    assert caught.value.code == "token.encryption_type"


def test_the_longest_names_fit_a_kept_token() -> None:
    """A queue and a message id of 255 bytes each, all of them escapes in JSON."""
    letter = KeptFor(queue="\x01" * 255, message_id="\x02" * 255, body=b"")
    kept = encryption("p521").seal_for_redrive(token(), letter)
    assert decryption().open_for_redrive(kept, letter) == token()


UNUSABLE: dict[str, Any] = {
    "no-kid": public_jwk("p256", kid=None),
    "empty-kid": public_jwk("p256", kid=""),
    "odd-kid": public_jwk("p256", kid=5),
    "long-kid": public_jwk("p256", kid="k" * 129),
    "for-signatures": public_jwk("p256", use="sig"),
    "no-operation": public_jwk("p256", key_ops=[]),
    "signing-operation": public_jwk("p256", key_ops=["sign"]),
    "odd-operations": public_jwk("p256", key_ops="encrypt"),
    "odd-operation": public_jwk("p256", key_ops=[[]]),
    "other-alg": public_jwk("rsa", alg="RSA-OAEP"),
    "rsa15": public_jwk("rsa", alg="RSA1_5"),
    "pbes2": public_jwk("secret", alg="PBES2-HS256+A128KW"),
    "dir": public_jwk("secret", alg="dir"),
    "secret-without-alg": public_jwk("secret", alg=None),
    "signing-secret": public_jwk("secret", alg="HS256"),
    "short-secret": public_jwk("secret", k="AAAA"),
    "no-secret": public_jwk("secret", k=None),
    "odd-secret": public_jwk("secret", k=5),
    "foreign-curve": public_jwk("p256", crv="secp256k1"),
    "odd-curve": public_jwk("p256", crv=[]),
    "signing-curve": public_jwk("x25519", crv="Ed25519"),
    "off-the-curve": public_jwk("p256", y=public_jwk("p256")["x"]),
    "half": public_jwk("p256", y=None),
    "weak-rsa": public_jwk("rsa", n=public_jwk("rsa")["n"][:300]),
    "huge-rsa": public_jwk("rsa", n=public_jwk("rsa")["n"] * 3),
    "odd-modulus": public_jwk("rsa", n="???"),
    "no-key": {},
    "text": "text",
    "nothing": None,
}


@pytest.mark.parametrize("name", UNUSABLE)
def test_a_key_that_cannot_encrypt_is_told_at_once(name: str) -> None:
    """Weak, damaged or made for something else: an error on both sides, which shows no key."""
    for make in (
        lambda: TokenEncryption({"shop": UNUSABLE[name]}),
        lambda: Decryption([UNUSABLE[name]]),
    ):
        with pytest.raises(ConfigurationError) as caught:
            make()
        assert public_jwk("secret")["k"] not in str(caught.value)


def test_a_public_key_opens_nothing() -> None:
    """A consumer holds the private half."""
    for kind in ("rsa", "p256", "x25519"):
        with pytest.raises(ConfigurationError, match="no private half"):
            Decryption(public_jwk(kind))


def test_a_publisher_keeps_no_private_half() -> None:
    """Of a private JWK only the public members are taken."""
    sender = TokenEncryption({"shop": private_jwk("p256", d="damaged")})
    assert decryption().reveal(sender.encrypt(token())) == token()


def test_what_has_no_keys_is_an_error() -> None:
    """No recipient, no key, or two under one name."""
    makers: list[Any] = [
        lambda: TokenEncryption({}),
        lambda: Decryption([]),
        lambda: Decryption({"keys": []}),
        lambda: Decryption([private_jwk("p256"), private_jwk("rsa", kid="p256")]),
        lambda: shared_encryption_key(b"short", key_id="1"),
    ]
    for make in makers:
        with pytest.raises(ConfigurationError):
            make()


@pytest.fixture
def without(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Let joserfc fail to be imported, for want of a module."""
    found = builtins.__import__

    def uninstall(missing: str) -> None:
        def importing(name: str, *rest: Any) -> Any:
            if name.partition(".")[0] == "joserfc":
                raise ModuleNotFoundError(missing, name=missing)
            return found(name, *rest)

        monkeypatch.delitem(sys.modules, "busauth._tokens.encryption.jose", raising=False)
        monkeypatch.setattr(builtins, "__import__", importing)

    return uninstall


@pytest.mark.parametrize("missing", ["joserfc", "joserfc.jwe"])
def test_without_the_extra_it_says_what_to_install(
    missing: str, without: Callable[[str], None]
) -> None:
    """Joserfc is needed by whoever encrypts, and by nobody else."""
    keys = private_jwks()
    without(missing)
    for make in (lambda: Decryption(keys), lambda: TokenEncryption({"shop": {}})):
        with pytest.raises(ConfigurationError, match=r"pip install '.\[encryption\]'"):
            make()


def test_another_module_that_is_missing_is_not_called_the_extra(
    without: Callable[[str], None],
) -> None:
    """A broken installation says what is broken."""
    keys = private_jwks()
    without("cryptography")
    with pytest.raises(ModuleNotFoundError, match="cryptography"):
        Decryption(keys)
