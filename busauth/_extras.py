"""Libraries that an extra brings: where one is missing, it is said which extra that is."""

from collections.abc import Iterator
from contextlib import contextmanager


class MissingExtraError(ModuleNotFoundError):
    """A sentence that names the extra."""


@contextmanager
def needs(what: str, extra: str, *libraries: str) -> Iterator[None]:
    """Import inside what an extra brings; any other module that is missing is told as it is.

    Args:
        what: whatever it is that needs it, for people.
        extra: its name.
        libraries: what it brings; default: one that is called as the extra is.

    Raises:
        MissingExtraError: one is missing.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in (libraries or (extra,)):
            raise
        raise MissingExtraError(
            f"{what} needs {error.name}, which the extra `{extra}` brings: from a checkout of "
            f"busauth, pip install '.[{extra}]'",
            name=error.name,
        ) from None
