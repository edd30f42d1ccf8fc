"""Somebody asks an agent for work that takes twenty hours, and may change their mind at any time.

::

    POST /jobs -> desk -> search -> hold -> report      atlas, step by step
                            |         |        |
                            +> flights <+      +> mailbox      over HTTP

Between any two steps hours pass, and no token lives that long. So no message carries one: it has a
voucher, which buys a token of five minutes when atlas gets to the work, and nothing else.
"""
