"""`psi`: memory pressure of the guests, after senpai.

The rules are policies/managers/psi.py.
"""

from __future__ import annotations

from policies.managed import policy

POLICY = policy(
    "psi",
    "guests give memory until their tasks wait for it (senpai, for guests)",
)
