"""A page to look at: consumers, letters, plans and runs. It moves nothing, and holds no key.

```python
from busauth.integrations.console import BrokerSource, console

app = console(
    BrokerSource("amqp://looker@localhost/"),
    queues=["orders.placed"],
    hosts=["127.0.0.1:8250"],
    guard=Guard(issuer="https://idp.example", audience="busauth-console"),
)
```

`busauth console` serves it. Whoever looks signs in with a token of the console's own audience,
which is verified, and judged anew at each request, and never kept; see docs/console.md.
"""

from busauth._doors import hand_out
from busauth.integrations.console.app import console
from busauth.integrations.console.broker import BrokerSource
from busauth.integrations.console.seen import (
    ConsumerSeen,
    InstanceSeen,
    Late,
    LetterSeen,
    Passage,
    RunStep,
    Source,
)

__all__ = [
    "BrokerSource",
    "ConsumerSeen",
    "InstanceSeen",
    "Late",
    "LetterSeen",
    "Passage",
    "RunStep",
    "Source",
    "console",
]

hand_out(__name__, globals())
