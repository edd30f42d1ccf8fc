"""A letter whose operator does not suffice goes back where it was."""

from collections.abc import Iterator
from contextlib import contextmanager

from busauth._amqp.consuming.case import Case
from busauth._amqp.consuming.returning import CameBack
from busauth.errors import Forbidden, NotGenuine, Refused


@contextmanager
def homeward(case: Case) -> Iterator[None]:
    """Have a letter go back where it was, whatever is wrong with having it sent again.

    Raises:
        CameBack: in place of a refusal; a retry, which is genuine as well, keeps its own.
    """
    try:
        yield
    except Refused as refused:
        if case.letter is not None:
            raise CameBack.over(refused) from refused
        if isinstance(refused, NotGenuine):
            raise Forbidden(
                refused.code, found=refused.found, expected=refused.expected
            ) from refused
        raise
