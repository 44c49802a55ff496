"""Policy: the administrator's TOML text, read into frozen values that every stage obeys.

Touches files only in `loader`. Start with `load` and the models.
Limits: what a policy means is decided by the stages; here it is only read and checked.
"""
