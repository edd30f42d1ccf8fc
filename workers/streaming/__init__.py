"""Somebody presses play: whatever their device presents ends at the door, as one transaction token.

::

    POST /plays -> edge -> playback -> recommendations
                              |
                              +------> billing

A television shows a session id, an old box an opaque token, a telephone a JWT. Behind the door it
is all the same: what is played, by whom, on which plan. Nobody in there asks anybody about it, and
nobody sees what the device showed.
"""
