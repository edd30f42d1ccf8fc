"""Who vouches for operators, and asking for it."""

from busauth._amqp.desks.desk import Desk
from busauth._amqp.desks.operator_token import OperatorToken

__all__ = ["Desk", "OperatorToken"]
