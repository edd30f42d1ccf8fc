"""Frames, and what is in them: read strictly, written once."""
