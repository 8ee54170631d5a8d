"""`smartmem`: tmem is shared by demand. Nobody's memory moves.

The rules are policies/managers/smartmem.py.
"""

from __future__ import annotations

from policies.managed import policy

POLICY = policy(
    "smartmem",
    "guests keep an even share, and tmem's weights and caps follow what it spares them",
    moves=False,
    gates=("fits", "manager_decided"),
    needs=("tmem", "cleancache"),
)
