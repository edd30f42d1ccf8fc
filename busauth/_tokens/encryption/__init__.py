"""Tokens that travel encrypted."""
