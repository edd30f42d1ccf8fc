"""Whose authority goes on: tokens for somewhere else, and for later."""
