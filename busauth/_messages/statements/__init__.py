"""An operator has a dead letter sent again: who says so, of which letter? See docs/operators.md."""

from busauth._messages.statements.desks import Stated, TrustedDesk, is_statement
from busauth._messages.statements.operators import LONGEST, OperatorRules, Operators
from busauth._messages.statements.statement import (
    HEADER,
    LIFETIME,
    MAX_LETTERS,
    REDRIVE_SCOPE,
    StatedLetter,
    StatementSigner,
    authority_of,
)

__all__ = [
    "HEADER",
    "LIFETIME",
    "LONGEST",
    "MAX_LETTERS",
    "REDRIVE_SCOPE",
    "OperatorRules",
    "Operators",
    "Stated",
    "StatedLetter",
    "StatementSigner",
    "TrustedDesk",
    "authority_of",
    "is_statement",
]
