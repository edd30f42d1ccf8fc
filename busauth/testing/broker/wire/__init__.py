"""Bytes to the model's methods and back: handshake, frames, channels, heartbeats."""
