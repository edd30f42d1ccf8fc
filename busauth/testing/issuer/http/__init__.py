"""HTTP as values: what was asked of an issuer, and what it answers."""
