"""Signing: a publisher says of one message that it published it, where to, and when."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from busauth._arguments import checked
from busauth._messages.canonical import MAX_NAME, NotCanonical
from busauth._messages.proof.binding import (
    CALLER,
    MAX_BYTES,
    MAX_HEADERS,
    MAX_RELEASED_BYTES,
    ORIGINAL,
    ROOT_IAT,
    TOKEN_SHA256,
    TYPE,
    OutgoingMessage,
    bound_header,
    bound_properties,
    digest,
    token_digests,
)
from busauth._tokens.compact import split
from busauth._tokens.keys.key import canonical_algorithm
from busauth._tokens.keys.signing import PrivateKey, SigningKey
from busauth.errors import ConfigurationError, NotGenuine, PublishError, evidence

ALGORITHMS = ("ES256", "EdDSA", "HS256")
"""What proofs are signed with: HS256 only within one trust domain, where a secret is shared."""

_SHA256 = re.compile(r"[0-9a-f]{64}")
# What brokers, proxies and busauth itself change on the way, or keep from a copy.
_LEFT_OUT = frozenset({"cc", "bcc", "authorization", "proxy-authorization", "txn-token"})
_LEFT_OUT_PREFIXES = ("x-", "busauth-")


@dataclass(frozen=True, slots=True)
class Original:
    """The proof that a parked or dead-lettered message came with, for its release.

    Args:
        proof: the proof as it stood in the header.
        token_sha256: the hex SHA-256, as it was recorded, of the token that came with it.
    """

    proof: str = field(repr=False)
    token_sha256: str

    @classmethod
    def of(cls, proof: str, token_sha256: str) -> "Original":
        """Return the first proof of a message, where it was released before, too.

        Raises:
            PublishError: it cannot be read.
        """
        try:
            claims = split(proof, max_bytes=MAX_RELEASED_BYTES).payload
        except NotGenuine as error:
            raise PublishError(f"the original proof cannot be read: {error.detail}") from None
        if ORIGINAL not in claims:
            return cls(proof, token_sha256)
        return cls(str(claims["original"]), str(claims.get(TOKEN_SHA256)))


def first_proof(proof: str) -> str:
    """Return the proof that a release embeds; of what is none, what was given."""
    try:
        return Original.of(proof, "").proof
    except PublishError:
        return proof


class ProofSigner:
    """Signs, for each message, a proof in the name of one publisher.

    Args:
        name: the publisher, as consumers know it.
        key: its private key, or the secret that the trust domain shares; see `SigningKey`.
        algorithm: ``ES256``, ``EdDSA`` or ``HS256``.
        key_id: which of the publisher's keys this is.
        headers: the headers that every proof binds, there or not.

    Raises:
        ConfigurationError: another algorithm, a key that does not fit it, or a header that copies
            do not carry.
    """

    @checked
    def __init__(
        self,
        name: str,
        key: PrivateKey,
        *,
        algorithm: str,
        key_id: str | None = None,
        headers: Iterable[str] = (),
    ) -> None:
        if not name or canonical_algorithm(algorithm) not in ALGORITHMS:
            expected = f"a name and one of {list(ALGORITHMS)}"
            raise ConfigurationError(f"name={name!r}, algorithm={algorithm!r}: expected {expected}")
        self.name = name
        self.headers = _checked_headers(headers)
        self._key = SigningKey(key, algorithm=algorithm, key_id=key_id)

    def sign(
        self,
        binding: OutgoingMessage,
        now: float,
        *,
        root_published_at: float | None = None,
        original: Original | None = None,
    ) -> str:
        """Return the proof of one message.

        Args:
            binding: the message, and where it goes.
            now: the published instant, seconds since the epoch.
            root_published_at: in a chain, when the message that led to this one was published.
            original: on a release, the proof that the message came with.

        Raises:
            PublishError: the message has no id or no token, something in it has no canonical form,
                or the proof would be too long.
        """
        claims = {"iss": self.name, "iat": float(now), **self._claims(binding)}
        if root_published_at is not None:
            claims[ROOT_IAT] = root_published_at
        if original is not None:
            if not _SHA256.fullmatch(original.token_sha256):
                raise PublishError("the original's token has no digest: expected a hex SHA-256")
            claims |= {ORIGINAL: original.proof, TOKEN_SHA256: original.token_sha256}
        try:
            proof = self._key.sign(claims, typ=TYPE)
        except (ValueError, TypeError) as error:
            raise PublishError(f"no proof can say this: {type(error).__name__}") from None
        limit = MAX_BYTES if original is None else MAX_RELEASED_BYTES
        if len(proof) > limit:
            raise PublishError(f"the proof has {len(proof)} bytes: expected {limit} at most")
        return proof

    def _claims(self, binding: OutgoingMessage) -> dict[str, Any]:
        if not binding.message_id:
            raise PublishError("a proof binds a message id: the message has none")
        properties = bound_properties(binding.properties)
        tokens = _tokens(binding)
        # Named beside the digest, which says nothing of a caller once the token is gone.
        caller = zip(CALLER, (binding.issuer, binding.subject), strict=True)
        claims: dict[str, Any] = {
            **tokens,
            **{name: value for name, value in caller if value is not None},
            "body": digest(binding.body),
            "exchange": binding.exchange,
            "routing_key": binding.routing_key,
            "message_id": binding.message_id,
        }
        _check_text(claims)
        _check_text(properties)
        if properties:
            claims["properties"] = properties
        if self.headers:
            claims["headers"] = {name: _header(binding, name) for name in self.headers}
        return claims


def _checked_headers(headers: Iterable[str]) -> tuple[str, ...]:
    names = (headers,) if isinstance(headers, str) else tuple(dict.fromkeys(headers))
    for name in names:
        lowered = name.lower()
        too_long = len(name.encode("utf-8", "replace")) > MAX_NAME
        if not name or too_long or lowered in _LEFT_OUT or lowered.startswith(_LEFT_OUT_PREFIXES):
            expected = (
                "one that copies keep: no x-..., busauth-..., CC, BCC, nor a token's, and "
                f"{MAX_NAME} bytes at most"
            )
            raise ConfigurationError(f"headers: {name!r}: expected {expected}")
    if len(names) > MAX_HEADERS:
        raise ConfigurationError(f"{len(names)} headers: expected {MAX_HEADERS} at most")
    return names


def _tokens(binding: OutgoingMessage) -> dict[str, str]:
    named = zip(("ath", "tth"), token_digests(binding), strict=True)
    bound = {name: value for name, value in named if value is not None}
    if not bound:
        raise PublishError("a proof binds a token: the message has none")
    return bound


def _check_text(named: Mapping[str, object]) -> None:
    for name, value in named.items():
        if not isinstance(value, str):
            raise PublishError(f"{name} of type {type(value).__name__}: expected text")


def _header(binding: OutgoingMessage, name: str) -> str | None:
    try:
        return bound_header(binding.headers, name)
    except NotCanonical as error:
        found = f"header {evidence(name)}: {error}"
        raise PublishError(f"{found}: expected text, integers, booleans, lists, tables") from None
