"""Whose a message that comes back was, and whose it may be now."""

from dataclasses import replace

import pytest

from busauth._amqp.consuming.returning import Marks, check_return
from busauth._messages.proof.binding import TOKEN_SHA256
from busauth._messages.seal import Purpose, Sealed
from busauth.caller import first_token
from busauth.errors import BadMessage
from busauth.messages import Signed
from tests.unit.proving import publisher
from tests.unit.support import NOW, caller


class _Holds:
    def holds(self) -> bool:
        return True


@pytest.mark.parametrize("subject", ["alice", ""])
def test_a_caller_without_a_name_releases_nothing(subject: str) -> None:
    """An empty subject is nobody's: two tokens that both have none may be two clients'."""
    who = replace(caller(), subject=subject)
    first = first_token(who, "sid")
    original = Signed(publisher(), {}, NOW, None, _Holds())
    released = original._replace(claims={TOKEN_SHA256: first.token_sha256}, original=original)
    marks = Marks(Sealed(purpose=Purpose.PARKED, first=first), None, None)
    if subject:
        check_return({}, released, marks, who)
        return
    with pytest.raises(BadMessage, match=r"seal\.caller"):
        check_return({}, released, marks, who)
