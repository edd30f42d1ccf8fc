"""What a token of each kind looks like: kinds are mutually exclusive (RFC 8725, section 3.11)."""

from dataclasses import replace

from busauth._delegation.exchanging import ACCESS_TOKEN, TXN_TOKEN, VOUCHER, VOUCHER_TYP
from busauth._tokens.profiles.profile import TXN_JWT, VOUCHER_JWT, Profile, media_type_of
from busauth._tokens.profiles.providers import TRANSACTION

_KINDS = {VOUCHER_JWT: VOUCHER, TXN_JWT: TXN_TOKEN}


def profile_for(token_type: str, profile: Profile) -> Profile:
    """Return what tokens of a type look like, where access tokens look like this."""
    if token_type == TXN_TOKEN:
        return TRANSACTION
    if token_type == VOUCHER:
        return replace(profile, name=VOUCHER_TYP, types=frozenset({VOUCHER_JWT}))
    return profile


def kind_of(token: str) -> str:
    """Return what a token says that it is, to be told to who issued it: that proves nothing."""
    return _KINDS.get(media_type_of(token) or "", ACCESS_TOKEN)
