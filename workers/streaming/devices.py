"""What devices present at the door, and who can prove it: nobody behind the door has to know.

A session is known to the door alone; about an opaque token the issuer is asked; a JWT says it all.
"""

from busauth import Guard, Verifier
from busauth.tokens import (
    RFC9068,
    Authenticators,
    ClientSecretBasic,
    Introspection,
    Sessions,
    SessionStore,
)
from workers.place import Place

SESSIONS = "sessions"
"""Whose word a session is: the identity provider knows nothing of it."""


def devices(place: Place, sessions: SessionStore) -> Guard:
    """Return who judges what devices present."""
    verifier = Verifier(place.keys, issuer=place.issuer, audience="edge", profile=RFC9068, leeway=0)
    introspection = Introspection(
        f"{place.issuer}/introspect",
        issuer=place.issuer,
        audience="edge",
        client=ClientSecretBasic("edge", place.secrets["edge"]),
        clock=place.clock,
    )
    known = Sessions(sessions, issuer=SESSIONS, audience="edge", prefix="s_", clock=place.clock)
    return Guard(Authenticators(verifier, known, introspection), clock=place.clock)
