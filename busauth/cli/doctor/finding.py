"""What the doctor says: a finding, of a kind that docs/doctor.md tells, and how bad it is."""

from dataclasses import asdict, dataclass
from enum import StrEnum

from busauth.errors import evidence


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


def told(text: object, most: int = 400) -> str:
    """Return somebody else's words in one line, without tokens, and no more than one reads."""
    words = " ".join(str(text).split())
    parts = (evidence(words[at : at + 100]) or "" for at in range(0, min(len(words), most), 100))
    return "".join(parts) if len(words) <= most else f"{''.join(parts)}…"
