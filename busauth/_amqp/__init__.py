"""The only rooms that know AMQP: reading, guarding, settling, copying and publishing messages."""
