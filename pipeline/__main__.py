"""`python -m pipeline` is `mien`."""

from pipeline.cli import main

main()
