"""The form of an experiment file, as pydantic models: units, bounds and defaults. What concerns
several keys is in experiment.py.

Sizes are whole MiB, durations seconds; both are written with their unit (`256 MiB`, `10 min`) and
written back that way, so that the resolved experiment in campaign.json can be read again as an
experiment. experiments/README.md explains the keys to people.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    Discriminator,
    Field,
    PlainSerializer,
    Tag,
    WithJsonSchema,
    WrapValidator,
    create_model,
    model_validator,
)

from campaigns.document import KeyPath
from campaigns.records import (
    BOUNDED,
    Aggregate,
    Claim,
    Comparison,
    ControlFrom,
    Direction,
    Evidence,
    Expectation,
    Relief,
)
from common.fields import SIZE_PATTERN, Count, Mebibytes, Number, Seconds, Section, Text, mebibytes_text
from lab.kernels import FIDELITY, PV, GuestType, KernelName
from policies import registry
from policies.managed import ManagerSection, ManagerSettings
from policies.memory_swap import RamdiskParameters, ZramParameters, ZswapParameters
from policies.more_ram import LEAST_MIB
from policies.parts import TmemSection
from policies.selfballoon import SelfballoonParameters

IDENTIFIER = r"[A-Za-z0-9][A-Za-z0-9_.-]*"
"""Names of experiments, campaigns and claims: safe in a file name and in a shell."""


class HostSection(Section):
    """guest_memory: what the host has for guests; left out when `overcommit_ratio` decides it."""

    guest_memory: Mebibytes | None = None
    dom0_memory: Mebibytes = 512
    vcpus: Annotated[Count, Field(ge=1, le=1024)] = 2


class WorkloadSection(Section):
    """Which workload, and its parameters: `./inv workloads.list` explains them. phase: between the
    start of one guest's load and the next one's; all guests are released together.
    """

    name: Text
    parameters: dict[str, Any] = Field(default_factory=dict)
    phase: Seconds = 0.0


GuestCount = Annotated[Count, Field(ge=1, le=200)]
Vcpus = Annotated[Count, Field(ge=1, le=128)]
Sysctls = dict[Annotated[str, Field(pattern=r"^(fs|kernel|vm)(\.[a-z0-9_-]+)+$")], Count]

FIT, FIT_MIB = "fit", -1
"""As memory_max, what follows from the host's memory for guests, their count and the ratio: as it
is written, and as a number.
"""

MebibytesOrFit = Annotated[
    Mebibytes,
    WrapValidator(lambda given, usual: FIT_MIB if given == FIT else usual(given)),
    PlainSerializer(lambda mib: FIT if mib == FIT_MIB else mebibytes_text(mib)),
    WithJsonSchema({"type": "string", "pattern": f"^({FIT}|{SIZE_PATTERN})$", "examples": ["256 MiB", FIT]}),
]


KernelMemory = Literal["own", "added"]


class GuestsSection(Section):
    """All guests are alike. memory_start: at boot, by default the guests' even share of the
    host; swap: by default memory_max; sysctl: settings of their kernels; kernel, type: what they
    boot, and as what, lab/kernels.py. kernel_memory: what a kernel takes more than Linux 5.10, its
    guests lack (own), or they and the host have more by that (added).
    """

    count: GuestCount
    vcpus: Vcpus = 1
    memory_max: MebibytesOrFit
    memory_start: Mebibytes | None = None
    swap: Mebibytes | None = None
    sysctl: Sysctls = Field(default_factory=dict)
    kernel: KernelName = FIDELITY
    kernel_memory: KernelMemory = "own"
    type: GuestType = PV


class GroupSection(Section):
    """Guests that are alike among those of an experiment. memory_start: by default a share of the
    host in proportion to memory_max. workload: by default the experiment's. after: the group whose
    loads have to have ended before those of this one start.
    """

    count: GuestCount = 1
    vcpus: Vcpus = 1
    memory_max: Mebibytes
    memory_start: Mebibytes | None = None
    workload: WorkloadSection | None = None
    after: Text | None = None


class GroupedSection(Section):
    """Guests in groups. Their numbers follow the order of the groups. swap: of each guest, by
    default the largest memory_max.
    """

    groups: Annotated[dict[Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]*$")], GroupSection], Field(min_length=1)]
    swap: Mebibytes | None = None
    sysctl: Sysctls = Field(default_factory=dict)
    kernel: KernelName = FIDELITY
    kernel_memory: KernelMemory = "own"
    type: GuestType = PV


class SamplingSection(Section):
    """How often counters are read while the workload runs; trace: whether what guests ask of tmem
    is recorded, too (docs/trace.md).
    """

    interval: Annotated[Seconds, Field(gt=0)] = 2.0
    trace: Annotated[bool, Field(strict=True)] = False


class TimeoutsSection(Section):
    """Limits of the stages. run: a last resort; by default five times what the workload is expected
    to take, and at least an hour.

    A run whose guests no longer get on ends long before: see campaigns/stuck.py.
    """

    prepare: Annotated[Seconds, Field(gt=0)] = 900.0
    ready: Annotated[Seconds, Field(gt=0)] = 600.0
    run: Annotated[Seconds, Field(gt=0)] | None = None
    collect: Annotated[Seconds, Field(gt=0)] = 900.0


class ReliefSection(Section):
    """What every cell of a control has to have felt, all guests together, for a claim of relief to
    be testable: any one of the three.

    pages_reclaimed: by the guests' kernels; refaults: of them, those that were wanted again;
    memory_stall: share of the guests' time in which some task waited for memory (PSI). null: does
    not count.
    """

    pages_reclaimed: Annotated[Count, Field(ge=1)] | None = 1024
    refaults: Annotated[Count, Field(ge=1)] | None = 256
    memory_stall: Annotated[Number, Field(gt=0, le=1)] | None = 0.01

    @model_validator(mode="after")
    def _some(self) -> ReliefSection:
        if self.record() == Relief(None, None, None):
            raise ValueError("at least one of pages_reclaimed, refaults and memory_stall has to count")
        return self

    def record(self) -> Relief:
        """As the analysis has it."""
        return Relief(**self.model_dump())


class GatesSection(Section):
    """What a run has to show to count (campaigns/gates.py says why). None: a default that follows
    from the sizing.

    overcommit_ratio: the least measured ratio under a policy that overcommits. sectors_read: the
    least sum over the guests. memory_given: the least share of its even share of the host that
    every self-ballooning guest must have given back at some time. tmem_puts: the least successful
    puts under a tmem policy, all guests together; refused ones where tmem refuses. swap_stores: the
    least pages that went to swap in the guests' own memory, all together. barrier_skew: the
    largest. readings_close: the most by which counters may be read before the release, or after the
    last guest's end. relief: not of a run but of claims: what their control has to have felt.
    """

    overcommit_ratio: Annotated[Number, Field(gt=0, le=1000)] | None = None
    sectors_read: Annotated[Count, Field(ge=0)] = 0
    memory_given: Annotated[Number, Field(ge=0, lt=1)] = 0.02
    tmem_puts: Annotated[Count, Field(ge=0)] = 1
    swap_stores: Annotated[Count, Field(ge=0)] = 1
    barrier_skew: Annotated[Seconds, Field(gt=0)] = 2.0
    readings_close: Annotated[Seconds, Field(gt=0)] = 2.0
    relief: ReliefSection = ReliefSection()


class ComparisonSection(Section):
    """Two policies of the experiment; figures compare treatment with control."""

    treatment: Text
    control: Text


class ExpectationSection(Section):
    """direction of the metric from control to treatment; the published figure of treatment ÷
    control: a range, or the best case of "up to".

    tolerance: of `unchanged`, `at_most` and `at_least`, or relative of the published figure.
    """

    direction: Direction
    ratio_low: Annotated[Number, Field(gt=0)] | None = None
    ratio_high: Annotated[Number, Field(gt=0)] | None = None
    ratio_best: Annotated[Number, Field(gt=0)] | None = None
    tolerance: Annotated[Number, Field(gt=0, lt=1)] | None = None

    @model_validator(mode="after")
    def _consistent(self) -> ExpectationSection:
        low, high, best = self.ratio_low, self.ratio_high, self.ratio_best
        if low is not None and high is not None and low > high:
            raise ValueError(f"ratio_low {low} is larger than ratio_high {high}")
        if best is not None and (low is not None or high is not None):
            raise ValueError("ratio_best is the figure of an `up to`; a range has ratio_low and ratio_high instead")
        for ratio in (low, high, best):
            if ratio is not None and (
                (self.direction == "decrease" and ratio > 1) or (self.direction == "increase" and ratio < 1)
            ):
                raise ValueError(f"the published ratio {ratio} is no {self.direction}: ratios are treatment ÷ control")
        if self.direction in BOUNDED:
            if (low is not None and low > 1) or (high is not None and high < 1):
                raise ValueError(f"a published range without 1 is not `{self.direction}`")
            if self.tolerance is None:
                raise ValueError(f"`{self.direction}` needs a tolerance")
            if best is not None:
                raise ValueError(f"`{self.direction}` has no best case")
        elif self.tolerance is not None and (low, high, best) == (None, None, None):
            raise ValueError("a tolerance is of `unchanged` or of a published figure, and there is neither")
        return self


class ClaimSection(Section):
    """A statement of the literature. evidence: quoted (read in the named text), source (read in
    code), recalled (not checked), ours (an expectation that nobody published). group: of whose
    guests; by default of all.

    control_from: `source` when the named text says what was compared with, `ours` when it does not.
    relief: whether the control has to have felt what is to be relieved; by default when the
    metric's better side is claimed. regime: in which the claim was made, and how this one differs;
    contradicted_by: what would.
    """

    id: Annotated[str, Field(pattern=f"^{IDENTIFIER}$")]
    statement: Text
    source: Text
    evidence: Evidence
    metric: Text
    aggregate: Aggregate = "sum"
    compare: ComparisonSection
    expectation: ExpectationSection
    control_from: ControlFrom = "ours"
    relief: Annotated[bool, Field(strict=True)] | None = None
    group: Text | None = None
    regime: Text | None = None
    contradicted_by: Text | None = None

    def record(self) -> Claim:
        """The claim as campaign.json holds it."""
        return Claim(
            id=self.id,
            statement=self.statement,
            source=self.source,
            evidence=self.evidence,
            metric=self.metric,
            aggregate=self.aggregate,
            compare=Comparison(self.compare.treatment, self.compare.control),
            expectation=Expectation(**self.expectation.model_dump()),
            control_from=self.control_from,
            relief=self.relief,
            group=self.group,
            regime=self.regime,
            contradicted_by=self.contradicted_by,
        )


class ThresholdSection(Section):
    """How far a factor can be taken: the last of its levels, from `start` on, at which a metric
    stays within so many times its value at `start`, for each policy by itself.

    at_most: of a metric that gets worse by growing; at_least: of one that gets worse by falling.
    start: the first or the last level of the factor. group: of whose guests; by default of all.
    """

    id: Annotated[str, Field(pattern=f"^{IDENTIFIER}$")]
    question: Text
    factor: Text
    start: Any
    metric: Text
    aggregate: Aggregate = "sum"
    at_most: Annotated[Number, Field(ge=1, le=1000)] | None = None
    at_least: Annotated[Number, Field(gt=0, le=1)] | None = None
    group: Text | None = None

    @model_validator(mode="after")
    def _one(self) -> ThresholdSection:
        if (self.at_most is None) == (self.at_least is None):
            raise ValueError("a threshold has either at_most or at_least")
        return self


NUMBER, LEVELS = "as a number", "at its levels"
"""How repetitions may be written: what is wrong is told of the form that was chosen."""


class BoundsSection(Section):
    """How often at least and at most; the data chooses (`until`)."""

    at_least: Annotated[Count, Field(ge=3, le=1000)]
    at_most: Annotated[Count, Field(ge=4, le=1000)]

    @model_validator(mode="after")
    def _some_room(self) -> BoundsSection:
        if self.at_least >= self.at_most:
            raise ValueError(f"at_least {self.at_least} is not below at_most {self.at_most}")
        return self


class UntilSection(Section):
    """Until which interval is narrow enough: that of treatment ÷ control of a metric, half of which
    is at most half_width of the ratio. looks: how often that is asked at most, evenly over the
    range.
    """

    metric: Text
    aggregate: Aggregate = "sum"
    compare: ComparisonSection
    half_width: Annotated[Number, Field(gt=0, lt=1)]
    looks: Annotated[Count, Field(ge=1, le=20)] = 4


BETWEEN = "between bounds"


def _often(most: int) -> Any:  # noqa: ANN401
    """A number, or bounds."""
    number = Annotated[Count, Field(ge=1, le=most), Tag(NUMBER)]
    bounds = Annotated[BoundsSection, Tag(BETWEEN)]
    chosen = Discriminator(lambda given: BETWEEN if isinstance(given, dict | BoundsSection) else NUMBER)
    return Annotated[number | bounds, chosen]


if TYPE_CHECKING:
    Boots = int | BoundsSection
    Runs = int | BoundsSection
else:
    Boots, Runs = _often(100), _often(1000)


class RepetitionsSection(Section):
    """Repetition at its levels: so many boots of the host, each with drives made anew, and so
    many runs from each. One of them may have bounds, and then goes on `until` an interval is narrow
    enough.
    """

    boots: Boots = 1
    runs: Runs = 1
    until: UntilSection | None = None

    @model_validator(mode="after")
    def _one_choice(self) -> RepetitionsSection:
        bounds = [name for name in ("boots", "runs") if isinstance(getattr(self, name), BoundsSection)]
        if self.until is None and bounds:
            raise ValueError(f"{bounds[0]} has bounds, and nothing says when there are enough: add `until`")
        if self.until is not None and len(bounds) != 1:
            raise ValueError("`until` needs bounds for one of boots and runs, such as {at_least: 3, at_most: 10}")
        if "runs" in bounds and self.boots != 1:
            raise ValueError("with several boots, bounds are those of boots: runs of one boot are averaged")
        return self


Retries = Annotated[Count, Field(ge=0, le=10)]
"""Further attempts at a cell that failed, by the class of its failure (campaigns/failures.py)."""

ALIKE, GROUPED = "all alike", "in groups"
"""How guests may be written."""

MANAGERS: dict[str, type[ManagerSettings]] = {
    key: section
    for policy in registry.BASES.values()
    for key, section in policy.parameters.items()
    if key in {policy.manager, policy.guest_manager} and issubclass(section, ManagerSettings)
}
"""Manager, in dom0 or in the guests, -> its section of an experiment, which has its name."""

if TYPE_CHECKING:
    _WithManagers = Section
else:
    _WithManagers = create_model(
        "_WithManagers", __base__=Section, **{name: (section, section()) for name, section in MANAGERS.items()}
    )


def _listed(given: object) -> object:
    return given if isinstance(given, list) else [given]


_ONE_OR_SEVERAL = WithJsonSchema(
    {"anyOf": [{"type": "array", "items": {}, "minItems": 1}, {"type": ["string", "number", "boolean"]}]}
)


def _whole(given: object) -> object:
    """For Python, `true` and 1.0 are 1."""
    return given if type(given) is int else repr(given)


def _keys(given: object) -> Collection[object]:
    return given if isinstance(given, dict) else ()


class ExperimentFile(_WithManagers):
    """A whole experiment file. Every manager has a section of its own, too (MANAGERS)."""

    schema_version: Annotated[Literal[1], BeforeValidator(_whole), Field(alias="schema")] = 1
    title: Text
    question: Text
    overcommit_ratio: Annotated[Number, Field(ge=0.01, le=100)] | None = None
    host: HostSection = HostSection()
    guests: Annotated[
        Annotated[GuestsSection, Tag(ALIKE)] | Annotated[GroupedSection, Tag(GROUPED)],
        Discriminator(
            lambda given: GROUPED if isinstance(given, GroupedSection) or "groups" in _keys(given) else ALIKE
        ),
    ]
    policies: Annotated[list[Text], Field(min_length=1)]
    selfballoon: SelfballoonParameters = SelfballoonParameters()
    tmem: TmemSection = TmemSection()
    ramdisk_swap: RamdiskParameters = RamdiskParameters()
    zswap: ZswapParameters = ZswapParameters()
    zram: ZramParameters = ZramParameters()
    more_ram: Annotated[Mebibytes, Field(ge=LEAST_MIB)] | None = None
    manager: ManagerSection = ManagerSection()
    workload: WorkloadSection | None = None
    factors: dict[str, Annotated[list[Any], Field(min_length=1)]] = Field(default_factory=dict)
    exclude: list[dict[str, Annotated[list[Any], BeforeValidator(_listed), _ONE_OR_SEVERAL]]] = Field(
        default_factory=list
    )
    repetitions: Annotated[
        Annotated[Count, Field(ge=1, le=1000), Tag(NUMBER)] | Annotated[RepetitionsSection, Tag(LEVELS)],
        Discriminator(lambda given: LEVELS if isinstance(given, dict | RepetitionsSection) else NUMBER),
    ] = 1
    retries: dict[Literal["lab", "guest_lost", "barrier", "timeout", "stuck", "workload"], Retries] = Field(
        default_factory=dict
    )
    seed: Annotated[Count, Field(ge=0)] = 1
    settle: Seconds = 0.0
    sampling: SamplingSection = SamplingSection()
    timeouts: TimeoutsSection = TimeoutsSection()
    gates: GatesSection = GatesSection()
    claims: list[ClaimSection] = Field(default_factory=list)
    thresholds: list[ThresholdSection] = Field(default_factory=list)

    def settings_of(self, manager: str) -> ManagerSettings:
        """What is set for a manager."""
        found: ManagerSettings = getattr(self, manager)
        return found

    @property
    def groups(self) -> dict[str, GroupSection]:
        """The groups of guests by name; guests that are all alike are one without a name."""
        guests = self.guests
        if isinstance(guests, GroupedSection):
            return dict(guests.groups)
        same = {key: getattr(guests, key) for key in ("count", "vcpus", "memory_max", "memory_start")}
        return {"": GroupSection.model_construct(**same)}

    def loads(self) -> dict[KeyPath, WorkloadSection]:
        """Where in the file a load is -> the load. Empty when none is given."""
        own = {name: group.workload for name, group in self.groups.items()}
        found: dict[KeyPath, WorkloadSection] = {} if self.workload is None else {("workload",): self.workload}
        return found | {("guests", "groups", name, "workload"): each for name, each in own.items() if each is not None}


def key_names(path: Sequence[str | int]) -> list[str]:
    """The keys that may stand at a path of the file, for suggestions; empty where any may."""
    models: list[Any] = [ExperimentFile]
    for part in path:
        if isinstance(part, int):
            continue
        fields = [model.model_fields[part] for model in models if part in model.model_fields]
        # below a mapping of names, such as that of the groups, a name stands for all
        named = [model for model in models if part not in model.model_fields and model in _NAMED]
        models = [*named, *(found for field in fields for found in _sections_of(field.annotation))]
    return [field.alias or name for model in models for name, field in model.model_fields.items()]


_NAMED = (GroupSection,)
"""Sections that stand below names of people's own."""


def _sections_of(annotation: Any) -> list[Any]:  # noqa: ANN401
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [found for argument in getattr(annotation, "__args__", ()) for found in _sections_of(argument)]
