"""`python -m canaryd` is `canaryd`."""

from canaryd.cli.main import main

main()
