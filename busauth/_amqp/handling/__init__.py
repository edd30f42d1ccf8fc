"""How a handler is called, from its annotations and a body."""
