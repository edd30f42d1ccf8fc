"""`python -m busauth` is the `busauth` command."""

from busauth.cli import main

main()
