"""What pgbench writes: its report, and with `--log` a line for every transaction, so that
percentiles are of the transactions themselves.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path

from common.errors import OutputsError, WorkloadError
from common.metrics import total

_FIGURES = {
    "processed": r"^number of transactions actually processed: (\d{1,18})/\d{1,18}$",
    "failed": r"^number of failed transactions: (\d{1,18}) \(",
    "rate": r"^tps = (\d{1,12}\.\d{1,9}) \((?:without initial connection time|excluding connections establishing)\)$",
}
_BEFORE_15 = r"^pgbench \(14\.|^tps = \S+ \(excluding "
_SINCE_15 = ("failed",)
"""Before PostgreSQL 15 a transaction that failed ended its client, and with it the count."""

_LINE = re.compile(r"\d{1,9} \d{1,18} (\d{1,18}) \d{1,9} \d{1,18} \d{1,9}(?: (\d{1,18}))?")


@dataclass(frozen=True)
class Report:
    """rate: transactions a second. latencies: ms of each transaction, sorted; from its planned
    start where there was a rate. lags: ms by which each began late; empty without a rate.
    """

    rate: float
    latencies: list[float]
    lags: list[float]

    def percentile(self, share: float) -> float:
        """What this share of the transactions did not exceed."""
        return self.latencies[max(0, math.ceil(share * len(self.latencies)) - 1)]

    @property
    def mean(self) -> float:
        """Of all transactions."""
        return total(self.latencies) / len(self.latencies)


def read(text: str, log: str, transactions: int, where: Path) -> Report:
    """The report, of so many transactions. WorkloadError when some failed; OutputsError when report
    and log do not fit together.
    """
    found: dict[str, str] = {}
    for name, pattern in _FIGURES.items():
        values = re.findall(pattern, text, re.MULTILINE)
        if not values and name in _SINCE_15 and re.search(_BEFORE_15, text, re.MULTILINE):
            values = ["0"]
        if len(values) != 1:
            raise _refused(where, f"the line for {name} is there {len(values)} times")
        found[name] = values[0]
    if int(found["failed"]):
        raise WorkloadError("pgbench's transactions failed", where=str(where), why=f"{found['failed']} of them")
    if int(found["processed"]) != transactions:
        raise _refused(where, f"{found['processed']} transactions instead of {transactions}")
    lines = log.splitlines()
    matches = [_LINE.fullmatch(line) for line in lines]
    whole = [match for match in matches if match is not None]
    if len(whole) != len(lines) or len(whole) != transactions or not log.endswith("\n"):
        raise _refused(where, f"its log has {len(whole)} transactions instead of {transactions}")
    latencies = sorted(int(match[1]) / 1000 for match in whole)
    return Report(float(found["rate"]), latencies, [int(match[2]) / 1000 for match in whole if match[2] is not None])


def _refused(where: Path, why: str) -> OutputsError:
    return OutputsError("pgbench's output has another form than expected", where=str(where), why=why)
