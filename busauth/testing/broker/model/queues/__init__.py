"""Queues of all kinds: who waits in them, and who takes from them."""
