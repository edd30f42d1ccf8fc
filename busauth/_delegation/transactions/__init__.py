"""Clients of a transaction token service (draft-ietf-oauth-transaction-tokens-10)."""
