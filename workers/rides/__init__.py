"""A rider asks for a ride: who they are travels with it, what they may do gets less at each hop.

::

    POST /rides -> edge -> matching -> payments   may take this rider's money, nothing else
                               |
                               +-----> drivers    knows whom to meet, and sees nothing else

`trips` has what they say to each other. No service can do with a token what another one can: each
is for one audience, had at the issuer in exchange for the one before it.
"""
