"""Reads frames before the client library does: what is unreadable does not break it."""
