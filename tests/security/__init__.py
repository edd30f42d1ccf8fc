"""Every attack of docs/security-model.md, carried out; what is untampered is handled each time."""
