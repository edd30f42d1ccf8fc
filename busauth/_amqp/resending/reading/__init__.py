"""What stands on a letter, read with suspicion."""
