"""`static`: every guest has an even share of the host's memory, all the time. Nothing is fallow,
and nothing is overcommitted.
"""

from __future__ import annotations

from policies.base import Policy

POLICY = Policy(
    "static",
    "every guest keeps an even share of the host's memory",
    start="share",
    gates=("fits",),
)
