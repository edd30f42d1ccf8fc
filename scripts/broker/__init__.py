"""A RabbitMQ for a test run: ``python -m scripts.broker -- CMD ARGS...`` runs CMD with one.

Tests that need to stop and start a broker import `PrivateNode`. Standard library only.
"""

from scripts.broker.node import PrivateNode
from scripts.broker.telling import BrokerError

__all__ = ["BrokerError", "PrivateNode"]
