"""Who gives tokens for tokens in the tests of what goes on: in memory, with the kit's keys."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from busauth.caller import Actor
from busauth.delegation import Exchanged, ExchangeRequest, Subject
from busauth.errors import BusauthError
from busauth.testing import Issuer


@dataclass
class Idp:
    """Exchanges for a service that acts for its callers, and remembers what it was asked.

    Attributes:
        tokens: signs what it gives.
        service: who acts.
        fault: what it raises in place of an answer.
        claims: what its tokens say besides.
        asked: each subject, by name, with what was asked for.
    """

    tokens: Issuer
    service: str = "orders"
    fault: BusauthError | None = None
    claims: dict[str, Any] = field(default_factory=dict)
    asked: list[tuple[str, ExchangeRequest]] = field(default_factory=list)

    @property
    def issuer(self) -> str:
        return self.tokens.url

    async def exchange(self, subject: Subject, request: ExchangeRequest) -> Exchanged:
        self.asked.append((subject.caller.subject, request))
        if self.fault is not None:
            raise self.fault
        caller = subject.caller
        scopes = caller.scopes if request.scopes is None else request.scopes
        actors = (Actor(self.service), *caller.actors)
        said: dict[str, Any] = {
            "aud": sorted(request.audience),
            "scope": " ".join(sorted(scopes)),
            "act": chained(actors),
            **self.claims,
        }
        token = self.tokens.token(caller.subject, **said)
        fresh = replace(
            caller,
            scopes=scopes,
            audience=tuple(said["aud"]),
            actors=actors,
            issued_at=self.tokens.clock.now(),
            expires_at=said.get("exp", self.tokens.clock.now() + self.tokens.lifetime),
        )
        return Exchanged(fresh, token, request.token_type)


def chained(actors: tuple[Actor, ...]) -> Mapping[str, Any] | None:
    """Return the claim `act` of a chain, outermost first."""
    act: Mapping[str, Any] | None = None
    for actor in reversed(actors):
        act = {"sub": actor.subject} if act is None else {"sub": actor.subject, "act": act}
    return act
