"""Whose authority goes on: token exchange, vouchers, transaction tokens, actors."""

from busauth._delegation.exchanging import (
    Exchanged,
    Exchanger,
    ExchangeRequest,
    OnwardToken,
)
from busauth._delegation.policy import Exchange
from busauth._doors import hand_out
from busauth.caller import Subject

__all__ = ["Exchange", "ExchangeRequest", "Exchanged", "Exchanger", "OnwardToken", "Subject"]

hand_out(__name__, globals())
