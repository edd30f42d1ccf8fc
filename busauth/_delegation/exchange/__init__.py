"""Clients of an authorization server that gives tokens for tokens (RFC 8693, RFC 7523)."""
