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
from busauth._delegation.onward import FORWARDED, Onward
from busauth._delegation.policy import Exchange
from busauth._delegation.transactions.self_signed import SelfSigned
from busauth._delegation.transactions.transaction_tokens import TransactionTokens
from busauth._delegation.voucher import Voucher
from busauth._doors import hand_out
from busauth.caller import Subject, Transaction

__all__ = [
    "FORWARDED",
    "Exchange",
    "ExchangeOptions",
    "ExchangeRequest",
    "Exchanged",
    "Exchanger",
    "JwtGrant",
    "Onward",
    "OnwardToken",
    "SelfSigned",
    "Subject",
    "TokenExchange",
    "Transaction",
    "TransactionTokens",
    "Voucher",
]

hand_out(__name__, globals())
