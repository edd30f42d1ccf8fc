"""What a decorator asks of one queue's messages; it can be said to another guard as well."""

import math
from dataclasses import dataclass, field

from busauth._amqp.options import OnError
from busauth._arguments import checked_class
from busauth._decision import Demand
from busauth._expiry import Policies
from busauth._messages.proof import Proofs, Route
from busauth.errors import ConfigurationError


@checked_class
@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What a decorator asks of one queue's messages; see `Guard` for each."""

    queue: str
    demand: Demand = field(default_factory=Demand)
    on_expired: Policies | None = None
    introspect: bool = False
    proofs: Proofs | None = None
    routes: tuple[Route, ...] = ()
    on_error: OnError = OnError.DEAD_LETTER
    deadline: float | None = None

    def __post_init__(self) -> None:
        if self.deadline is not None and not 0 < self.deadline < math.inf:
            raise ConfigurationError(
                f"{self.queue}: deadline={self.deadline!r}: expected seconds above 0, or None"
            )
