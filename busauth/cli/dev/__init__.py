"""`busauth dev`: a broker, an issuer, a bus and a timeline, started by one command."""
