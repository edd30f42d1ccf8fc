"""Whose authority goes on: token exchange, vouchers, transaction tokens, actors."""

from busauth._delegation.exchanging import (
    Exchanged,
    Exchanger,
    ExchangeRequest,
    OnwardToken,
)
from busauth._demand import NO_ACTOR, Actors
from busauth._doors import hand_out
from busauth.caller import Actor, Subject

__all__ = [
    "NO_ACTOR",
    "Actor",
    "Actors",
    "ExchangeRequest",
    "Exchanged",
    "Exchanger",
    "OnwardToken",
    "Subject",
]

hand_out(__name__, globals())
