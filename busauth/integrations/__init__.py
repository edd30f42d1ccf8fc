"""Where other protocols meet the bus."""
