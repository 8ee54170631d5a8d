"""`collaborative`: after collaborative memory management (OLS 2006), as far as it goes with
reports.

The rules are policies/managers/collaborative.py.
"""

from __future__ import annotations

from policies.managed import policy

POLICY = policy(
    "collaborative",
    "guests say what their memory is worth, and what costs the least is taken (after CMM)",
)
