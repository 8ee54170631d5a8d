"""Loads of anonymous memory alone, by a small program of our own (programs/memload.c): a schedule
of growing and shrinking, a spike in an idle guest, and STREAM's four kernels.

Natively a page takes about 1.5 us to come, a touch 0.1 us, and a kernel moves 5 to 10 GB/s.
"""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Generic, TypeVar

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from common.fields import MOST
from common.machines import Machine
from common.metrics import MetricSpec, total
from common.needs import Needs
from workloads import complaints, latencies, machines, programs, scripts
from workloads.base import Duration, Size, Workload, WorkloadParameters, WorkloadResult, parameter
from workloads.memload_output import KERNELS, PAGE, Step, read_steps, read_stream

_TIMES = (
    MetricSpec("wall_seconds", "s", "lower", "wall clock of the program, its own start and end included"),
    MetricSpec("user_seconds", "s", "lower", "user time of the program"),
    MetricSpec("system_seconds", "s", "lower", "system time of the program: of it are the page faults"),
)

Pages = Annotated[Size, Field(ge=PAGE, multiple_of=PAGE)]


_GROWTH = latencies.specs("grow", "what a new page took to come")
_TOUCHES = latencies.specs("touch", "what a touch of a page took")
_ARRIVALS = latencies.specs("arrival", "what a touch with `over` took from its planned moment on: waiting counts")


class MemoryParameters(WorkloadParameters):
    """What the loads share."""

    seed: int = parameter(1, "seed of contents and of touched pages, the same on every machine", ge=0, le=2**31 - 1)
    reset_memory: bool = parameter(True, scripts.RESET_MEMORY_DOC)


M = TypeVar("M", bound=WorkloadParameters)


class _Memory(Workload[M], Generic[M]):
    """What the loads share: the program, and its one command."""

    @abstractmethod
    def arguments(self, params: M) -> list[str]:
        """What memload is to do."""

    @abstractmethod
    def figures(self, params: M, text: str, where: Path) -> dict[str, float | int | None]:
        """Metrics beyond the times, of what memload printed."""

    def needs(self, params: M) -> Needs:  # noqa: ARG002  (the same for all)
        """The program, compiled."""
        return Needs(programs=("memload",))

    def prepare(self, machine: Machine, params: M) -> dict[str, str]:
        """The program, then memory. Facts: memload (its file)."""
        reset = bool(getattr(params, "reset_memory", False))
        script = scripts.prepare(programs.prepare("memload"), reset_memory=reset)
        return machines.key_values(machines.check_script(machine, script, what=f"prepare {self.name}", timeout_s=600))

    def script(self, params: M) -> str:
        """The program alone; memload.out has each step's histogram."""
        return scripts.timed(scripts.command("memload", [programs.path("memload"), *self.arguments(params)]))

    def collect(self, machine: Machine, params: M, raw_dir: Path) -> WorkloadResult:
        """Contents are checked by the program itself, so there are no checksums."""
        machines.fetch_raw(machine, raw_dir)
        return self.read(params, raw_dir)

    def read(self, params: M, raw_dir: Path) -> WorkloadResult:
        """The figures, if the program came to its end and did what was asked."""
        timing = scripts.read_timing(raw_dir, "memload", self.name)
        complaints.require_none(raw_dir / "memload.err", self.name)
        values: dict[str, float | int | None] = {
            "wall_seconds": timing.wall_seconds,
            "user_seconds": timing.user_seconds,
            "system_seconds": timing.system_seconds,
        }
        values |= self.figures(params, machines.raw_text(raw_dir, "memload.out"), raw_dir / "memload.out")
        return WorkloadResult(self.measured(values), {})


class RampStep(WorkloadParameters):
    """One step of a schedule: exactly one of the first four."""

    grow: Pages | None = None
    hold: Annotated[Duration, Field(gt=0)] | None = None
    touch: Annotated[int, Field(ge=1, le=MOST)] | None = None
    release: Pages | None = None
    over: Annotated[Duration, Field(ge=0)] = 0.0

    @model_validator(mode="after")
    def _one(self) -> RampStep:
        if sum(each is not None for each in (self.grow, self.hold, self.touch, self.release)) != 1:
            raise ValueError("a step has exactly one of grow, hold, touch and release")
        if self.hold is not None and self.over:
            raise ValueError("hold has its own time: it takes no `over`")
        return self

    @property
    def asked(self) -> tuple[str, int]:
        """What memload calls it, and its amount."""
        if self.hold is not None:
            return "hold", 0
        found = {"grow": self.grow, "touch": self.touch, "release": self.release}
        return next((what, amount) for what, amount in found.items() if amount is not None)

    @property
    def argument(self) -> str:
        """As memload takes it."""
        what, amount = self.asked
        return f"hold:{self.hold:.6f}" if self.hold is not None else f"{what}:{amount}:{self.over:.6f}"

    @model_serializer(mode="wrap")
    def _short(self, write: SerializerFunctionWrapHandler) -> dict[str, object]:
        """As a person writes it: without what the step does not have."""
        return {key: value for key, value in write(self).items() if value not in (None, "0 s", 0.0)}


_SCHEDULE = (
    {"grow": "48 MiB", "over": "4 s"},
    {"touch": 20000},
    {"hold": "2 s"},
    {"touch": 200, "over": "2 s"},
    {"release": "32 MiB"},
    {"hold": "1 s"},
)


class MemoryRampParameters(MemoryParameters):
    """A schedule."""

    schedule: Annotated[tuple[RampStep, ...], Field(strict=False, min_length=1, max_length=1000)] = parameter(
        tuple(RampStep.model_validate(each) for each in _SCHEDULE),
        "steps in order, each a mapping. grow, release: bytes of anonymous memory; touch: that many pages drawn "
        "from those that are held, read, checked and written; hold: nothing, for so long. over: spread evenly "
        "over this time; without it at once, one after the other",
    )

    @model_validator(mode="after")
    def _consistent(self) -> MemoryRampParameters:
        held = 0
        for number, each in enumerate(self.schedule, 1):
            held += (each.grow or 0) - (each.release or 0)
            if held < 0:
                raise ValueError(f"step {number} releases more than is held")
            if each.touch and not held:
                raise ValueError(f"step {number} touches memory, but none is held")
        return self


class MemoryRamp(_Memory[MemoryRampParameters]):
    """Anonymous memory by a schedule: grow, hold, touch, release; the latency of every page."""

    name = "memory_ramp"
    Parameters = MemoryRampParameters
    metrics = (
        *_TIMES,
        MetricSpec("peak_bytes", "B", "neither", "most memory that was held"),
        MetricSpec("grow_seconds", "s", "lower", "wall clock of all steps that grow"),
        *_GROWTH,
        MetricSpec("touches", "count", "neither", "pages that were touched"),
        MetricSpec("touch_seconds", "s", "lower", "wall clock of all steps that touch"),
        *_TOUCHES,
        *_ARRIVALS,
        MetricSpec("release_seconds", "s", "lower", "wall clock of all steps that release"),
        MetricSpec("step_seconds.step<n>", "s", "lower", "wall clock of one step"),
    )

    def arguments(self, params: MemoryRampParameters) -> list[str]:
        """The schedule."""
        return ["steps", str(params.seed), *(each.argument for each in params.schedule)]

    def figures(self, params: MemoryRampParameters, text: str, where: Path) -> dict[str, float | int | None]:
        """Of the steps of a kind together, and the time of each."""
        steps = read_steps(text, [each.asked for each in params.schedule], where)
        of = {what: [each for each in steps if each.what == what] for what in ("grow", "touch", "release")}
        values: dict[str, float | int | None] = {"peak_bytes": max(each.held for each in steps)}
        values |= {f"{what}_seconds": _seconds(each) for what, each in of.items()}
        values |= {"touches": total([each.amount for each in of["touch"]])}
        paced = [each for each, planned in zip(steps, params.schedule, strict=True) if planned.touch and planned.over]
        values |= _of("grow", of["grow"]) | _of("arrival", paced)
        values |= _of("touch", [each for each in of["touch"] if each not in paced])
        return values | {f"step_seconds.step{number}": each.seconds for number, each in enumerate(steps, 1)}

    def told(self, raw_dir: Path) -> dict[str, object]:
        """The steps, without the times over which they were spread: so every touch counts as one
        that had none.
        """
        path = raw_dir / "memload.out"
        text = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
        steps = re.findall(r"^step \d+ (grow|hold|touch|release) (\d{1,18}) (\d{1,9}\.\d{6}) ", text, re.MULTILINE)
        schedule: list[dict[str, object]] = [_told_step(*each) for each in steps]
        return {"schedule": schedule} if schedule else {}

    def expected_seconds(self, params: MemoryRampParameters, slowdown: float) -> float:
        """What the schedule says, and the pages."""
        planned = total([(each.hold or 0) + each.over for each in params.schedule])
        return planned + _work(params.schedule) * slowdown


class SpikeParameters(MemoryParameters):
    """How long nothing, and then how much."""

    idle: Annotated[Duration, Field(gt=0)] = parameter(
        5.0, "how long the guest does nothing first: its policy may take its memory", unit="duration"
    )
    size: Pages = parameter(128 * 2**20, "bytes that it needs then, at once", unit="size")
    touches: int = parameter(
        20000, "pages drawn from these that are touched once it has them", unit="count", ge=1, le=MOST
    )


class Spike(_Memory[SpikeParameters]):
    """An idle guest that suddenly needs everything: how long until it has it."""

    name = "spike"
    Parameters = SpikeParameters
    metrics = (
        *_TIMES,
        MetricSpec("spike_seconds", "s", "lower", "from the first page asked for until the last was there"),
        *_GROWTH,
        MetricSpec("touch_seconds", "s", "lower", "wall clock of the touches afterwards"),
        *_TOUCHES,
    )

    def arguments(self, params: SpikeParameters) -> list[str]:
        """Three steps of a schedule."""
        return ["steps", str(params.seed), *(each.argument for each in _spike(params))]

    def figures(self, params: SpikeParameters, text: str, where: Path) -> dict[str, float | int | None]:
        """Of the growth and of the touches."""
        _, grown, touched = read_steps(text, [each.asked for each in _spike(params)], where)
        values: dict[str, float | int | None] = {"spike_seconds": grown.seconds, "touch_seconds": touched.seconds}
        return values | _of("grow", [grown]) | _of("touch", [touched])

    def told(self, raw_dir: Path) -> dict[str, object]:
        """How much it needed, and how often it touched it."""
        grown = scripts.told(raw_dir, "memload.out", r"^step 2 grow (\d{1,18}) ")
        touched = scripts.told(raw_dir, "memload.out", r"^step 3 touch (\d{1,18}) ")
        return {"size": f"{grown[1]} B", "touches": int(touched[1])} if grown and touched else {}

    def expected_seconds(self, params: SpikeParameters, slowdown: float) -> float:
        """The idle time, and the pages."""
        return params.idle + _work(_spike(params)) * slowdown


class StreamParameters(WorkloadParameters):
    """Three arrays."""

    size: Annotated[Size, Field(ge=4096, multiple_of=8)] = parameter(
        16 * 2**20, "bytes of each of the three arrays; larger than the caches, or it is those that are measured",
        unit="size",
    )  # fmt: skip
    rounds: int = parameter(10, "times that each kernel is run", unit="count", ge=2, le=1000)
    reset_memory: bool = parameter(True, scripts.RESET_MEMORY_DOC)


class Stream(_Memory[StreamParameters]):
    """Sustained memory bandwidth by STREAM's copy, scale, add and triad, on one processor."""

    name = "stream"
    Parameters = StreamParameters
    metrics = (
        *_TIMES,
        *(
            spec
            for kernel in KERNELS
            for spec in (
                MetricSpec(f"{kernel}_bandwidth", "B/s", "higher", f"best {kernel}, the first round left out"),
                MetricSpec(f"{kernel}_bandwidth_mean", "B/s", "higher", f"all rounds of {kernel} but the first"),
            )
        ),
    )

    def arguments(self, params: StreamParameters) -> list[str]:
        """Size and rounds."""
        return ["stream", str(params.size), str(params.rounds)]

    def figures(self, params: StreamParameters, text: str, where: Path) -> dict[str, float | int | None]:
        """As STREAM counts: bytes of every array that a kernel reads or writes, over its best
        time.
        """
        values: dict[str, float | int | None] = {}
        for kernel, times in read_stream(text, params.size, params.rounds, where).items():
            moved, later = KERNELS[kernel] * params.size, times[1:]
            values[f"{kernel}_bandwidth"] = moved / min(later)
            values[f"{kernel}_bandwidth_mean"] = moved * len(later) / total(later)
        return values

    def told(self, raw_dir: Path) -> dict[str, object]:
        """Arrays and rounds."""
        checked = scripts.told(raw_dir, "memload.out", r"^checked (\d{1,18})$")
        rounds = scripts.told(raw_dir, "memload.out", r"^round (\d{1,6}) triad .*\nchecked ")
        return {"size": f"{8 * int(checked[1])} B", "rounds": int(rounds[1])} if checked and rounds else {}

    def expected_seconds(self, params: StreamParameters, slowdown: float) -> float:
        """Ten arrays a round at 5 GB/s, and their pages once."""
        return (10 * params.rounds / 5e9 + 3 * 1.5e-6 / PAGE) * params.size * slowdown


def _spike(params: SpikeParameters) -> tuple[RampStep, ...]:
    return (
        RampStep.model_construct(hold=params.idle),
        RampStep.model_construct(grow=params.size),
        RampStep.model_construct(touch=params.touches),
    )


def _told_step(what: str, amount: str, seconds: str) -> dict[str, object]:
    if what == "hold":
        return {"hold": f"{max(0.001, float(seconds)):.3f} s"}
    return {what: int(amount) if what == "touch" else f"{amount} B"}


def _work(steps: Sequence[RampStep]) -> float:
    """Native seconds of a schedule's pages: 1.5 us to come and to be filled, 0.3 us a touch."""
    return total([(each.grow or 0) / PAGE * 3e-6 + (each.touch or 0) * 0.3e-6 for each in steps])


def _seconds(steps: Sequence[Step]) -> float | None:
    """Of all of them; None when there was none."""
    return round(total([each.seconds for each in steps]), 6) if steps else None


def _of(word: str, steps: Sequence[Step]) -> dict[str, float | int | None]:
    return latencies.figures(word, [each.latencies for each in steps])
