"""`python -P -m stream`: the console command without its script, as container images start it."""

from stream.cli import main

main()
