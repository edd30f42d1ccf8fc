"""`busauth run`: a bus in production."""
