"""Parked messages and dead letters go back to their queue."""
