"""What `busauth dev` serves over HTTP: its page, tokens, and an edge."""
