"""Detectors: packs of named patterns that turn blocks of log lines into events.

Touches nothing but the pack files that the loader is handed: no clock, no logging, no network.
Limits: one line at a time; what several lines mean together is for `evidence` to say.
"""
