"""`squeezed`: what XAPI and XCP-ng do. On a host that has memory for all of it, `kept` is what
matters.

The rules are policies/managers/squeezed.py.
"""

from __future__ import annotations

from policies.managed import policy

POLICY = policy(
    "squeezed",
    "all guests are equally far between their bounds, and none is asked (XAPI, XCP-ng)",
)
