"""Dead letters and parked messages: looking at them, and sending them again."""

from busauth._amqp.resending.again import Released
from busauth._amqp.resending.authorities import FreshToken, KeptToken
from busauth._amqp.resending.letters import Letter, dead_letters
from busauth._amqp.resending.look import Found, look
from busauth._amqp.resending.records import Record, history
from busauth._amqp.resending.redrive import Redrive
from busauth._amqp.resending.release import Release
from busauth._amqp.resending.story import StoryEntry
from busauth._amqp.resending.wanted import Group, Wanted, groups
from busauth._doors import hand_out

__all__ = [
    "Found",
    "FreshToken",
    "Group",
    "KeptToken",
    "Letter",
    "Record",
    "Redrive",
    "Release",
    "Released",
    "StoryEntry",
    "Wanted",
    "dead_letters",
    "groups",
    "history",
    "look",
]

hand_out(__name__, globals())
