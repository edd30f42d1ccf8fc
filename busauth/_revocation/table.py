"""Revocations of one kind: 16 bytes that stand for whose tokens, and until when they are meant.

The digests are keyed, so that nobody can make two that are equal, and a checkpoint tells no
subject to whoever reads it without the key.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field

DIGEST = 16  # bytes; keyed, so that no two names are made to share one
_CHUNK = 4096  # entries at a time: they are written while messages are judged
_REMEMBERED, _LONGEST = 10_000, 128
"""How many names' digests are at hand for each issuer, and how long such a name is at most."""


def joined(values: tuple[str, ...]) -> str:
    """Return one text for several, such that no two lists have the same."""
    head = "".join(f"{len(value)}:{value}" for value in values[:-1])
    return head + values[-1]


class Digests:
    """Digests of the names that one issuer gives to one kind of things.

    Args:
        head: all but the name.
        key: the digests' key.

    Attributes:
        at_hand: those of names that were asked for lately. Callers come again and again.
    """

    __slots__ = ("_begun", "at_hand")

    def __init__(self, head: str, key: bytes) -> None:
        self._begun = hashlib.blake2b(head.encode(), digest_size=DIGEST, key=key)
        self.at_hand: dict[str, bytes] = {}

    def digest(self, name: str) -> bytes:
        """Return what stands for a name."""
        state = self._begun.copy()
        state.update(name.encode())
        return state.digest()

    def remembered(self, name: str) -> bytes:
        """Return what stands for a name that will be asked for again, perhaps."""
        digest = self.digest(name)
        if len(name) <= _LONGEST:
            if len(self.at_hand) >= _REMEMBERED:
                self.at_hand.clear()
            self.at_hand[name] = digest
        return digest


@dataclass(slots=True)
class Table:
    """Revocations of one kind.

    Attributes:
        kind: what is named, as bits; see `RevokedTokens`.
        key: the digests' key.
        width: seconds that are forgotten together.
        entries: by digest, the second until which tokens are meant.
        digests: by issuer, what makes digests of its names.
    """

    kind: int
    key: bytes = field(repr=False)
    width: int
    entries: dict[bytes, int] = field(default_factory=dict, repr=False)
    digests: dict[str, Digests] = field(default_factory=dict, repr=False)
    _due: dict[int, list[bytes]] = field(default_factory=dict, repr=False)

    @property
    def issuers(self) -> list[str]:
        """Return the issuers that it knows anything of."""
        return list(self.digests)

    def know(self, issuer: str) -> None:
        """Prepare for the tokens of an issuer."""
        if issuer not in self.digests:
            self.digests[issuer] = Digests(f"{self.kind}:{joined((issuer, ''))}", self.key)

    def digest(self, issuer: str, name: str) -> bytes:
        """Return what stands for a name at an issuer that is known here."""
        return self.digests[issuer].digest(name)

    def put(self, digest: bytes, until: int) -> None:
        """Remember the latest second for a digest."""
        known = self.entries.get(digest)
        if known is not None and known >= until:
            return
        self.entries[digest] = until
        generation = until // self.width
        if known is None or known // self.width != generation:
            self._due.setdefault(generation, []).append(digest)

    def forget_before(self, horizon: int) -> None:
        """Drop whole generations that ended before a second."""
        for generation in [each for each in self._due if (each + 1) * self.width <= horizon]:
            for digest in self._due.pop(generation):
                if self.entries.get(digest, horizon) // self.width == generation:
                    del self.entries[digest]

    def chunks(self) -> Iterator[list[tuple[bytes, int]]]:
        """Return all entries, a few thousand at a time; what is put meanwhile may be left out."""
        # Taken at once, not when the first one is read: another thread puts entries meanwhile.
        lists = [(digests, len(digests)) for digests in self._due.values()]
        return self._chunks(lists)

    def _chunks(self, lists: list[tuple[list[bytes], int]]) -> Iterator[list[tuple[bytes, int]]]:
        for digests, count in lists:
            for start in range(0, count, _CHUNK):
                some = digests[start : min(count, start + _CHUNK)]
                found = ((digest, self.entries.get(digest)) for digest in some)
                yield [(digest, until) for digest, until in found if until is not None]
