"""What is published, on whose behalf, and the one place that writes it."""
