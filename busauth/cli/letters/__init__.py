"""`busauth letters`: whose they are, why, and what is done about them."""
