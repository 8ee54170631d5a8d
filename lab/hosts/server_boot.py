"""Booting a server into a new hypervisor so that it is never lost.

Its new entry is booted once; what was the default stays so until the server has come back, answers
by SSH, and has passed its checks. Whatever goes wrong before that, once it has gone through its
boot menu a power cycle alone gives its default, and the server itself goes back to it when nobody
confirms the new one in time (the role xen_server).
"""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from common import files
from common.console import Tell
from common.errors import LabError
from common.units import format_duration
from lab import paths
from lab.inventory import Physical
from lab.remote import scripts
from lab.remote.ssh import DOM0, CommandError, Connections, UnreachableError, kill_group

COME_BACK_SECONDS = 600.0
"""Servers with much memory and many cards take minutes before they boot anything."""

HOOK_SECONDS = 120.0
CHECK_SECONDS = 300.0
MENU_SECONDS = 300.0
"""update-grub takes seconds; of an emulated server beside another, more than a minute."""
LOOK_SECONDS = 3.0
DOM0_SLACK_MIB = 16
CHECKS = 3


@dataclass(frozen=True)
class State:
    """What a server has booted. entry: of the testbed's, None for another system. default: what it
    boots next time by itself; once: what it boots next time before that; confirmed: the entry that
    was found to be well, or several, with blanks between, while one is taking another's place.
    kernel: that runs; newest: of those that can be dom0's.
    """

    boot: str
    entry: str | None
    default: str | None
    confirmed: str | None
    xen: str | None
    options: str | None
    dom0_mib: int | None
    once: str | None = None
    kernel: str | None = None
    newest: str | None = None


@dataclass(frozen=True)
class Entry:
    """A boot entry of the testbed. hypervisor: its file's name, after what it is. options: Xen's
    command line. kernel: the version of dom0's, empty while none is there that can be.
    """

    hypervisor: str
    options: str
    kernel: str = ""

    @property
    def name(self) -> str:
        """As the boot menu has it."""
        return f"{self.hypervisor}+{self.kernel}"

    @property
    def dom0_mib(self) -> int | None:
        """What its dom0 is to have; None where it does not say."""
        said = re.search(r"\bdom0_mem=(\d+)M", self.options)
        return int(said[1]) if said else None


def entry_for(settings: Physical, hypervisor: Path, kernel_options: tuple[str, ...], xen_options: str | None) -> Entry:
    """The entry of a hypervisor on a server. kernel_options, xen_options: of what runs there now;
    Xen takes over the system's serial console, or keeps its own.
    """
    memory = settings.dom0_memory // 2**20
    words = [f"dom0_mem={memory}M,max:{memory}M", f"dom0_max_vcpus={settings.dom0_vcpus}", "dom0_vcpus_pin", "tmem"]
    if settings.memory is not None:
        words.append(f"mem={settings.memory // 2**20}M")
    words += ["loglvl=info", "guest_loglvl=none/warning", "conring_size=256k", *console(kernel_options, xen_options)]
    options = " ".join(words)
    made_of = f"{files.digest(hypervisor)} {options}"
    return Entry(f"overcommit-{hashlib.sha256(made_of.encode()).hexdigest()[:12]}", options)


def console(kernel_options: tuple[str, ...], xen_options: str | None = None) -> list[str]:
    """Xen's options for the serial line that a Linux uses: `console=ttyS1,115200n8` is com2. dom0
    has none of its own: what its Xen says stays.
    """
    if xen_options is not None:
        kept = [word for word in xen_options.split() if word.startswith(("console=", "com1=", "com2="))]
        return kept or ["console=vga"]
    for word in reversed(kernel_options):
        if word.startswith("console=ttyS"):
            line, _, speed = word.removeprefix("console=ttyS").partition(",")
            if line in {"0", "1"}:
                com = f"com{int(line) + 1}"
                digits = speed[: len(speed) - len(speed.lstrip("0123456789"))] or "115200"
                return [f"console={com},vga", f"{com}={digits},8n1"]
    return ["console=vga"]


class ServerBoot:
    """One server's boot. come_back: seconds until a server that restarts has to answer."""

    def __init__(
        self,
        name: str,
        connections: Connections,
        tell: Tell,
        *,
        power_hook: str | None = None,
        come_back: float = COME_BACK_SECONDS,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._name = name
        self._connections = connections
        self._say = tell
        self._hook = power_hook
        self._come_back = come_back
        self._sleep = sleep

    def state(self, *, timeout: float = 60.0) -> State:
        told = dict[str, str]()
        for line in self._run("state", timeout=timeout).splitlines():
            key, _, value = line.partition(": ")
            told[key] = value.strip()
        memory = told.get("dom0_mib", "")
        return State(
            boot=told.get("boot", ""),
            entry=told.get("entry") or None,
            default=told.get("default") or None,
            confirmed=told.get("confirmed") or None,
            xen=told.get("xen") or None,
            options=told.get("options"),
            dom0_mib=int(memory) if memory.isdecimal() else None,
            once=told.get("next") or None,
            kernel=told.get("kernel") or None,
            newest=told.get("newest") or None,
        )

    def runs(self, entry: Entry) -> bool:
        """Whether the server runs this entry, confirmed and as its default."""
        return _settled(self.state(), entry)

    def enter(self, entry: Entry) -> bool:
        """Have the server run this entry, confirmed and as its default; whether anything had to be
        done. LabError says in which system the server is now, and what to do.
        """
        before = self.state()
        if _settled(before, entry):
            return False
        if before.entry != entry.name:
            self._say("starting the new hypervisor, this one time")
            self._run("once", entry.name, timeout=MENU_SECONDS)
            after = self.returned(before.boot)
            if after is None:
                self._lost(before.boot, entry, started=True)
            elif after.entry != entry.name:
                self._is_back(after, entry)
        self._check(entry, CHECKS)
        self._say("it is well: the new hypervisor becomes its default")
        self._run("keep", entry.name, timeout=MENU_SECONDS)
        return True

    def _is_back(self, after: State, entry: Entry) -> NoReturn:
        """It restarted by itself, into its old system."""
        if after.once == entry.name:
            self._run("forget")
            raise LabError(
                f"{self._name} restarted without its boot menu, and is in its old system",
                where=f"boot entry {entry.name}",
                why="GRUB would have taken the entry for this boot, and did not; kexec restarts a kernel without it",
                remedy="Nothing is lost. Have it restart by its firmware (systemctl disable kexec-load.service, or "
                "apt-get purge kexec-tools), then run ./inv lab.provision again.",
            )
        raise LabError(
            f"{self._name} did not come up with the new hypervisor, and is back in its old system",
            where=f"boot entry {entry.name}",
            why="GRUB could not load it, or Xen or dom0's kernel ended early, and its default was started; "
            "its console would have said why",
            remedy=self._again(),
        )

    def _check(self, entry: Entry, times: int) -> None:
        """What a server has to pass before the entry is confirmed; it is sent back to its old
        system otherwise. times: how often the connection may be lost meanwhile, and one more.
        """
        self._say("checking tmem, and starting a guest")
        try:
            self._pass(entry)
        except UnreachableError as lost:
            self._say(f"the connection was lost: {lost.why or lost.what}; waiting for it")
            after = self.returned("")
            if after is None:
                self._lost("", entry)
            elif after.entry != entry.name:
                raise LabError(
                    f"{self._name} restarted while it was checked, and is back in its old system",
                    where=f"boot entry {entry.name}",
                    why="Xen or dom0's kernel ended while a guest was started; its console would have said why",
                    remedy=self._again(),
                ) from lost
            elif times == 1:
                self._send_back(entry, lost)
            else:
                self._check(entry, times - 1)
        except LabError as error:
            self._send_back(entry, error)

    def _pass(self, entry: Entry) -> None:
        """LabError when the server is not well. UnreachableError when it was lost meanwhile."""
        state = self.state()
        if state.xen is None or entry.options.partition(" ")[2] not in (state.options or ""):
            raise LabError("Xen does not run as its entry says", why=f"it says: {state.options}")
        if state.kernel != entry.kernel:
            raise LabError("dom0 does not run the kernel of its entry", why=f"it runs {state.kernel}")
        wanted = entry.dom0_mib
        if wanted is not None and state.dom0_mib is not None and abs(state.dom0_mib - wanted) > DOM0_SLACK_MIB:
            raise LabError(
                f"dom0 has {state.dom0_mib} MiB, and its entry says {wanted}",
                where="xl list",
                remedy="Let nothing else move dom0's memory.",
            )
        self._run("check", timeout=CHECK_SECONDS)

    def _send_back(self, entry: Entry, error: LabError) -> None:
        after = self.leave()
        old = after is not None and after.entry != entry.name
        raise LabError(
            f"{self._name} came up with the new hypervisor, but is not well, and "
            f"{'is back in its old system' if old else 'was restarted'}",
            where=error.where or f"boot entry {entry.name}",
            why=f"{error.what}\n{error.why}".strip(),
            remedy=f"Nothing is lost. Mend that, then run ./inv lab.provision again. {error.remedy}".strip(),
        ) from error

    def _lost(self, boot: str, entry: Entry, *, started: bool = False) -> None:
        """It does not answer any more: cycle its power, if we can, and say what became of it.
        started: it was to restart, and may not have come as far as its boot menu; then its next
        start is still the new one, and this returns when that is up.
        """
        what = f"{self._name} did not come back with the new hypervisor within {format_duration(self._come_back)}"
        where = f"boot entry {entry.name}"
        if self._hook is None:
            raise LabError(
                what,
                where=where,
                why="the inventory has no lab_power_hook, so its power cannot be cycled from here",
                remedy=f"Switch {self._name} off and on: the entry was for one boot, so it starts its old system, or "
                "the new one for that boot if it had not gone down. One that only lost its network restarts by itself "
                "within a quarter of an hour. Then run ./inv lab.provision again.",
            )
        self._say("it does not come back: cycling its power")
        self.cycle()
        after = self.returned(boot)
        if after is None:
            raise LabError(
                what,
                where=where,
                why=f"nor did it after its power was cycled: {self._hook}",
                remedy=f"See that the command works, and look at the console of {self._name}. "
                "Switched off and on it starts its old system.",
            )
        if after.entry == entry.name and started:
            self._say("it had not gone down before, and runs the new hypervisor now")
            return
        if after.entry == entry.name:
            raise LabError(
                f"{what}, and runs it now",
                where=where,
                why=f"its power was not cycled, it seems: {self._hook}",
                remedy="Run ./inv lab.provision again: it goes on with the checks. See that the command works.",
            )
        raise LabError(
            f"{what}, and is back in its old system",
            where=where,
            why="its power was cycled; its console would have said why the new one did not come",
            remedy=self._again(),
        )

    def _again(self) -> str:
        return f"Nothing is lost. Look at the console of {self._name} while you run ./inv lab.provision again."

    def cycle(self) -> None:
        """Run the power hook, in the checkout. LabError when it fails. What interrupts this waits
        until the hook has ended: between off and on the server would stay off.
        """
        hook = subprocess.Popen(
            ["sh", "-c", self._hook or "false"],
            cwd=paths.REPO,
            env={**os.environ, "OVERCOMMIT_SERVER": self._name},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            said = hook.communicate(timeout=HOOK_SECONDS)[1].decode(errors="replace").strip()
            failed = f"it ended with {hook.returncode}: {said[-500:]}" if hook.returncode else None
        except subprocess.TimeoutExpired:
            kill_group(hook)
            failed = f"it did not end within {HOOK_SECONDS:.0f} s"
        except BaseException:
            with suppress(subprocess.TimeoutExpired):
                hook.communicate(timeout=HOOK_SECONDS)
            raise
        if failed:
            raise LabError(
                f"the power of {self._name} could not be cycled",
                where=f"lab_power_hook of {self._name}",
                why=failed,
                remedy=f"Switch {self._name} off and on by hand: it starts its old system. Then mend the command.",
            )

    def leave(self) -> State | None:
        """Restart into what is booted by default; None when it does not come back in time, nor
        after its power was cycled, where there is a hook for that.
        """
        before = self.state().boot
        self._run("leave")
        after = self.returned(before)
        if after is None and self._hook is not None:
            self._say("it does not come back: cycling its power")
            self.cycle()
            after = self.returned(before)
        return after

    def returned(self, boot: str, seconds: float | None = None) -> State | None:
        """The server's state once it answers from another boot than this; None when it does not in
        time (default: that of one which restarts). UnreachableError when whoever waits is to stop
        (Ctrl-C).
        """
        self._connections.drop([DOM0])
        deadline = time.monotonic() + (self._come_back if seconds is None else seconds)
        while time.monotonic() < deadline:
            self._sleep(LOOK_SECONDS)
            try:
                state = self.state(timeout=30)
            except (UnreachableError, CommandError):
                if self._connections.interrupted:
                    raise
            else:
                if state.boot and state.boot != boot:
                    return state
            self._connections.drop([DOM0])
        return None

    def _run(self, action: str, *arguments: str, timeout: float = 60.0) -> str:
        script = scripts.command("server-boot.sh", action, *arguments)
        return self._connections.run(DOM0, script, timeout=timeout, step=f"server-boot.sh {action}")


def _settled(state: State, entry: Entry) -> bool:
    return (state.entry, state.default, state.confirmed) == (entry.name, entry.name, entry.name)
