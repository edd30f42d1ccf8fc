"""What an AMQP 0-9-1 broker does with messages: no sockets, no tasks, no time of its own."""
