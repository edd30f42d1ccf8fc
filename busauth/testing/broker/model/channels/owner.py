"""What a channel needs of the connection that it belongs to."""

from typing import Protocol

from busauth.testing.broker.model.vhost import Engine, VirtualHost


class Owner(Protocol):
    """A connection, as its channels know it.

    Attributes:
        user: who logged in.
        vhost: where names are looked up.
    """

    user: str
    vhost: VirtualHost

    @property
    def engine(self) -> Engine:
        """What virtual hosts and channels share."""
        ...
