"""Keys: of an issuer's, at hand, fetched, retired, and private ones."""
