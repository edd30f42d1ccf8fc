"""What an encrypted token costs, by key, in microseconds: each step blocks the event loop.

Whatever is compared runs in short turns within one process, and medians of the turns are told.

    python -m bench.encryption [--rounds N]
"""

from typing import Any

from joserfc.jwk import ECKey, OKPKey, RSAKey

from bench.turns import Step, show
from busauth._tokens.compact import split
from busauth.errors import NotGenuine
from busauth.testing import Issuer
from busauth.tokens import Decryption, TokenEncryption, shared_encryption_key


def keys() -> dict[str, dict[str, Any]]:
    """Return a private JWK of each kind."""
    made: dict[str, RSAKey | ECKey | OKPKey] = {
        "RSA-2048": RSAKey.generate_key(2048),
        "RSA-4096": RSAKey.generate_key(4096),
        "P-256": ECKey.generate_key("P-256"),
        "P-521": ECKey.generate_key("P-521"),
        "X25519": OKPKey.generate_key("X25519"),
    }
    jwks = {name: {**key.as_dict(private=True), "kid": name} for name, key in made.items()}
    return {**jwks, "secret": shared_encryption_key(bytes(range(32)), key_id="secret")}


def steps() -> dict[str, Step]:
    """Return what is compared: the least that any token costs, then each kind of key."""
    token = Issuer(lifetime=1e6).token("alice", scope="orders:read orders:write")
    found: dict[str, Step] = {"read a plain token": lambda: split(token, max_bytes=8192)}
    for name, jwk in keys().items():
        found |= of(name, TokenEncryption({"to": jwk}), Decryption(jwk), token)
    return {**found, "refuse an unknown kid": unknown(token)}


def unknown(token: str) -> Step:
    """Return what an envelope costs that names no key of the consumer's: no cryptography."""
    mine, other = (shared_encryption_key(bytes(range(32)), key_id=name) for name in "ab")
    envelope, held = TokenEncryption({"to": other}).encrypt(token), Decryption(mine)
    return lambda: refused(held, envelope)


def of(
    name: str, encryption: TokenEncryption, decryption: Decryption, token: str
) -> dict[str, Step]:
    """Return the steps of one key, and what a forged envelope costs whoever refuses it."""
    envelope = encryption.encrypt(token)
    forged = f"{envelope[:-4]}AAAA"
    return {
        f"encrypt {name}": lambda: encryption.encrypt(token),
        f"decrypt {name}": lambda: decryption.decrypt(envelope),
        f"refuse  {name}": lambda: refused(decryption, forged),
    }


def refused(decryption: Decryption, envelope: str) -> None:
    """Have an envelope refused."""
    try:
        decryption.decrypt(envelope)
    except NotGenuine:
        return
    raise AssertionError("a forged envelope was opened")


def main() -> None:
    """Print the table."""
    show(__doc__, steps(), rounds=100, times=5)


if __name__ == "__main__":
    main()
