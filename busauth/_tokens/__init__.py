"""Is it genuine? Tokens, keys, and who issued them."""
