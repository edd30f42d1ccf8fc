"""What operators have sent again: judged by a statement and a seal in place of a token."""

from busauth._amqp.consuming.operated.homeward import homeward
from busauth._amqp.consuming.operated.vouching import Operated, Vouched

__all__ = ["Operated", "Vouched", "homeward"]
