"""What the broker logs: never a body, a header's value or a password."""

import logging
import traceback
from typing import Final

LOG: Final = logging.getLogger("busauth.broker")


def tell(error: Exception) -> None:
    """Log where something went wrong: no message and no line of code, which may quote secrets."""
    places = (
        f"{frame.f_code.co_filename}:{line} in {frame.f_code.co_name}"
        for frame, line in traceback.walk_tb(error.__traceback__)
    )
    LOG.error("internal error: %s at\n  %s", type(error).__name__, "\n  ".join(places))
