"""Flow records of routers: NetFlow v5, v9 and IPFIX datagrams, taken apart and listened for.

Touches nothing itself; each module says what it touches. Limits: no sFlow, no SCTP, no TLS.
"""
