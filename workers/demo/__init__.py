"""The demo: plays scenes on a chain, shows every decision as it is made, and checks them all.

Of the shop, `scenes` is the script, `stage` what it is played on: `services` in processes of their
own. `play` plays any chain's scenes, with `broker` for a look at the queues, `record` for what was
seen, `timeline` and `playbill` for showing it. The other chains are in `chains`.
"""
