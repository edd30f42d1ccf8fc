"""From a queue to a handler: what is asked of a delivery before it runs."""
