"""Handlers whose annotations are strings, some of which cannot be resolved at run time."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aio_pika.abc import AbstractIncomingMessage
from pydantic import BaseModel

from busauth.caller import Caller

if TYPE_CHECKING:
    from decimal import Decimal as Missing


class Order(BaseModel):
    """A body."""

    id: int


async def resolvable(one: Order, two: Caller, three: AbstractIncomingMessage) -> None:
    """All of it can be resolved."""


async def unresolvable(amount: Missing) -> None:
    """The annotation exists for type checkers only."""
