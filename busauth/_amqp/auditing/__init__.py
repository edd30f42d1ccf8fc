"""Events and statuses on a stream of the broker's, and what a service is doing just now."""
