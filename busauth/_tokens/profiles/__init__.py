"""What access tokens look like, provider by provider, and whose they are where tenants are many."""
