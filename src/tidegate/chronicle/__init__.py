"""What was seen, kept for a day: events without their lines, so that another policy can judge them.

Touches only the folder it is given. Below the stages, since the daemon writes what a fleet's
process hands on. Limits: a count of bytes; what was seen longest ago goes first.
"""
