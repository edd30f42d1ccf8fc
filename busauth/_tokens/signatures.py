"""Which of a source's keys signed? A header's `kid` chooses among them, and leads nowhere else."""

from busauth._tokens.compact import CompactToken
from busauth._tokens.evidence import SignedBy, former_keys
from busauth._tokens.keys.key import KeySource


def signer_of(compact: CompactToken, keys: KeySource, algorithm: str) -> SignedBy | None:
    """Return the key that signed a JWS, among those at hand; None where none of them did.

    Args:
        compact: a JWS whose `kid` is text, if it has one.
        keys: its signer's keys.
        algorithm: the one that its header names, which was held to the signer's.

    Raises:
        KeyMissing: no key at hand fits.
    """
    epoch = keys.epoch  # read first: what it counts can only be older than the key
    for key in keys.candidates(compact.header.get("kid"), algorithm):
        if key.verifies(compact.signing_input, compact.signature):
            return SignedBy(keys, key, epoch)
    return None


def former_signer_of(compact: CompactToken, keys: KeySource, algorithm: str) -> SignedBy | None:
    """Return the removed key that signed a JWS, where a source remembers any; see `signer_of`."""
    epoch = keys.epoch
    for key, retired in former_keys(keys, compact.header.get("kid"), algorithm):
        if key.verifies(compact.signing_input, compact.signature):
            return SignedBy(keys, key, epoch, retired)
    return None
