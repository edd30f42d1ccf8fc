"""`busauth doctor`: what is wrong with a service before it runs, and what to do about it."""
