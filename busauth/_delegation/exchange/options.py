"""How a server is asked for tokens, and how long those that it gave are kept."""

from typing import Annotated

from busauth._arguments import Bytes, Count, CountOrNone, Range, SecondsOrNone
from busauth._knobs import Knobs
from busauth._tokens.asking.answers import Memory
from busauth._tokens.asking.endpoint import Outage
from busauth._tokens.verifier import MAX_TOKEN_BYTES

Depth = Annotated[int, Range(unit="actors", most=8)]
Tries = Annotated[int, Range(unit="a number", most=5)]


class ExchangeOptions(Knobs):
    """How tokens are exchanged.

    Attributes:
        early: seconds before its `exp` that a token is given out no more, and had anew.
        refused_for: seconds that a server's no is remembered, and that a service's own token counts
            as new, which is had anew for no refusal.
        remembered: how many tokens are kept, and how many refusals.
        in_flight: how many exchanges are under way, or wait for it, at the same time.
        requests: how many requests are under way at the same time.
        retries: how often a request is made again that nobody answered.
        failures: how many in a row open the circuit breaker.
        open_for: seconds that it stays open before one request is let through.
        max_token_bytes: longer tokens are not taken, in bytes.
        max_depth: how many actors a token that was had may name.
    """

    early: SecondsOrNone = 30.0
    refused_for: Memory = 5.0
    remembered: CountOrNone = 10_000
    in_flight: Count = 1_000
    requests: Count = 16
    retries: Tries = 1
    failures: Count = 5
    open_for: Outage = 10.0
    max_token_bytes: Bytes = MAX_TOKEN_BYTES
    max_depth: Depth = 4
