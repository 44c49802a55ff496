"""The gate: the only folder that changes the world; closes for an address and opens again.

Touches the kernel's packet filter (`nftables`) or nothing (`memory`); `keeper` and `remote` carry
requests across the line between the privileged and the unprivileged process.
"""
