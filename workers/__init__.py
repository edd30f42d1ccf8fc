"""A small shop whose services hand the caller's token on over RabbitMQ. Copy what you need.

::

    POST /orders -> gateway -> orders -> payments -> notifications
                                            |
                                            +-> ledger, over HTTP

`shop` holds what they share. Each service is one short module and one process; `demo` plays scenes
on all of them, good and hostile. Only public names of busauth are used.
"""
