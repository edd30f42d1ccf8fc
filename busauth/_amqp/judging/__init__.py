"""For whoever has a message in hand: what a consumer would do with it, settled by themselves."""
