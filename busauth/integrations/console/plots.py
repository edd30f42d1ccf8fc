"""Small plots, drawn here as SVG: numbers alone are in them, and a sentence says the same."""

import math
from collections.abc import Sequence

from busauth._extras import needs
from busauth.integrations.console.seen import Late
from busauth.integrations.console.shown import span

with needs(__name__, "console", "markupsafe"):
    from markupsafe import Markup

_WIDTH, _HEIGHT, _MOST = 160, 32, 80


def lateness(late: Sequence[Late]) -> Markup:
    """Return how late messages were accepted, one bar each, the newest on the right."""
    known = [each for each in late if math.isfinite(each.seconds) and each.seconds >= 0][-_MOST:]
    if not known:
        return Markup('<span class="faint">none late</span>')
    highest = max(each.seconds for each in known) or 1.0
    step = _WIDTH / _MOST
    left = _WIDTH - step * len(known)
    bars = Markup("").join(
        Markup('<rect x="{}" y="{}" width="{}" height="{}"/>').format(
            f"{left + step * index:.1f}",
            f"{_HEIGHT - _bar(each, highest):.1f}",
            f"{step - 0.5:.1f}",
            f"{_bar(each, highest):.1f}",
        )
        for index, each in enumerate(known)
    )
    words = (
        f"{len(known)} accepted late: the last {span(known[-1].seconds)}, "
        f"at most {span(highest)} past exp"
    )
    return Markup(
        '<svg class="plot" role="img" aria-label="{words}" viewBox="0 0 {w} {h}" width="{w}" '
        'height="{h}"><line x1="0" x2="{w}" y1="{base}" y2="{base}"/>{bars}</svg>'
        '<span class="said">{words}</span>'
    ).format(words=words, w=_WIDTH, h=_HEIGHT, base=_HEIGHT - 0.5, bars=bars)


def _bar(late: Late, highest: float) -> float:
    return max(1.5, late.seconds / highest * (_HEIGHT - 2))


def progress(done: int, total: int, in_flight: int = 0) -> Markup:
    """Return how much of a run is done; a sentence where it has not said of how much."""
    words = f"{done} of {total}" if total > 0 else f"{done} done, {in_flight} in flight"
    if total <= 0:
        return Markup("{}").format(words)
    share = min(1.0, done / total)
    return Markup(
        '<svg class="progress" role="img" aria-label="{words}" viewBox="0 0 {w} 10" width="{w}" '
        'height="10"><rect class="all" x="0.5" y="0.5" width="{inner}" height="9"/>'
        '<rect x="0.5" y="0.5" width="{done}" height="9"/></svg><span class="said">{words}</span>'
    ).format(
        words=words,
        w=_WIDTH,
        inner=_WIDTH - 1,
        done=f"{share * (_WIDTH - 1):.1f}",
    )
