"""Tokens that travel encrypted: a signed JWT inside a JWE (RFC 7516; RFC 7519, section 11.2).

The broker, its management pages and the dead letters see an envelope. What comes out of it is a
compact JWS that the verifier judges like any other: nothing unsigned is ever accepted, and an
envelope says nothing about who sent it, since its key is public.

Rules, in the order that a hostile token meets them: size, shape, header (`envelope`), a key with
exactly that `kid`, that key's own algorithm and sizes, then the cryptography, once; then what is
inside must be a compact JWS, not another envelope.

A token that is kept for a redrive is sealed the same way, with the letter that it belongs to in
the protected header: another type of token, that no consumer takes for one, and no use in another
letter.

Needs the extra `encryption`.
"""

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from busauth._arguments import Bytes, checked
from busauth._extras import MissingExtraError, needs
from busauth._tokens.compact import split
from busauth._tokens.envelope import check_header, is_encrypted, read, sealed_length
from busauth._tokens.keys.signing import b64url
from busauth._tokens.verifier import MAX_TOKEN_BYTES
from busauth.errors import ConfigurationError, NotGenuine

if TYPE_CHECKING:
    from busauth._tokens.encryption.jose import EncryptionKey

KEPT = "busauth-kept+jwt"
"""`typ` of a token that is kept for a redrive: never one of a token that travels."""

_TRAVELS = "JWT"
_MAX_HEADER = 1024  # characters: `alg`, `enc`, `kid`, `cty`, and an ephemeral key
MAX_KEPT_HEADER = 6 * 1024
"""Characters: a queue's name and a message's id are 255 bytes each, perhaps written as escapes."""

_COMPACT_JWS = re.compile(rb"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")
_SECRET_BYTES = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptFor:
    """The dead letter that a kept token belongs to.

    Attributes:
        queue: the queue in front of which the message was refused.
        message_id: as the letter has it.
        body: the letter's.
    """

    queue: str
    message_id: str | None
    body: bytes = field(repr=False)

    def members(self) -> dict[str, str | None]:
        """Return what the protected header says."""
        return {
            "busauth-queue": self.queue,
            "busauth-message-id": self.message_id,
            "busauth-body-sha256": hashlib.sha256(self.body).hexdigest(),
        }

    def check(self, header: Mapping[str, Any]) -> None:
        """Refuse a protected header that names another letter.

        Raises:
            NotGenuine: ``token.encryption_moved``.
        """
        _check_members(header, self.members())


class TokenEncryption:
    """Encrypts tokens for consumers.

    Args:
        recipients: who can read a token, by names of your own: a public JWK each, or a secret of
            `shared_encryption_key`. Consumers who get copies of one message share a key.
        max_token_bytes: longer tokens are refused.

    Raises:
        ConfigurationError: a key is unusable, there is none, or the extra is not installed.
    """

    @checked
    def __init__(
        self,
        recipients: Mapping[str, Mapping[str, Any]],
        *,
        max_token_bytes: Bytes = MAX_TOKEN_BYTES,
    ) -> None:
        if not isinstance(recipients, Mapping) or not recipients:
            raise ConfigurationError(
                "recipients: got none, expected a JWK for each: {'orders': jwk}"
            )
        self._keys = {name: _key(jwk, private=False) for name, jwk in recipients.items()}
        self.max_token_bytes = max_token_bytes

    @property
    def recipients(self) -> tuple[str, ...]:
        """Return who can read what it encrypts."""
        return tuple(self._keys)

    def encrypt(self, token: str, recipient: str | None = None) -> str:
        """Return the token as a compact JWE.

        Args:
            token: a compact JWS.
            recipient: whose key; may be left out where there is one only.

        Raises:
            NotGenuine: the token is no compact JWS, or too long.
            ConfigurationError: no such recipient.
        """
        return self._seal(token, recipient, {"cty": "JWT"})

    def seal_for_redrive(self, token: str, letter: KeptFor, recipient: str | None = None) -> str:
        """Return the token as a dead letter may keep it, of use in that letter only.

        Raises:
            NotGenuine: the token is no compact JWS, or too long.
            ConfigurationError: no such recipient.
        """
        return self._seal(token, recipient, {"cty": "JWT", "typ": KEPT, **letter.members()})

    def _seal(self, token: str, recipient: str | None, header: Mapping[str, Any]) -> str:
        split(token, max_bytes=self.max_token_bytes)
        name = recipient
        if name is None and len(self._keys) == 1:
            name = next(iter(self._keys))
        if name is None or name not in self._keys:  # nobody guesses who may read a token
            raise ConfigurationError(f"recipient={name!r}: expected one of {sorted(self._keys)}")
        return self._keys[name].encrypt(header, token.encode("ascii"))

    def __repr__(self) -> str:
        return f"<TokenEncryption {self._keys}>"


class Decryption:
    """Opens what was encrypted for this consumer.

    Args:
        keys: private JWKs or secrets, or one JWK set, each with a `kid` of its own. During a
            rotation the old key stays until nothing encrypted for it is left in any queue.
        required: whether a token that comes plain is refused.
        max_token_bytes: longer tokens are refused, and envelopes for longer ones unread.

    Raises:
        ConfigurationError: a key is unusable, two share a `kid`, there is none, or the extra is not
            installed.
    """

    @checked
    def __init__(
        self,
        keys: Mapping[str, Any] | Sequence[Mapping[str, Any]],
        *,
        required: bool = True,
        max_token_bytes: Bytes = MAX_TOKEN_BYTES,
    ) -> None:
        jwks = keys.get("keys", [keys]) if isinstance(keys, Mapping) else keys
        if not isinstance(jwks, list | tuple) or not jwks:
            raise ConfigurationError("Decryption needs a list of JWKs, or a set: got none")
        self._keys = _by_id(_key(jwk, private=True) for jwk in jwks)
        self.required = required
        self.max_token_bytes = max_token_bytes

    def reveal(self, token: str) -> str:
        """Return the compact JWS to verify: what is inside, or what came plain and may.

        Raises:
            NotGenuine: ``token.not_encrypted``, or with the first rule that the envelope breaks.
        """
        if is_encrypted(token):
            return self.decrypt(token)
        if self.required:
            raise NotGenuine(
                "token.not_encrypted", found="a plain token", expected="an encrypted one"
            )
        return token

    def decrypt(self, token: str) -> str:
        """Return the compact JWS inside an envelope. It is hostile until it was verified.

        Raises:
            NotGenuine: with the first rule that it breaks.
        """
        return self._open(token, typ=_TRAVELS, max_header=_MAX_HEADER, members={})

    def open_for_redrive(self, kept: str, letter: KeptFor) -> str:
        """Return the compact JWS that a dead letter kept. It is hostile until it was verified.

        Raises:
            NotGenuine: ``token.encryption_moved`` where it was kept for another letter, else with
                the first rule that it breaks.
        """
        members = letter.members()
        return self._open(kept, typ=KEPT, max_header=MAX_KEPT_HEADER, members=members)

    def _open(
        self, token: str, *, typ: str, max_header: int, members: Mapping[str, str | None]
    ) -> str:
        max_bytes = sealed_length(self.max_token_bytes, max_header)
        envelope = read(token, max_bytes=max_bytes, max_header=max_header)
        check_header(envelope.header, typ=typ)
        plaintext = self._key_of(envelope.header).decrypt(token, envelope)
        _check_members(envelope.header, members)  # the header is authenticated only now
        return _inside(plaintext, self.max_token_bytes)

    def _key_of(self, header: Mapping[str, Any]) -> "EncryptionKey":
        key_id = header.get("kid")
        key = self._keys.get(key_id) if isinstance(key_id, str) else None
        if key is None:
            expected = "the kid of one of this consumer's keys"
            raise NotGenuine("token.encryption_key", found=f"kid={key_id!r}", expected=expected)
        return key

    def knows(self, key_id: object) -> bool:
        """Return whether one of its keys has this id."""
        return isinstance(key_id, str) and key_id in self._keys  # as it came: hostile

    def __repr__(self) -> str:
        return f"<Decryption {list(self._keys.values())}>"


@checked
def shared_encryption_key(secret: bytes, *, key_id: str) -> dict[str, str]:
    """Return a JWK for a secret that one trust domain shares (RFC 7518, section 4.7).

    It is for encryption alone: a secret that also signs, or seals, is another one. Replace it
    before it has encrypted 2**32 tokens (NIST SP 800-38D, section 8.3).

    Raises:
        ConfigurationError: the secret has not 32 bytes.
    """
    if len(secret) != _SECRET_BYTES:
        raise ConfigurationError(f"an encryption secret has {len(secret)} bytes: expected 32")
    encoded = b64url(secret).decode("ascii")
    return {"kty": "oct", "k": encoded, "alg": "A256GCMKW", "use": "enc", "kid": key_id}


def _check_members(header: Mapping[str, Any], members: Mapping[str, str | None]) -> None:
    for name, expected in members.items():
        if name not in header or header[name] != expected:
            another = f"another {name}"
            raise NotGenuine("token.encryption_moved", found=another, expected="this letter's")


def _key(jwk: Mapping[str, Any], *, private: bool) -> "EncryptionKey":
    try:
        with needs("a token's encryption", "encryption", "joserfc"):
            from busauth._tokens.encryption.jose import EncryptionKey  # noqa: PLC0415 -- an extra
    except MissingExtraError as error:
        raise ConfigurationError(str(error)) from None
    return EncryptionKey(jwk, private=private)


def _by_id(keys: Iterable["EncryptionKey"]) -> dict[str, "EncryptionKey"]:
    found: dict[str, EncryptionKey] = {}
    for key in keys:
        if key.key_id in found:
            raise ConfigurationError(f"two encryption keys with kid={key.key_id!r}: expected one")
        found[key.key_id] = key
    return found


def _inside(plaintext: bytes, max_token_bytes: int) -> str:
    """Read what was encrypted: a compact JWS, and whole."""
    if len(plaintext) > max_token_bytes:
        found, expected = f"{len(plaintext)} bytes inside", f"at most {max_token_bytes} bytes"
        raise NotGenuine("token.too_large", found=found, expected=expected)
    if not _COMPACT_JWS.fullmatch(plaintext):
        raise NotGenuine(
            "token.encryption_content", found="something else inside", expected="a compact JWS"
        )
    return plaintext.decode("ascii")
