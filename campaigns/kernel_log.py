"""What a kernel log may not say in a run that counts, and what looks like it but is harmless. Data, with a reason beside each pattern."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Pattern:
    """A regular expression, searched in each line without regard to case, and why it matters or does not."""

    expression: str
    reason: str


FORBIDDEN = (
    Pattern(
        r"out of memory|oom-kill|invoked oom-killer|oom_reaper",
        "the kernel killed a process, so the load was not the declared one",
    ),
    Pattern(r"page allocation failure", "an allocation failed: whatever asked for it went another way"),
    Pattern(
        r"\bBUG:|kernel BUG at|\bOops\b|general protection fault|kernel panic|bad page state|bad rss-counter",
        "the kernel itself broke",
    ),
    Pattern(r"WARNING: CPU: \d+", "an assumption of the kernel did not hold"),
    Pattern(
        r"segfault at|trap invalid opcode|traps: .* general protection",
        "a process died of memory it could not have: perhaps a corrupted page",
    ),
    Pattern(
        r"I/O error|Read-error on swap|Write-error on swap|Buffer I/O",
        "a disk failed, so sectors and times mean nothing",
    ),
    Pattern(
        r"EXT4-fs error|EXT4-fs \(.*\): (error|panic)|remounting filesystem read-only",
        "a file system found itself damaged",
    ),
    Pattern(r"blocked for more than \d+ seconds", "a task hung longer than any disk or emulation explains"),
    Pattern(r"soft lockup|hard lockup|rcu.*(stall|self-detected)", "a processor was stuck, so times mean nothing"),
    Pattern(
        r"\(XEN\).*(Assertion .* failed|Xen BUG|Xen WARN|domain_crash|Domain \d+ .*crashed|Panic on CPU)",
        "the hypervisor or a guest broke",
    ),
)

ALLOWED: tuple[Pattern, ...] = (
    Pattern(r"Spectre V2 : WARNING|eIBRS", "a boot-time advisory about mitigations; it says nothing about memory"),
    Pattern(r"Command line:|Kernel command line", "the echo of options may hold any word"),
    Pattern(
        r"unknown-NMI|ignoring .*lockup|watchdog: .* (disabled|enabled)|lockup detector",
        "announcements of a watchdog, not findings of one",
    ),
    Pattern(
        r"RCU CPU stall warnings timeout|rcu:.*stall timeout|rcupdate\.rcu_cpu_stall",
        "the announcement of a setting, not a stall",
    ),
)


@dataclass(frozen=True)
class Finding:
    """A line of a log that a run that counts may not have."""

    source: str
    line: str
    reason: str


def findings(
    logs: Mapping[str, str], forbidden: Iterable[Pattern] = FORBIDDEN, allowed: Iterable[Pattern] = ALLOWED
) -> list[Finding]:
    """Every forbidden line that no allowed pattern explains, in order. logs: source -> text."""
    bad = [(re.compile(pattern.expression, re.IGNORECASE), pattern.reason) for pattern in forbidden]
    good = [re.compile(pattern.expression, re.IGNORECASE) for pattern in allowed]
    found = []
    for source, text in logs.items():
        for line in text.splitlines():
            if any(expression.search(line) for expression in good):
                continue
            reason = next((reason for expression, reason in bad if expression.search(line)), None)
            if reason is not None:
                found.append(Finding(source, line.strip(), reason))
    return found
