"""A host, guests and a load in memory, for whole campaigns in a test. Guests run their scripts
with this machine's sh; counters are made up.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from plumbum import local

from campaigns import barrier, experiment, store
from common import files
from common.errors import LabError, WorkloadError
from common.metrics import MetricSpec
from lab.api import (
    Activity,
    Guest,
    GuestSizing,
    HostSizing,
    LastLook,
    Machine,
    Manager,
    MemorySwap,
    Observation,
    Sample,
    TmemSettings,
)
from lab.counters import kept
from lab.emulator.share import Reading
from policies import apply, managers
from workloads import registry
from workloads.base import Workload, WorkloadParameters, WorkloadResult, parameter

EXPERIMENT = """\
title: A test
question: Does it run?
host: {guest_memory: 480 MiB}
guests: {count: 3, memory_max: 256 MiB}
policies: [static, selfballoon, selfballoon+tmem]
workload:
  name: fake
  parameters: {size: 3}
seed: 7
repetitions: 2
gates: {sectors_read: 100}
claims:
  - id: fewer-reads
    statement: tmem reads fewer sectors
    source: a test
    evidence: quoted
    metric: sectors_read
    compare: {treatment: selfballoon+tmem, control: selfballoon}
    expectation: {direction: decrease, ratio_low: 0.48}
"""

PAGES = 256
"""Pages of a MiB."""

Hook = Callable[[str], None]


class FakeParameters(WorkloadParameters):
    """Parameters of a load that does nothing."""

    size: int = parameter(1, "how much", unit="count", ge=1, le=100)
    script: str = parameter("echo made > {raw}/output", "what is run")


class FakeLoad(Workload[FakeParameters]):
    """A load that writes one file."""

    name = "fake"
    Parameters = FakeParameters
    metrics = (
        MetricSpec("files", "count", "neither", "files made"),
        MetricSpec("files.round<n>", "count", "neither", "of one round"),
    )
    hook: Hook = staticmethod(lambda _step: None)

    def prepare(self, machine: Machine, params: FakeParameters) -> dict[str, str]:
        type(self).hook("prepare")
        return {"size": str(params.size)}

    def script(self, params: FakeParameters) -> str:
        return params.script.replace("{raw}", f"{barrier.DIRECTORY}/raw") + "\n"

    def collect(self, machine: Machine, params: FakeParameters, raw_dir: Path) -> WorkloadResult:
        type(self).hook("collect")
        output = machine.root / "raw" / "output"
        if not output.is_file():
            raise WorkloadError("the load made no file", where=str(raw_dir))
        (raw_dir / "output").write_text(output.read_text())
        return self.read(params, raw_dir)

    def read(self, params: FakeParameters, raw_dir: Path) -> WorkloadResult:
        text = (raw_dir / "output").read_text()
        return WorkloadResult(self.measured({"files": 1, "files.round1": 1}), {"output": text.strip()})

    def expected_seconds(self, params: FakeParameters, slowdown: float) -> float:
        return params.size * slowdown


class FakeMachine:
    """A machine that is this one, with barrier.DIRECTORY moved to a folder of the guest's own."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def __getitem__(self, program: str) -> _Command:
        return _Command(self, local[program])

    def here(self, text: str) -> str:
        return text.replace(barrier.DIRECTORY, str(self.root))


@dataclass
class _Command:
    machine: FakeMachine
    command: Any

    def __getitem__(self, arguments: str | tuple[str, ...]) -> _Command:
        words = (arguments,) if isinstance(arguments, str) else arguments
        return _Command(self.machine, self.command[tuple(map(self.machine.here, words))])

    def __lshift__(self, text: str) -> Any:
        return self.command << self.machine.here(text)

    def popen(self, **options: Any) -> Any:
        return self.command.popen(**options)


@dataclass(frozen=True)
class FakeGuest:
    name: str
    machine: Any


@dataclass
class FakeTracing:
    """A trace that is there once it has ended. read: readings of counters that came before."""

    host: FakeHost
    file: Path
    read: int = 0
    ended: int = 0

    def stop(self) -> None:
        self.host.hook("trace_ends")
        self.read, self.ended = self.host.readings, self.ended + 1
        self.file.write_bytes(b"a trace")

    def abandon(self) -> None:
        self.ended += 1


@dataclass
class FakeHost:
    """A host whose counters follow the policy. hook(step) is called at each step, and may raise.
    alter: changes readings on their way out.
    """

    root: Path
    hook: Hook = lambda _step: None
    alter: Callable[[int, list[Sample]], list[Sample]] = lambda _reading, samples: samples
    log: str = "eth0: link up\n"
    name: str = "fake"
    kind: Literal["emulated", "physical"] = "emulated"
    accelerator: str | None = "tcg"
    dom0: Any = None
    guests: Mapping[str, Guest] = field(default_factory=dict)
    driver: Mapping[str, bool] = field(default_factory=dict)
    settings: Mapping[str, int] = field(default_factory=dict)
    sysctls: Mapping[str, int] = field(default_factory=dict)
    tmem: TmemSettings = field(default_factory=TmemSettings)
    swap: MemorySwap | None = None
    targets: Mapping[str, int] = field(default_factory=dict)
    limits: Mapping[str, int] = field(default_factory=dict)
    told: Mapping[str, object] = field(default_factory=lambda: {"xen": "4.20", "kernel": "6.12"})
    gave: list[Reading] = field(default_factory=list)
    dead: Mapping[str, str] = field(default_factory=dict)
    readings: int = 0
    boots: list[str | None] = field(default_factory=list)
    resets: int = 0
    manager: Manager | None = None
    acting: bool = False
    tracing: FakeTracing | None = None

    def reset(self, host: HostSizing, guests: GuestSizing, *, boot: str | None = None) -> None:
        self.boots.append(boot)
        self.hook("reset")
        self.resets += 1
        self.host, self.sizing, self.readings, self.driver = host, guests, 0, {}
        names = [f"guest{i + 1}" for i in range(guests.count)]
        self.guests = {name: FakeGuest(name, FakeMachine(self.root / name)) for name in names}
        for name in names:
            (self.root / name / "raw" / "output").unlink(missing_ok=True)

    def set_memory(self, targets_mib: Mapping[str, int], limits_mib: Mapping[str, int]) -> None:
        self.hook("policy")
        self.targets, self.limits = targets_mib, limits_mib

    def set_sysctls(self, settings: Mapping[str, int]) -> None:
        self.sysctls = settings

    def load_driver(self, parameters: Mapping[str, bool], settings: Mapping[str, int]) -> None:
        self.driver, self.settings = parameters, settings
        # Guests that are made up run their scripts here, so the release has to find the driver's
        # settings here, too.
        apply.SELFBALLOON = str(self.root / "selfballoon")
        Path(apply.SELFBALLOON).mkdir(parents=True, exist_ok=True)

    def set_tmem(self, settings: TmemSettings) -> None:
        self.tmem = settings

    def trace(self, file: Path) -> FakeTracing:
        self.hook("trace")
        self.tracing = FakeTracing(self, file)
        return self.tracing

    def prepare_swap(self, swap: MemorySwap) -> None:
        self.swap = swap

    def start_manager(self, manager: Manager) -> None:
        self.manager, self.acting = manager, False

    def release_manager(self) -> None:
        self.hook("manager")
        self.acting = True

    def stop_manager(self) -> Sequence[str]:
        manager, acting = self.manager, self.acting
        self.manager, self.acting = None, False
        if manager is None:
            return ()
        self.hook("manager_ends")
        return self.managed(manager) if acting else ()

    def managed(self, manager: Manager) -> list[str]:
        """What the manager would have written: one decision, made as it would be, and its cost."""
        module = managers.get(manager.name)
        parameters = managers.parameters(manager.name, manager.settings["parameters"])
        guests = tuple(
            managers.base.Guest(number, name, 2**27, 2**27, least * 2**20, most * 2**20)
            for number, (name, (least, most)) in enumerate(manager.bounds_mib.items(), 1)
        )
        state = module.state(managers.base.Seen(2**30, 2**27, 1.0, guests), parameters)
        decision = managers.written(module.decide(state, parameters))
        record = {
            "time": time.time(),
            "names": {str(each.domain): each.name for each in guests},
            "state": asdict(state),
            "decision": decision,
            "acted": True,
            "reports": {},
            "set": [[*pair, 0.5] for pair in decision["targets"]],
            "failed": [],
        }
        cost = {"cpu_seconds": 0.03, "wall_seconds": 3.0, "decisions": 1, "errors": 0, "dropped": 0}
        reporters = {name: {"cpu_seconds": 0.01, "wall_seconds": 2.0} for name in manager.bounds_mib}
        return [json.dumps(each) for each in (record, {"cost": cost}, {"reporters": reporters})]

    def read_counters(self, raw_dir: Path | None = None) -> list[Sample]:
        self.hook("counters")
        self.readings += 1
        answers = self.answers(done=self.readings > 1)
        if raw_dir is not None:
            kept.keep(answers, raw_dir, kept.READING)
        return self.alter(self.readings, kept.one_reading(answers, list(self.guests)))

    def answers(self, *, done: bool) -> dict[str, list[str]]:
        """What agents in dom0 and the guests would say before the run, or after it."""
        ballooning, tmem = self.driver.get("selfballooning"), self.driver.get("cleancache")
        helds = [self.targets.get(name, 0) * PAGES for name in self.guests]
        if ballooning:
            helds = [held * (3 if done else 5) // 5 for held in helds]
        read = 10_000 if tmem else 20_000 if ballooning else 15_000
        domains = [{"id": 0, "name": "Domain-0", "cpu_ns": round(1e9 * (100 + 3 * done)), "pages": 98_304}]
        vbd, clients = {}, []
        for number, (name, held) in enumerate(zip(self.guests, helds, strict=True), 1):
            cpu = round(1e9 * (5.0 + 12.5 * done))
            domains.append({"id": number, "name": name, "cpu_ns": cpu, "pages": held})
            vbd[str(number)] = {
                "51712": {"rd_sect": 400_000 + (read - 80) * done, "wr_sect": 1_000 + 140 * done},
                "51728": {"rd_sect": 80 * done, "wr_sect": 160 * done},
            }
            if tmem:
                pools = [{"PT": "EP", "Pc": 0, "ps": 5_000 * done, "gs": 1_250 * done}, {"PT": "PP", "Pc": 0, "ps": 0}]
                clients.append({"CI": number, "pools": pools})
        reading = {
            "time": time.time(),
            "sampler.cpu": 1_000_000 + 250_000 * done,
            "free": self.host.guest_memory_mib * PAGES - sum(helds),
            "domains": domains,
            "vbd": vbd,
            "tmem": {"global": {"Ec": 0, "Ta": 0, "Fc": 0}, "clients": clients} if tmem else None,
        }
        vmstat = (
            f"vmstat.pgmajfault={900 + 50 * done} vmstat.pswpin={10 * done} "
            f"vmstat.pswpout={20 * done} sampler.cpu={500_000 * (1 + done)}"
        )
        return {"dom0": [json.dumps(reading)]} | {name: [f"{time.time():.3f} {vmstat}"] for name in self.guests}

    def observe(self, interval_s: float) -> Observation:
        return FakeObservation(self)

    def activity(self) -> Mapping[str, Activity]:
        self.hook("activity")
        return {name: Activity(1.0, 100) for name in self.guests}

    def lost(self) -> Mapping[str, str]:
        return self.dead

    def given(self) -> Reading | None:
        return self.gave.pop(0) if self.gave else None

    def provenance(self) -> dict[str, object]:
        self.hook("provenance")
        return dict(self.told)

    def kernel_log(self) -> dict[str, str]:
        self.hook("kernel_log")
        return {"hypervisor": "(XEN) fine\n", "dom0": self.log, **dict.fromkeys(self.guests, "fine\n")}

    def evidence(self, guests: int) -> dict[str, str]:
        self.hook("evidence")
        return {"guests.txt": "".join(f"== guest{number} r----- 1.0\n" for number in range(1, guests + 1))}

    def last_look(self) -> LastLook:
        return LastLook(self.provenance(), self.kernel_log())


@dataclass
class FakeObservation:
    host: FakeHost
    cost: Mapping[str, float] = field(default_factory=dict)

    def start(self) -> None:
        self.host.hook("observe")

    def last(self) -> list[Sample]:
        self.host.hook("last")
        return kept.one_reading(self.host.answers(done=True), list(self.host.guests))

    def stop(self, raw_dir: Path) -> list[Sample]:
        self.host.hook("stop")
        answers = self.host.answers(done=False)
        answers["dom0"].append(json.dumps({"cost": {"cpu_seconds": 0.02, "wall_seconds": 2.0}}))
        answers["guest1"].append("cost 0.04 2.0 1")
        kept.keep(answers, raw_dir, kept.SAMPLES)
        samples, self.cost = kept.many_readings(answers, list(self.host.guests))
        return samples


@dataclass(frozen=True)
class FakePlace:
    """A fake host that another process can open. kill: a step, and the how manieth time that it is
    reached the process is killed. failing, defect: steps that end so each time. delay_s: of a
    reset. closing_s: of its closing. beside: hosts that have to be open, too, before this one is.
    """

    root: Path
    name: str
    kill: tuple[str, int] | None = None
    failing: str = ""
    defect: str = ""
    basis: Mapping[str, object] = field(default_factory=dict)
    delay_s: float = 0.0
    closing_s: float = 0.0
    beside: tuple[str, ...] = ()

    @contextlib.contextmanager
    def open(self, tell: Callable[[str], None]) -> Iterator[tuple[FakeHost, Mapping[str, object]]]:
        registry._CLASSES["fake"] = "campaign_fakes:FakeLoad"
        host = FakeHost(self.root / self.name, name=self.name)
        reached: Counter[str] = Counter()

        def hook(step: str) -> None:
            reached[step] += 1
            if self.kill == (step, reached[step]):
                (self.root / f"{self.name}.killed").touch()
                os.kill(os.getpid(), signal.SIGKILL)
            if step == self.failing:
                raise LabError(f"no {step} on {self.name}")
            if step == self.defect:
                raise ZeroDivisionError(step)
            if step == "reset":
                time.sleep(self.delay_s)

        host.hook = hook
        FakeLoad.hook = staticmethod(hook)
        tell(f"{self.name} is open")
        opened = self.root / f"{self.name}.open"
        with files.lock(self.root / f"{self.name}.lock"):
            opened.touch()
            yield from self._opened(host)

    def _opened(self, host: FakeHost) -> Iterator[tuple[FakeHost, Mapping[str, object]]]:
        try:
            deadline = time.monotonic() + 120
            while not all((self.root / f"{each}.open").exists() for each in self.beside):
                assert time.monotonic() < deadline
                time.sleep(0.02)
            yield host, {"name": self.name, **self.basis}
        finally:
            (self.root / f"{self.name}.closing").touch()
            time.sleep(self.closing_s)
            (self.root / f"{self.name}.closed").touch()

    def recover(self) -> None:
        (self.root / f"{self.name}.recovered").touch()


def write_experiment(directory: Path, text: str = EXPERIMENT, name: str = "test") -> experiment.Experiment:
    """An experiment from a text."""
    path = directory / f"{name}.yml"
    path.write_text(text, encoding="utf-8")
    return experiment.load(str(path))


def leftovers(results: Path) -> list[str]:
    """Temporary directories anywhere below results/."""
    return [str(path) for path in results.rglob(".tmp-*")]


def find(results: Path, campaign: str = "test") -> store.CampaignStore:
    """A campaign that has to be there."""
    found = store.find(results, campaign)
    assert found is not None
    return found


def forge(campaign: Path) -> None:
    """Write all sums anew, as somebody would who knows how."""
    for cell in campaign.glob("*/*/cell.json"):
        store.write_sums(cell.parent)
    written = [*campaign.glob("*/*/SHA256SUMS"), *campaign.glob("looks/*.json")]
    names = ["campaign.json", *(path.relative_to(campaign).as_posix() for path in written)]
    store.replace_sums(campaign, {name: files.digest(campaign / name) for name in names})
