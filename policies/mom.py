"""`mom`: what oVirt's MOM does.

The rules are policies/managers/mom.py.
"""

from __future__ import annotations

from policies.managed import policy

POLICY = policy(
    "mom",
    "all guests shrink in small steps while the host is short of memory, else they grow (oVirt)",
)
