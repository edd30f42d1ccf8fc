"""Connections to the broker: its address, how one is made, and what keeps it from breaking."""
