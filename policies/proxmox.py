"""`proxmox`: what Proxmox VE's auto-ballooning does.

The rules are policies/managers/proxmox.py.
"""

from __future__ import annotations

from policies.managed import policy

POLICY = policy(
    "proxmox",
    "80 % of the host's memory in use, by shares, the needy first (Proxmox VE)",
)
