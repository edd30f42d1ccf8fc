"""What a client asks of the broker on a channel."""
