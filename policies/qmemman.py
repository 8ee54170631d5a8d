"""`qmemman`: what Qubes OS does with its guests' memory. Its constants are for guests of gigabytes:
on a smaller host, `least_preference`, `kept`, `least_sum` and `least_gain` have to be as much
smaller.

The rules are policies/managers/qmemman.py.
"""

from __future__ import annotations

from policies.managed import policy

POLICY = policy(
    "qmemman",
    "guests get what they use and 30 % more, and the rest by the same measure (Qubes OS)",
)
