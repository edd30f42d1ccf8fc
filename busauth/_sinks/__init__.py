"""Where events are kept: each sink takes one at once, and writes it in a thread of its own."""
