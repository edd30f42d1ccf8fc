"""What the doctor says: a finding, of a kind that docs/doctor.md tells, and how bad it is."""

from dataclasses import asdict, dataclass
from enum import StrEnum

from busauth._redaction import redact_cut
from busauth.settings.places import no_password

_MOST = 500
_READ = 8 * _MOST
"""Characters that are told of somebody's words, and that are looked at."""


class Severity(StrEnum):
    """How bad it is, worst first."""

    ERROR = "error"
    """The service does not work as it is said, or anybody may do what nobody should."""

    WARNING = "warning"
    """It works, and something will go wrong one day."""

    HINT = "hint"
    """It may be meant so."""

    @property
    def rank(self) -> int:
        """Return 0 for the worst."""
        return list(Severity).index(self)


@dataclass(frozen=True, slots=True)
class Kind:
    """What may be found.

    Attributes:
        code: its stable name.
        severity: how bad it is.
        why: why it matters.
        todo: what to do.
        link: where the docs tell more: a page of docs/ and its anchor.
    """

    code: str
    severity: Severity
    why: str
    todo: str
    link: str


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that was found.

    Attributes:
        kind: what it is.
        where: what it is about: a queue, an issuer, a file, an option.
        found: what was found there, in words and without any token, key or password.
    """

    kind: Kind
    where: str
    found: str

    def as_json(self) -> dict[str, str]:
        """Return it as one flat object."""
        return {**asdict(self.kind), "where": self.where, "found": self.found}


@dataclass(frozen=True, slots=True)
class Report:
    """All that was found, and what was not looked at.

    Attributes:
        findings: worst first.
        unseen: what nobody has looked at, and why, for people.
    """

    findings: tuple[Finding, ...]
    unseen: tuple[str, ...] = ()

    def at_least(self, severity: Severity) -> bool:
        """Return whether something was found that is as bad as this, or worse."""
        return any(each.kind.severity.rank <= severity.rank for each in self.findings)


def told(text: object) -> str:
    """Return somebody else's words in one line, without tokens and passwords, and not all of many.

    Args:
        text: an error, or what a broker or an issuer says.
    """
    words = " ".join(str(text)[:_READ].split())
    words = no_password(redact_cut(words).removesuffix(".."))
    words = words if words.isprintable() else ascii(words)
    return words if len(words) <= _MOST else f"{words[:_MOST]}…"
