"""What hosts have decided for all: said, heard, merged, kept for latecomers.

Touches nothing. Limits: bans up to 30 days; bounded for each host and over all.
"""
