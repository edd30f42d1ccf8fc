"""What the services of rides, streaming and agents have in common: where everything is.

A token is for one service, by its name, and no other takes it. So each of them has a guard with an
audience of its own, and a name by which the issuer knows it when it asks for another token.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial

from busauth import Bus, BusOptions, Caller, Clock, Event, Guard, Verifier
from busauth.delegation import OnwardToken, TokenExchange
from busauth.messages import MessageSecurity, Route
from busauth.revocation import Revocations
from busauth.tokens import RFC9068, ClientSecretBasic, KeySource
from workers.hop import Hop
from workers.shop import RETRY


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a chain is, and who is told what happens on it.

    Attributes:
        amqp_url: the broker.
        issuer: the `iss` of every token.
        keys: its keys.
        secrets: what each service proves itself with, by its name.
        prefix: what all queue names begin with.
        clock: the time.
        tell: is told every decision, after the service's name.
        show: is shown what a service holds while it works.
        say: hears what one has found out.
        revocations: what knows whose tokens count no more.
        messages: how a service signs what it publishes, and whose signatures it asks for.
    """

    amqp_url: str = field(repr=False)
    issuer: str
    keys: KeySource
    secrets: Mapping[str, str] = field(repr=False)
    prefix: str
    clock: Clock
    tell: Callable[[str, Event], None]
    show: Callable[[Hop], None]
    say: Callable[[str], None]
    revocations: Revocations | None = None
    messages: Mapping[str, MessageSecurity] = field(default_factory=dict, repr=False)

    def guard(self, service: str, audience: str | None = None) -> Guard:
        """Return a service's guard: it takes tokens for that service alone, or for `audience`."""
        verifier = Verifier(
            self.keys,
            issuer=self.issuer,
            audience=audience or service,
            algorithms=["RS256"],
            profile=RFC9068,
            leeway=0,
        )
        return Guard(
            verifier,
            revocations=self.revocations,
            messages=self.messages.get(service),
            clock=self.clock,
            auditor=partial(self.tell, service),
        )

    def exchange(self, service: str, *, acts: bool = True) -> TokenExchange:
        """Return who gives this service other tokens for those that it holds.

        Args:
            service: who asks.
            acts: whether those tokens say that it acts for the caller.
        """
        return TokenExchange(
            self.issuer,
            client=ClientSecretBasic(service, self.secrets[service]),
            keys=self.keys,
            acts=acts,
            clock=self.clock,
        )

    def bus(
        self,
        service: str,
        *,
        audience: str | None = None,
        onward: Mapping[str | Route, OnwardToken] | None = None,
    ) -> Bus:
        """Return a service's bus.

        Args:
            service: by its name.
            audience: whom the tokens are for that it takes; None for itself.
            onward: where its callers' tokens go, and as what; None for nowhere.
        """
        return Bus(
            self.amqp_url,
            guard=self.guard(service, audience),
            service=service,
            options=BusOptions(retry=RETRY),
            onward=onward or {},
        )

    def queue(self, name: str) -> str:
        """Return a queue's name in this run."""
        return f"{self.prefix}{name}"

    def holds(self, service: str, caller: Caller) -> None:
        """Show what a service holds of this caller, now."""
        self.show(Hop.of(service, caller, self.clock.now()))

    def says(self, service: str, text: str) -> None:
        """Say what a service has found out from what it holds."""
        self.say(f"{service}: {text}")
