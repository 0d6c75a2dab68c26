"""`python -m clearwell` is the `clearwell` command."""

from clearwell.cli.main import run

run()
