"""What all hosts have seen, gathered to try a policy before it is published.

Touches nothing. Limits: bounded at every end; what was left out is said.
"""
