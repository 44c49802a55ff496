"""`python -m tidegate`: the same as the `tidegate` command.

Touches nothing itself. Limits: none of its own.
"""

from tidegate.cli import main

main()
