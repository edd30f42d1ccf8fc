"""What the broker logs: never a body, a header's value or a password."""

import logging
import traceback
from typing import Final

LOG: Final = logging.getLogger("busauth.broker")


def tell(error: Exception) -> None:
    """Log where something went wrong, but not its message, which may quote what came in."""
    where = "".join(traceback.format_tb(error.__traceback__))
    LOG.error("internal error: %s at\n%s", type(error).__name__, where)
