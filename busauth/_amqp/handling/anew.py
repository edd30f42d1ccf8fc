"""A handler's token, had anew where its work takes longer than the token lives."""

import asyncio
from collections.abc import Callable

from busauth._decision import Bare, Rules, renew
from busauth._expiry import Fresh
from busauth._messages.provenance import Provenance
from busauth._tokens.evidence import Verified
from busauth.caller import Subject


class Renewal:
    """Has the token of one handler's lease anew.

    Args:
        token: the message's own, raw, which is what is exchanged each time.
        verified: what was proven of it.
        rules: what it is held to.
        provenance: what else is known of the message.
        told: hears of each token that was had, whatever comes of it.

    Attributes:
        lock: held while one is had, so that one is at a time.
    """

    def __init__(
        self,
        token: str | None,
        verified: Verified,
        rules: Rules,
        provenance: Provenance,
        *,
        told: Callable[[Fresh], None],
    ) -> None:
        self._token = token
        self._verified = verified
        self._rules = rules
        self._provenance = provenance
        self._told = told
        self.lock = asyncio.Lock()

    async def __call__(self) -> Subject:
        """Return another token, proven and judged, and whose it is.

        Raises:
            CallerError, Refused, Deferred: as of `renew`.
        """
        in_hand = Bare(self._token)
        try:
            fresh = await renew(self._verified, self._rules, self._provenance, in_hand)
        finally:
            if in_hand.fresh is not None:
                self._told(in_hand.fresh)
        return Subject(fresh.caller, fresh.token)
