"""`reproduce.sh` of a cell: what the testbed ran for it, as shell, to be read, and to be run by
hand on any host whose dom0 and guests can be reached.

It is made of the scripts themselves: what a policy has a host do, and what a workload has a machine
do, is recorded instead of done.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import cast

from campaigns.conditions import Conditions, Load
from campaigns.records import CampaignRecord, PlannedCell
from common.machines import Machine
from lab.api import Host, Manager, MemorySwap, TmemSettings
from lab.hosts import guests as xen_guests
from lab.hosts.guests import Disks, configuration
from lab.hosts.host import driver_script, memory_script, swap_script, sysctl_script, tmem_script
from lab.remote.ssh import DOM0
from policies import apply
from policies.base import Policy

FILE = "reproduce.sh"

_HEAD = """\
#!/bin/sh
# shellcheck disable=SC2016 # what is quoted is for another machine
# What was run for cell {cell} of campaign {campaign}, as shell.
#
# The testbed does this, with samples, gates and a record, by
#     {rerun}
# By hand: give ssh a configuration in which dom0 and the guests have these names (lab.status tells
# that of an emulated host), and dom0 the guests' kernel and disks as below.
#
#     SSH='ssh -F ssh_config' sh {file}
set -e
: "${{SSH:=ssh}}"
on() {{ $SSH "$1" 'script=$(mktemp) && cat > "$script" && sh "$script" < /dev/null'; }}
"""


_MARK = """\
    trap '[ "$?" -eq 0 ] || : > "$done/failed"' EXIT
"""
"""So that a load that fails is waited for by nobody, and is not forgotten."""

_END = """\
wait
failed=0
[ ! -e "$done/failed" ] || failed=1
rm -r "$done"
exit "$failed"
"""


def text(campaign: CampaignRecord, planned: PlannedCell, policy: Policy, conditions: Conditions, rerun: str) -> str:
    """The script. rerun: the command that runs the cell."""
    names = xen_guests.names(conditions.guests.count)
    head = _HEAD.format(cell=planned.cell, campaign=campaign.campaign, rerun=rerun, file=FILE)
    members = conditions.members(names)
    parts = [
        head,
        _section("the guests, from disks made anew", _create(policy, conditions, names)),
        _section("the loads' preparation", _each({name: _prepared(members[name].load) for name in names})),
        _section(f"the policy {policy.name}; nothing moves yet", _applied(policy, conditions, names)),
        *([f"\nsleep {conditions.settle_s:g}\n"] if conditions.settle_s else []),
        _section(
            "the release: in all guests at once, the policy takes effect and the load runs", _run(policy, conditions)
        ),
    ]
    return "".join(parts)


def _section(title: str, body: str) -> str:
    return f"\n# --- {title}\n\n{body}" if body else ""


def _on(machine: str, script: str) -> str:
    """A machine runs a script. Without a here-document whose end the script might hold."""
    return f"printf %s {shlex.quote(script)} | on {machine}\n"


def _each(scripts: Mapping[str, Sequence[str]]) -> str:
    return "".join(_on(name, script) for name, found in scripts.items() for script in found)


def _create(policy: Policy, conditions: Conditions, names: Sequence[str]) -> str:
    found, sizing = [], replace(conditions.guests, kernel=policy.kernel)
    for number, name in enumerate(names, 1):
        config = configuration(number, sizing, Disks(f"/dev/ROOT{number}", f"/dev/SWAP{number}"))
        path = f"{xen_guests.STATE}/guests/{name}.cfg"
        found.append(
            f"mkdir -p {xen_guests.STATE}/guests\nprintf %s {shlex.quote(config)} > {path}\nxl create -q {path}\n"
        )
    return _on(DOM0, "".join(found))


def _applied(policy: Policy, conditions: Conditions, names: Sequence[str]) -> str:
    recorder = _RecordingHost(names)
    apply.prepare(policy, conditions.tuning, cast("Host", recorder), conditions.host, conditions.guests)
    return "".join(recorder.done)


def _run(policy: Policy, conditions: Conditions) -> str:
    names = xen_guests.names(conditions.guests.count)
    release = apply.release_script(policy, conditions.guests.boots, conditions.tuning)
    members = conditions.members(names)
    lines = []
    for name, start in conditions.starts(names).items():
        waits = "".join(
            f'    while [ ! -e "$done/{each}" ]; do [ ! -e "$done/failed" ] || exit 1; sleep 1; done\n'
            for each in start.after
        )
        if start.delay_s:
            waits += f"    sleep {start.delay_s:g}\n"
        steps = [*([_on(name, release)] if release else []), waits, _on(name, members[name].load.script())]
        lines.append(f'( # {name}\n{_MARK}{"".join(steps)}    : > "$done/{name}"\n) &\n')
    return f"done=$(mktemp -d)\n{''.join(lines)}{_END}"


def _prepared(load: Load) -> list[str]:
    """The scripts that preparing has a machine run, as far as they do not follow from answers."""
    machine = _RecordingMachine()
    with suppress(Exception):  # it goes on with answers that there are not
        load.workload.prepare(cast("Machine", machine), load.parameters)
    return machine.scripts


class _RecordingMachine:
    """A machine that runs nothing, and answers nothing."""

    def __init__(self) -> None:
        self.scripts: list[str] = []

    def __getitem__(self, program: str) -> _Recorded:
        return _Recorded(self, (program,))


class _Recorded:
    def __init__(self, machine: _RecordingMachine, words: tuple[str, ...]) -> None:
        self.machine, self.words = machine, words

    def __getitem__(self, words: str | tuple[str, ...]) -> _Recorded:
        return _Recorded(self.machine, (*self.words, *((words,) if isinstance(words, str) else words)))

    def run(self, **_options: object) -> tuple[int, str, str]:
        self.machine.scripts.append(self.words[-1] if "-c" in self.words else shlex.join(self.words))
        return 0, "", ""


class _RecordingHost:
    """A host that notes what it is asked for, in order."""

    def __init__(self, names: Sequence[str]) -> None:
        self.guests = dict.fromkeys(names)
        self.done: list[str] = []

    def _all(self, script: str) -> None:
        self.done += [_on(name, script) for name in self.guests]

    def set_memory(self, targets_mib: Mapping[str, int], limits_mib: Mapping[str, int]) -> None:
        self.done.append(_on(DOM0, memory_script(targets_mib, limits_mib)))

    def set_sysctls(self, settings: Mapping[str, int]) -> None:
        if settings:
            self._all(sysctl_script(settings))

    def load_driver(self, parameters: Mapping[str, bool], settings: Mapping[str, int]) -> None:
        self._all(driver_script(parameters, settings))

    def set_tmem(self, settings: TmemSettings) -> None:
        if script := tmem_script(settings, list(self.guests)):
            self.done.append(_on(DOM0, script))

    def prepare_swap(self, swap: MemorySwap) -> None:
        self._all(swap_script("prepare", swap))

    def start_manager(self, manager: Manager) -> None:
        self.done.append(
            f"# the manager {manager.name} runs in dom0 from the release on: policies/program.py packs it\n"
        )
