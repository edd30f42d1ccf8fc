"""How much a whole channel may hold: basic.qos with `global` (AMQP 0-9-1, section 1.8.3.1)."""


class Limit:
    """A prefetch count for all consumers of a channel together; none at first.

    As in RabbitMQ, what basic.get took counts when it was there before the limit, and is never
    taken off again.
    """

    def __init__(self) -> None:
        self._most = 0
        self._held = 0

    @property
    def is_set(self) -> bool:
        """Whether there is a limit."""
        return self._most > 0

    def set(self, most: int, held: int) -> None:
        """Begin with what the channel holds, or go on with another number."""
        if not self._most:
            self._held = held
        self._most = most

    def lift(self) -> None:
        """Let everything through."""
        self._most = self._held = 0

    def has_room(self) -> bool:
        """Whether a further delivery may be sent; one that needs no acknowledgement waits, too."""
        return not self._most or self._held < self._most

    def took(self) -> None:
        """A consumer holds one more."""
        if self._most:
            self._held += 1

    def settled(self) -> None:
        """A consumer holds one less."""
        self._held = max(0, self._held - 1)
