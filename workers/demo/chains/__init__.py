"""Three more chains, each in this process, with a broker, an issuer and a clock of its own.

`town` is what they are played on; `rides`, `streaming` and `agents` have the scenes. What each hop
holds is a fact, so that a hop that holds a scope too many makes its scene differ.
"""
