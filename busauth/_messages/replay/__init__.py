"""Messages that were here before; the module `redis` has a memory that workers share."""

from busauth._messages.replay.group import GroupMemory, NoMemory, Remembered
from busauth._messages.replay.memory import (
    CAPACITY,
    Duplicate,
    InProcessReplay,
    ReplayKey,
    ReplayMemory,
    Standing,
    a_copy_of,
)

__all__ = [
    "CAPACITY",
    "Duplicate",
    "GroupMemory",
    "InProcessReplay",
    "NoMemory",
    "Remembered",
    "ReplayKey",
    "ReplayMemory",
    "Standing",
    "a_copy_of",
]
