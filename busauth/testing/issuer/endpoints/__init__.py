"""What an issuer answers: documents, introspection, revocation, exchange."""
