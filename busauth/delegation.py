"""Whose authority goes on: token exchange, vouchers, transaction tokens, actors."""

from busauth._delegation.exchange.jwt_grant import JwtGrant
from busauth._delegation.exchange.options import ExchangeOptions
from busauth._delegation.exchange.token_exchange import TokenExchange
from busauth._delegation.exchanging import (
    Exchanged,
    Exchanger,
    ExchangeRequest,
    OnwardToken,
)
from busauth._delegation.policy import Exchange
from busauth._doors import hand_out
from busauth.caller import Subject

__all__ = [
    "Exchange",
    "ExchangeOptions",
    "ExchangeRequest",
    "Exchanged",
    "Exchanger",
    "JwtGrant",
    "OnwardToken",
    "Subject",
    "TokenExchange",
]

hand_out(__name__, globals())
