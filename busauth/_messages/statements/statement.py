"""Signing: a desk says of one letter that an operator, whom it has verified, has it sent again.

The operator's own token stays at the desk. What travels is its record: who it was, and what it
allowed.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from secrets import token_hex
from typing import Annotated, Any, Self

from busauth._arguments import Range, checked
from busauth._messages import first as record
from busauth._messages.proof.binding import digest
from busauth._messages.seal import HEADER as SEAL
from busauth._messages.seal import is_seal
from busauth._messages.story import LETTER
from busauth._tokens.keys.key import canonical_algorithm
from busauth._tokens.keys.signing import PrivateKey, SigningKey
from busauth.caller import FirstToken
from busauth.errors import BadMessage, ConfigurationError, Forbidden

HEADER = "busauth-statement"
TYPE = "busauth-redrive+jwt"

SIGNED_WITH = ("ES256", "EdDSA")
"""No secret that is shared: a desk's word is not its consumers' own."""

MAX_BYTES = 16 * 1024
"""Characters of the longest statement that is signed or read."""

MAX_LETTERS = 100
"""Letters that one request states at most."""

REDRIVE_SCOPE = "letters:redrive"
"""What an operator's token must allow, where nobody says otherwise."""

Lifetime = Annotated[float, Range(unit="seconds", above=0, most=3600)]
LIFETIME: Lifetime = 300.0
"""Seconds in which a letter must be sent on a statement, by default."""

_BOUND = ("queue", "letter", "seal", "body")


@dataclass(frozen=True, slots=True, kw_only=True)
class StatedLetter:
    """A letter, as a statement names it.

    Attributes:
        queue: the consumer's queue.
        letter: the letter's id, the header ``busauth-letter``; empty where it has none.
        seal: base64url of the SHA-256 of its header ``busauth-seal``, which covers all that is
            sealed.
        body: the same of its body.
    """

    queue: str
    letter: str
    seal: str
    body: str

    @classmethod
    def of(cls, headers: Mapping[str, Any], body: bytes, queue: str) -> Self:
        """Return what a statement has to say of a message.

        Args:
            headers: the letter's.
            body: as it lies there.
            queue: its consumer's.

        Raises:
            Forbidden: ``seal.missing``: its consumer has not sealed it, and would refuse it.
        """
        seal, letter = headers.get(SEAL), headers.get(LETTER)
        if not is_seal(seal):
            found, expected = "no seal of its consumer's", "a letter that its consumer has sealed"
            raise Forbidden("seal.missing", found=found, expected=expected)
        return cls(
            queue=queue,
            letter=letter if isinstance(letter, str) else "",
            seal=digest(str(seal).encode()),
            body=digest(body),
        )


class StatementSigner:
    """Signs statements in the name of one desk.

    Args:
        name: the desk, as consumers know it: `iss`.
        key: its private key; see `SigningKey`.
        algorithm: ``ES256`` or ``EdDSA``.
        key_id: which of the desk's keys this is.

    Raises:
        ConfigurationError: another algorithm, or a key that does not fit it.
    """

    @checked
    def __init__(
        self, name: str, key: PrivateKey, *, algorithm: str, key_id: str | None = None
    ) -> None:
        if not name or canonical_algorithm(algorithm) not in SIGNED_WITH:
            expected = f"a name and one of {list(SIGNED_WITH)}"
            raise ConfigurationError(f"name={name!r}, algorithm={algorithm!r}: expected {expected}")
        self.name = name
        self._key = SigningKey(key, algorithm=algorithm, key_id=key_id)

    def sign(
        self, letter: StatedLetter, operator: FirstToken, now: float, *, lifetime: float = LIFETIME
    ) -> str:
        """Return a statement.

        Args:
            letter: which letter.
            operator: the record of the operator's token, which was verified just now.
            now: seconds since the epoch.
            lifetime: seconds in which the letter is to be sent.

        Raises:
            BadMessage: ``redrive.statement``: it would be too long, or JSON cannot say it.
        """
        claims = {
            "iss": self.name,
            "iat": float(now),
            "exp": float(now + lifetime),
            "jti": token_hex(16),
            **asdict(letter),
            "operator": record.said(operator),
        }
        try:
            statement = self._key.sign(claims, typ=TYPE)
        except (ValueError, TypeError) as error:
            found = type(error).__name__
            raise BadMessage("redrive.statement", found=found, expected="what JSON says") from None
        if len(statement) > MAX_BYTES:
            found, expected = f"{len(statement)} bytes", f"{MAX_BYTES} at most"
            raise BadMessage("redrive.statement", found=found, expected=expected)
        return statement

    def verification_jwk(self) -> dict[str, Any]:
        """Return the public key, for those who are to trust this desk."""
        return self._key.verification_jwk()


def read_letter(said: Mapping[str, Any]) -> StatedLetter | None:
    """Return the letter that claims name, None where they name none."""
    named = {name: said.get(name) for name in _BOUND}
    if not all(isinstance(value, str) for value in named.values()):
        return None
    return StatedLetter(**{name: str(value) for name, value in named.items()})


def authority_of(statement: str) -> str:
    """Return what a seal names in place of a token's digest, where a statement took its place."""
    return f"statement:{digest(statement.encode())}"
