"""What a token of each kind looks like: kinds are mutually exclusive (RFC 8725, section 3.11)."""

from dataclasses import replace

from busauth._delegation.exchanging import (
    ACCESS_TOKEN,
    TXN_TOKEN,
    TXN_TYP,
    VOUCHER,
    VOUCHER_TYP,
)
from busauth._tokens.compact import header_of, is_signed
from busauth._tokens.profiles.profile import Profile, media_type
from busauth.errors import NotGenuine

_TYPS = {VOUCHER: VOUCHER_TYP, TXN_TOKEN: TXN_TYP}
_KINDS = {media_type(typ): kind for kind, typ in _TYPS.items()}


def profile_for(token_type: str, profile: Profile) -> Profile:
    """Return what tokens of a type look like, where access tokens look like this."""
    typ = _TYPS.get(token_type)
    if typ is None:
        return profile
    return replace(profile, name=typ, types=frozenset({media_type(typ)}))


def kind_of(token: str) -> str:
    """Return what a token says that it is, to be told to who issued it: that proves nothing."""
    if not is_signed(token):
        return ACCESS_TOKEN
    try:
        typ = header_of(token.partition(".")[0].encode("ascii", "replace")).get("typ")
    except (NotGenuine, ValueError):  # whoever issued it says what is wrong with it
        return ACCESS_TOKEN
    return _KINDS.get(media_type(typ), ACCESS_TOKEN)
