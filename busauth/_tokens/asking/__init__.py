"""Asking an issuer, or a store, about a token."""
