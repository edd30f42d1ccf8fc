"""Dead letters and parked messages: looking at them, and sending them again."""

from busauth._amqp.desks import Desk, OperatorToken
from busauth._amqp.options import Letters
from busauth._amqp.resending.again import Released
from busauth._amqp.resending.authorities import FreshToken, KeptToken
from busauth._amqp.resending.letters import Letter, dead_letters
from busauth._amqp.resending.look import Found, look
from busauth._amqp.resending.passes import Redriven
from busauth._amqp.resending.records import Record, history
from busauth._amqp.resending.redrive import Redrive
from busauth._amqp.resending.release import Release
from busauth._amqp.resending.wanted import Group, Wanted, groups
from busauth._doors import hand_out
from busauth._messages.statements import Operators, StatedLetter, StatementSigner, TrustedDesk
from busauth._messages.story import Chapter
from busauth._tokens.encryption.kept import LetterKeys

__all__ = [
    "Chapter",
    "Desk",
    "Found",
    "FreshToken",
    "Group",
    "KeptToken",
    "Letter",
    "LetterKeys",
    "Letters",
    "OperatorToken",
    "Operators",
    "Record",
    "Redrive",
    "Redriven",
    "Release",
    "Released",
    "StatedLetter",
    "StatementSigner",
    "TrustedDesk",
    "Wanted",
    "dead_letters",
    "groups",
    "history",
    "look",
]

hand_out(__name__, globals())
