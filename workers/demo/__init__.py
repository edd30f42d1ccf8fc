"""The demo: plays scenes on the shop, shows every decision as it is made, and checks them all.

`scenes` is the script, `stage` what it is played on: `services` in processes of their own, `broker`
for a look at the queues, `record` for what was seen, `timeline` and `playbill` for showing it.
"""
