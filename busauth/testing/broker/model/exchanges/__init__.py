"""From an exchange to the queues that get a copy."""
