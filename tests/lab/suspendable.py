"""A guest that holds a pattern (pattern.c) beyond its memory, so that a part of it is in tmem,
while it is saved, restored, migrated: what tests of that share.
"""

from __future__ import annotations

import json
import re
import time
from dataclasses import dataclass
from pathlib import Path

from common.errors import LabError
from lab.hosts.emulated import EmulatedHost

GUEST = "guest1"
IMAGE = "/root/guest.save"
SECONDS = 300
"""Bound for any single step, in seconds."""


@dataclass(frozen=True)
class Suspendable:
    """A guest that holds a pattern of so many MiB, part of it in frontswap."""

    host: EmulatedHost
    pattern_mib: int

    def pools(self) -> dict[str, int]:
        """Pages that Xen holds of the guest now, by kind of pool (EP, PP): absent when there is
        no such pool.
        """
        domain = int(self.host.run("dom0", f"xl domid {GUEST}"))
        listing = json.loads(self.host.run("dom0", "tmemctl list -l --json"))
        found: dict[str, int] = {}
        for client in listing["clients"]:
            for pool in client["pools"] if client["CI"] == domain else ():
                found[pool["PT"]] = found.get(pool["PT"], 0) + pool["Pc"]
        return found

    def wait_for_persistent(self, least: int) -> None:
        deadline = time.monotonic() + SECONDS
        while self.pools().get("PP", 0) < least:
            assert time.monotonic() < deadline, f"Xen holds {self.pools()} pages, not {least} persistent ones"
            time.sleep(2)

    def verify(self) -> None:
        """Every page of the pattern is what it was."""
        said = self.host.run(
            GUEST,
            "rm -f /run/pattern; pkill -USR1 -x pattern && while [ "
            "! -s /run/pattern ]; do sleep 1; done; cat /run/pattern",
            timeout=SECONDS,
        )
        pages = self.pattern_mib * 256
        assert re.fullmatch(rf"checked {pages} wrong 0 first 0\n", said), said

    def reconnect(self) -> None:
        """Sessions of before the guest was away are dead or slow: begin new ones, and wait until
        it answers.
        """
        self.host.disconnect()
        deadline = time.monotonic() + SECONDS
        while not self._answers():
            assert time.monotonic() < deadline, "the guest does not answer any more"
            time.sleep(2)

    def _answers(self) -> bool:
        try:
            self.host.run(GUEST, "true", timeout=30)
        except LabError:
            return False
        return True

    def log(self) -> str:
        return self.host.run(GUEST, "dmesg | tail -40")

    def allow(self, most_mib: int) -> None:
        """Let the guest have more than its balloon, which is what frontswap may use: `xl mem-set`
        and `xl restore` take it away.
        """
        self.host.run("dom0", f"xl mem-max {GUEST} {most_mib}")

    def save_and_restore(self) -> None:
        """It becomes another domain, and Xen keeps nothing of it in between."""
        domain = self.host.run("dom0", f"xl domid {GUEST}")
        self.host.run("dom0", f"xl save {GUEST} {IMAGE}", timeout=SECONDS)
        assert GUEST not in self.host.run("dom0", "xl list; tmemctl list -l")
        self.host.run("dom0", f"xl restore {IMAGE} && rm {IMAGE}", timeout=SECONDS)
        assert self.host.run("dom0", f"xl domid {GUEST}") != domain

    def migrate(self) -> None:
        """To its own host, where it becomes another domain."""
        domain = self.host.run("dom0", f"xl domid {GUEST}")
        self.host.run("dom0", f"xl migrate -s '' {GUEST} 'xl migrate-receive'", timeout=SECONDS)
        assert self.host.run("dom0", f"xl domid {GUEST}") != domain

    def refuses_to_be_saved(self, before: int) -> None:
        """Since it has no room for what Xen holds of it; it goes on as it was, and says why.
        before: pages that were there.
        """
        domain = self.host.run("dom0", f"xl domid {GUEST}")
        status = self.host.run(
            "dom0", f"xl save {GUEST} {IMAGE} > /dev/null 2>&1 && echo saved || echo refused", timeout=SECONDS
        )
        assert status == "refused\n"
        assert self.host.run("dom0", f"xl domid {GUEST}") == domain
        told = self.host.run("dom0", f"xenstore-read /local/domain/{int(domain)}/data/tmem-suspend")
        assert told.startswith("refused: ")
        assert "no room in memory and swap" in told
        self.reconnect()
        assert "suspending is refused" in self.log()
        assert self.pools()["PP"] > 0.9 * before
        self.verify()

    def goes_on_whole(self, before: int, most_mib: int) -> None:
        """After it came to another domain: it has pools again, its pages return to frontswap, and
        all are right. before: pages that were there.
        """
        self.reconnect()
        self.allow(most_mib)
        assert "drained: " in self.log()
        self.wait_for_persistent(before // 2)
        assert "EP" in self.pools()
        self.verify()
        assert "is lost" not in self.log()


def hold(host: EmulatedHost, pattern_mib: int) -> Suspendable:
    """Have the guest hold so much."""
    source = Path(__file__).with_name("pattern.c").read_bytes()
    host.run(GUEST, "cat > /root/pattern.c && gcc -O2 -o /root/pattern /root/pattern.c", timeout=SECONDS, stdin=source)
    host.run(
        GUEST,
        f"(setsid /root/pattern {pattern_mib} 7 /run/pattern < /dev/null > /dev/null 2>&1 &); "
        "while [ ! -s /run/pattern ]; do sleep 1; pgrep -x pattern > /dev/null || exit 1; done",
        timeout=SECONDS,
    )
    return Suspendable(host, pattern_mib)
