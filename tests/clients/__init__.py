"""Unmodified AMQP clients, each used as its own users would, against both brokers."""
