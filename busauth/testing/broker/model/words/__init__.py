"""Values on the wire: which are valid, and RabbitMQ's words for those that are not."""
