"""Authorization servers that tests are held to, each installed by itself and started when asked."""
