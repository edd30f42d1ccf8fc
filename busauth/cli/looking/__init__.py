"""Commands that only look: at what would be decided, and at tokens."""
