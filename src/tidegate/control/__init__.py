"""The control socket: how people, the command line and the pages speak with the daemon.

Touches one Unix socket: `server.py` is the daemon's end, `client.py` the other end.
Limits: HTTP with JSON, one request a connection; who may do what is decided by peer credentials.
"""
