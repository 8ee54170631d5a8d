"""`fixed`: every guest keeps the size that it was configured with, and what no guest has stays
fallow.

The published work's "unchanged": guests of a fixed size on a host that has more than they were
given.
"""

from __future__ import annotations

from policies.base import Policy

POLICY = Policy(
    "fixed",
    "every guest keeps the memory that it was configured with "
    "(guests.memory_start); the rest of the host's stays fallow",
    start="configured",
    gates=("fits",),
)
