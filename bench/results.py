"""Everything that one run found."""

from dataclasses import dataclass, field
from typing import Any

from bench.consuming import Compared
from bench.delegation import Delegated
from bench.publishing import Published
from bench.scaling import Scaled
from bench.stages import Stages
from bench.sweeps import Swept
from bench.verifying import Verified


@dataclass(slots=True, kw_only=True)
class Results:
    """What was measured; None or empty where it was not asked for.

    Attributes:
        command: how to do it again.
        machine: what the absolute figures depend on.
        queue_type: the type of the queues, unless told otherwise.
        memory: cached tokens, and the megabytes that they take.
    """

    command: str
    machine: dict[str, Any]
    queue_type: str
    compared: list[Compared] = field(default_factory=list)
    published: Published | None = None
    stages: Stages | None = None
    verified: list[Verified] = field(default_factory=list)
    delegated: Delegated | None = None
    memory: dict[str, float] | None = None
    swept: list[Swept] = field(default_factory=list)
    scaled: list[Scaled] = field(default_factory=list)

    def cell(self, pattern: str, algorithm: str) -> Compared | None:
        """Return one comparison, if it was made."""
        wanted = (pattern, algorithm)
        made = ((c, (c.cell.pattern, c.cell.algorithm)) for c in self.compared)
        return next((compared for compared, named in made if named == wanted), None)

    def to_json(self) -> dict[str, Any]:
        """Return everything, ready for `json.dumps`."""
        return {
            "command": self.command,
            "machine": self.machine,
            "queue type": self.queue_type,
            "consume": [compared.to_json() for compared in self.compared],
            "publish": self.published.to_json() if self.published else None,
            "stages": self.stages.to_json() if self.stages else None,
            "verification": [verified.to_json() for verified in self.verified],
            "delegation": self.delegated.to_json() if self.delegated else None,
            "memory": self.memory,
            "sweeps": [swept.to_json() for swept in self.swept],
            "scaling": [scaled.to_json() for scaled in self.scaled],
        }
