"""An AMQP 0-9-1 broker in this process: a pure model of RabbitMQ's behaviour, and its wire."""

from busauth.testing.broker.model.limits import Limits
from busauth.testing.broker.server import Broker

__all__ = ["Broker", "Limits"]
