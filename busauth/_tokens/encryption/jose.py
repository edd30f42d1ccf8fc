"""Keys that encrypt, each pinned to one algorithm (RFC 7518, section 4): the module with joserfc.

| key | algorithm | |
|---|---|---|
| RSA, 2048 to 4096 bits | RSA-OAEP-256 | a fresh content key for each token, encrypted |
| EC P-256, P-384, P-521; OKP X25519 | ECDH-ES | a fresh content key, agreed upon |
| a shared secret of 256 bits | A256GCMKW | a fresh content key, wrapped |

Whatever joserfc says about a token is replaced by one refusal: which step failed would help those
who try, and its text is not ours. A token's header never leads to a key: see `encryption`.
"""

from collections.abc import Mapping
from typing import Any

from joserfc.errors import JoseError
from joserfc.jwe import JWERegistry, decrypt_compact, encrypt_compact
from joserfc.jwk import ECKey, OctKey, OKPKey, RSAKey
from joserfc.util import urlsafe_b64decode

from busauth._tokens.envelope import CONTENT, IV_BYTES, TAG_BYTES, Envelope, check_sizes
from busauth.errors import ConfigurationError, NotGenuine

ALGORITHMS: Mapping[tuple[Any, Any], str] = {
    ("RSA", None): "RSA-OAEP-256",
    ("EC", "P-256"): "ECDH-ES",
    ("EC", "P-384"): "ECDH-ES",
    ("EC", "P-521"): "ECDH-ES",
    ("OKP", "X25519"): "ECDH-ES",
    ("oct", None): "A256GCMKW",
}
"""The algorithm of a key, by its type and curve. RSA1_5, PBES2 and `dir` are not among them."""

_TYPES: Mapping[str, type[RSAKey | ECKey | OKPKey | OctKey]] = {
    "RSA": RSAKey,
    "EC": ECKey,
    "OKP": OKPKey,
    "oct": OctKey,
}
_PUBLIC = {"RSA": ("n", "e"), "EC": ("crv", "x", "y"), "OKP": ("crv", "x"), "oct": ("k",)}
_PRIVATE = {"RSA": ("d", "p", "q", "dp", "dq", "qi"), "EC": ("d",), "OKP": ("d",), "oct": ()}
_ENCRYPTS = frozenset({"encrypt", "wrapKey", "deriveKey", "deriveBits"})
_DECRYPTS = frozenset({"decrypt", "unwrapKey", "deriveKey", "deriveBits"})
_RSA_BITS = range(2048, 4097)
_SECRET_BYTES = 32  # A256GCMKW takes 256 bits, no more and no fewer (RFC 7518, section 4.7)
_MAX_KEY_ID = 128  # characters: it travels in each header, which has a limit
_FAULTS = (JoseError, ValueError, TypeError, LookupError, ArithmeticError, AssertionError)
"""What joserfc raises over hostile input; its own errors are the smaller part."""


class EncryptionKey:
    """A key pinned to one algorithm; its repr shows its name only.

    Args:
        jwk: the key (RFC 7517), with a `kid`. A shared secret names its `alg` too.
        private: whether it decrypts; where not, private members are ignored.

    Attributes:
        key_id: its `kid`.
        algorithm: the only algorithm that it is used with.

    Raises:
        ConfigurationError: it is damaged, weak, nameless, or not for encryption; it is not shown.
    """

    def __init__(self, jwk: Mapping[str, Any], *, private: bool) -> None:
        if not isinstance(jwk, Mapping):
            raise ConfigurationError(f"a key of type {type(jwk).__name__}: expected a JWK")
        self.algorithm = _pinned(jwk)
        key_id = jwk.get("kid")
        if (
            not isinstance(key_id, str)
            or not 0 < len(key_id) <= _MAX_KEY_ID
            or not key_id.isascii()
        ):
            expected = f"a kid of 1 to {_MAX_KEY_ID} characters"
            raise ConfigurationError(f"{_name(jwk)}: expected {expected}")
        self.key_id = key_id
        _check_use(jwk, _DECRYPTS if private else _ENCRYPTS)
        self._curve = (jwk["kty"], jwk.get("crv"))
        self._key = _loaded(jwk, private=private)
        # Bytes of an encrypted content key of this one's; key agreement sends none.
        self._wrapped = _SECRET_BYTES if isinstance(self._key, OctKey) else 0
        if isinstance(self._key, RSAKey):
            self._wrapped = (self._key.public_key.key_size + 7) // 8

    def encrypt(self, header: Mapping[str, Any], plaintext: bytes) -> str:
        """Return a compact JWE; `alg`, `enc` and `kid` are written here."""
        named = {"alg": self.algorithm, "enc": CONTENT, "kid": self.key_id}
        registry = _registry(self.algorithm, len(plaintext))
        return encrypt_compact({**header, **named}, plaintext, self._key, registry=registry)

    def decrypt(self, token: str, envelope: Envelope) -> bytes:
        """Return what is inside, altered by nobody since it was encrypted.

        Raises:
            NotGenuine: ``token.encryption_algorithm``, ``token.encryption_size``,
                ``token.encryption_header`` or ``token.decryption``.
        """
        self._check(envelope)
        registry = _registry(self.algorithm, len(envelope.ciphertext))
        try:
            found = decrypt_compact(token, self._key, registry=registry).plaintext
        except _FAULTS:  # which step failed is told to nobody, see above
            found = None
        if found is None:
            raise NotGenuine(
                "token.decryption", found="an envelope that does not open", expected="its key's"
            )
        return found

    def _check(self, envelope: Envelope) -> None:
        if envelope.header.get("alg") != self.algorithm:
            found = f"alg={envelope.header.get('alg')!r}"
            raise NotGenuine("token.encryption_algorithm", found=found, expected=self.algorithm)
        check_sizes(envelope, encrypted_key=self._wrapped)
        if self.algorithm == "ECDH-ES":
            _check_ephemeral(envelope.header.get("epk"), self._curve)
        if self.algorithm == "A256GCMKW":
            _check_text(envelope.header, "iv", IV_BYTES)
            _check_text(envelope.header, "tag", TAG_BYTES)

    def __repr__(self) -> str:
        return f"<EncryptionKey {self.key_id} {self.algorithm}>"


def _registry(algorithm: str, plaintext_bytes: int) -> JWERegistry:
    """Joserfc with this algorithm alone; what is too long was refused before."""
    registry = JWERegistry(algorithms=[algorithm, CONTENT], strict_check_header=False)
    registry.max_protected_header_length = registry.max_ciphertext_length
    registry.max_ciphertext_length = max(registry.max_ciphertext_length, 2 * plaintext_bytes)
    return registry


def _check_ephemeral(epk: Any, curve: tuple[Any, Any]) -> None:
    """A public key of the same curve, and nothing else (RFC 7518, section 4.6.1.1)."""
    kty, crv = curve
    expected = {"kty", *_PUBLIC[kty]}
    if not isinstance(epk, dict) or set(epk) != expected or (epk["kty"], epk["crv"]) != (kty, crv):
        raise NotGenuine(
            "token.encryption_header", found="another epk", expected=f"a public key on {crv}"
        )


def _check_text(header: Mapping[str, Any], name: str, size: int) -> None:
    characters = (4 * size + 2) // 3
    found = header.get(name)
    if not isinstance(found, str) or len(found) != characters:
        expected = f"{size} bytes in base64url"
        raise NotGenuine("token.encryption_header", found=f"another {name}", expected=expected)


def _name(jwk: Mapping[str, Any]) -> str:
    return f"encryption key kid={jwk.get('kid')!r} kty={jwk.get('kty')!r} alg={jwk.get('alg')!r}"


def _pinned(jwk: Mapping[str, Any]) -> str:
    """Return the algorithm of this key. A secret says what it is for: most of them are not."""
    algorithm = ALGORITHMS.get((_text(jwk, "kty"), _text(jwk, "crv")))
    named = jwk.get("alg", None if jwk.get("kty") == "oct" else algorithm)
    if algorithm is None or named != algorithm:
        expected = sorted(set(ALGORITHMS.values()))
        raise ConfigurationError(f"{_name(jwk)} crv={jwk.get('crv')!r} fits none of {expected}")
    return algorithm


def _text(jwk: Mapping[str, Any], member: str) -> str | None:
    value = jwk.get(member)
    return value if value is None or isinstance(value, str) else ""


def _check_use(jwk: Mapping[str, Any], operations: frozenset[str]) -> None:
    named = jwk.get("key_ops", sorted(operations))
    # One of them suffices: a key for agreement names `deriveKey`, or `deriveBits`, or both.
    fits = isinstance(named, list) and any(
        isinstance(each, str) and each in operations for each in named
    )
    if jwk.get("use", "enc") != "enc" or not fits:
        raise ConfigurationError(f"{_name(jwk)} is not for this side of encryption")


def _loaded(jwk: Mapping[str, Any], *, private: bool) -> RSAKey | ECKey | OKPKey | OctKey:
    kty = jwk["kty"]
    wanted = ("kty", *_PUBLIC[kty], *(_PRIVATE[kty] if private else ()))
    members = {name: jwk[name] for name in wanted if name in jwk}
    if private and kty != "oct" and "d" not in members:
        raise ConfigurationError(f"{_name(jwk)} holds no private half")
    try:
        _check_strength(members)
        return _TYPES[kty].import_key(members)
    except _WeakKeyError as error:
        raise ConfigurationError(f"{_name(jwk)} has {error}") from None
    except _FAULTS:
        raise ConfigurationError(f"{_name(jwk)} is damaged: it cannot be loaded") from None


class _WeakKeyError(Exception):
    """A key of the wrong length."""


def _check_strength(members: Mapping[str, Any]) -> None:
    """RSA of 2048 bits (RFC 7518, section 4.3) to 4096, beyond which one token blocks for long."""
    if not all(isinstance(value, str) for value in members.values()):
        raise TypeError
    decoded = urlsafe_b64decode(members.get("n", members.get("k", "")).encode())
    bits = int.from_bytes(decoded).bit_length()
    if members["kty"] == "RSA" and bits not in _RSA_BITS:
        raise _WeakKeyError(f"{bits} bits: expected 2048 to 4096")
    if members["kty"] == "oct" and len(decoded) != _SECRET_BYTES:
        raise _WeakKeyError(f"{len(decoded)} bytes: expected {_SECRET_BYTES}")
