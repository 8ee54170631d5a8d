"""./inv policies.decide: recorded states in, decisions out; a message that names state and key for
everything else.
"""

from __future__ import annotations

import copy
import importlib
import io
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import command
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import policies
from common.errors import InvalidFileError, UsageError
from lab.api import GuestSizing, HostSizing
from policies import apply, decide, describe, managers, registry
from policies.base import Tuning
from policies.managers.base import Guest, Seen

ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT / "tests/data/managers"


def ask(manager: str, text: str | bytes, monkeypatch: pytest.MonkeyPatch | None = None) -> list[dict[str, Any]]:
    raw = text if isinstance(text, bytes) else text.encode()
    with monkeypatch.context() if monkeypatch else pytest.MonkeyPatch.context() as patched:
        patched.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(raw)))
        return decide.decisions(manager, "-")


def inv(*words: str, given_text: str = "") -> subprocess.CompletedProcess[str]:
    return command.inv("policies.decide", *words, given=given_text)


GUEST = {"domain": 1, "actual": 300 * 2**20, "maximum": 2**30, "used": 10**8, "no_progress": False}
STATE = {"free": 10**8, "domains": [GUEST, {**GUEST, "domain": 2}]}
PROXMOX = json.loads((DATA / "proxmox.json").read_text())[0]

UNHURRIED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
"""Nothing here is about time, and the machine may be busy."""


# --- The command --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["qmemman", "qmemman-request", "proxmox"])
def test_the_command_prints_the_decisions_of_the_originals(name: str) -> None:
    recorded = (DATA / f"{name}.json").read_text()
    manager = name.partition("-")[0]
    by_file = inv("--manager", manager, "--state", f"tests/data/managers/{name}.json")
    assert (by_file.returncode, by_file.stderr) == (0, "")
    assert json.loads(by_file.stdout) == [{"targets": each["targets"]} for each in json.loads(recorded)]
    if name == "proxmox":
        assert inv("--manager", manager, "--state", "-", given_text=recorded).stdout == by_file.stdout


def test_one_state_gives_a_list_of_one_and_no_states_give_none() -> None:
    assert len(ask("qmemman", json.dumps(STATE))) == 1
    assert ask("qmemman", "[]") == []
    assert ask("qmemman", json.dumps({"free": 0, "domains": []})) == [{"targets": []}]


def test_a_list_may_hold_states_and_requests() -> None:
    request = {"request": 2**20, "domains": STATE["domains"]}
    both = ask("qmemman", json.dumps([STATE, request]))
    assert both == ask("qmemman", json.dumps(STATE)) + ask("qmemman", json.dumps(request))


def test_a_whole_number_may_be_written_with_a_point_or_an_exponent() -> None:
    written = json.dumps(STATE).replace("100000000", "1e8").replace("314572800", "314572800.0")
    assert written.count("1e8") == 3
    assert written.count("314572800.0") == 2
    assert ask("qmemman", written) == ask("qmemman", json.dumps(STATE))


def test_a_manager_of_tmem_says_weights_and_caps() -> None:
    guest = {"domain": 1, "weight": 1, "puts": 1, "hits": 1, "misses": 0, "lost": 0}
    (decided,) = ask("smartmem", json.dumps({"pages": 100, "domains": [guest]}))
    assert decided == {"targets": [], "weights": [[1, 500]], "caps": [[1, 0]]}


MISTAKES = [
    (("--manager", "qmeman", "--state", "-"), "{}", 2, "did you mean 'qmemman'?"),
    (("--state", "-"), "{}", 2, "--manager is missing"),
    (("--manager", "qmemman"), "", 2, "--state is missing"),
    (("--manager", "qmemman", "--state", "nosuch.json"), "", 4, "nosuch.json"),
    (("--manager", "qmemman", "--state", "tests"), "", 4, "Is a directory"),
    (("--manager", "qmemman", "--state", "-"), '[{"free": 1,]', 4, "not JSON"),
    (("--manager", "qmemman", "--state", "-"), json.dumps([STATE, {"free": 1}]), 4, "state 1: domains: is missing"),
]


@pytest.mark.parametrize(("words", "text", "code", "said"), MISTAKES, ids=[each[3] for each in MISTAKES])
def test_a_mistake_ends_with_its_exit_code_and_what_to_do(
    words: tuple[str, ...], text: str, code: int, said: str
) -> None:
    done = inv(*words, given_text=text)
    assert done.returncode == code, done.stderr
    assert said in done.stderr
    assert "do:" in done.stderr
    assert "Traceback" not in done.stderr + done.stdout
    assert done.stdout == ""


# --- States -------------------------------------------------------------------------------------

BAD = [
    ("domains[1].used", -1),
    ("domains[1].used", 2**63),
    ("domains[1].used", 1.5),
    ("domains[1].used", float("nan")),
    ("domains[1].used", float("inf")),
    ("domains[1].used", "1"),
    ("domains[1].used", True),
    ("domains[1].used", []),
    ("domains[1].actual", None),
    ("domains[1].actual", -4096),
    ("domains[1].maximum", 10**40),
    ("domains[1].domain", 1),
    ("domains[1].domain", -1),
    ("domains[1].no_progress", 0),
    ("domains[1].usde", 1),
    ("domains[1].\n", 1),
    ("domains", {}),
    ("domains", None),
    ("domains[1]", 3),
    ("free", None),
    ("free", "10 MiB"),
    ("fre", 1),
    ("request", 1),
]


@pytest.mark.parametrize(("key", "value"), BAD, ids=[f"{key!a} {value!r:.20}" for key, value in BAD])
def test_what_cannot_be_is_refused_with_its_state_and_key(key: str, value: object) -> None:
    bad = copy.deepcopy(STATE)
    target: Any = bad
    *way, last = re.findall(r"[^.\[\]]+", key)
    for part in way:
        target = target[int(part) if part.isdigit() else part]
    target[int(last) if last.isdigit() else last] = value
    with pytest.raises(InvalidFileError) as raised:
        ask("qmemman", json.dumps([STATE, STATE, bad]))
    message = str(raised.value)
    assert "state 2" in message
    assert {"request": "free", "domains[1].\n": "domains[1].'\\n'"}.get(key, key) in message


@pytest.mark.parametrize("key", sorted(GUEST))
def test_a_missing_key_is_named(key: str) -> None:
    bad = {"free": 1, "domains": [{name: value for name, value in GUEST.items() if name != key}]}
    with pytest.raises(InvalidFileError, match=re.escape(f"state 0: domains[0].{key}: is missing")):
        ask("qmemman", json.dumps(bad))


def test_contradicting_bounds_are_refused() -> None:
    bad = copy.deepcopy(PROXMOX)
    bad["domains"][1]["minimum"] = bad["domains"][1]["maximum"] + 1
    with pytest.raises(InvalidFileError, match=re.escape("domains[1].minimum")):
        ask("proxmox", json.dumps(bad))


def test_a_state_of_another_manager_is_refused_with_all_that_is_wrong() -> None:
    with pytest.raises(InvalidFileError) as raised:
        ask("proxmox", json.dumps(STATE))
    message = str(raised.value)
    assert all(word in message for word in ("goal", "maxchange", "minimum", "and ", " more", "proxmox.py"))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"\xff\xfe\x00", "not JSON"),
        (b"[" * 200_000, "not JSON"),
        (b'{"free": 1, "free": 2, "domains": []}', "'free' is there twice"),
        (b'{"free": 1' + b"0" * 5000 + b', "domains": []}', "free: "),
        (b"3", "a state is an object, not 3"),
        (b"[[]]", "state 0"),
        (b"null", "not None"),
        (b"", "not JSON"),
    ],
    ids=["binary", "deep", "twice", "long", "number", "list", "null", "empty"],
)
def test_what_is_no_state_at_all_is_refused(text: bytes, said: str) -> None:
    with pytest.raises(InvalidFileError) as raised:
        ask("qmemman", text)
    assert said in str(raised.value)


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@UNHURRIED
@given(
    manager=st.sampled_from(managers.names()),
    start=st.sampled_from([STATE, PROXMOX]),
    changes=st.lists(st.tuples(st.integers(0, 40), ANYTHING), max_size=3),
)
def test_whatever_is_in_a_state_ends_in_decisions_or_in_a_message(
    manager: str, start: dict[str, Any], changes: list[tuple[int, Any]]
) -> None:
    state = copy.deepcopy(start)
    for number, value in changes:
        places: list[tuple[Any, Any]] = [(state, key) for key in state]
        domains = state["domains"]
        if isinstance(domains, list):
            places += [(each, key) for each in domains if isinstance(each, dict) for key in each]
        holder, key = places[number % len(places)]
        holder[key] = value
    said = "state 0"
    try:
        assert len(ask(manager, json.dumps([state]))) == 1
    except InvalidFileError as error:
        said = str(error)
    assert "state 0" in said


@UNHURRIED
@given(manager=st.text(max_size=10).filter(lambda name: name not in managers.names()))
def test_no_name_of_a_manager_is_worse_than_wrong_usage(manager: str) -> None:
    with pytest.raises(UsageError):
        ask(manager, "[]")


def test_half_a_character_in_a_key_is_refused_too() -> None:
    with pytest.raises(InvalidFileError, match="state 0"):
        ask("qmemman", '{"free": 1, "domains": [{"\\ud800": 1}]}')


# --- The guide ----------------------------------------------------------------------------------


@pytest.fixture
def even(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The guide's manager with its policy, put where the guide says. The guide."""
    guide = (ROOT / "policies/README.md").read_text()
    for name, folder in (("managers/even.py", managers), ("policies/even.py", policies)):
        (module,) = re.findall(rf"`{name}`.*?```python\n(.*?)```", guide, re.DOTALL)
        written = tmp_path / name
        written.parent.mkdir(exist_ok=True)
        written.write_text(module)
        monkeypatch.setattr(folder, "__path__", [*folder.__path__, str(written.parent)])
    monkeypatch.setattr(managers, "_NAMES", (*managers.names(), "even"))
    try:
        module = importlib.import_module("policies.even")
        monkeypatch.setitem(registry.BASES, "even", module.POLICY)
        yield guide
    finally:
        for name in ("policies.managers.even", "policies.even"):
            sys.modules.pop(name, None)


def test_the_guides_manager_decides_as_it_is_printed(even: str, monkeypatch: pytest.MonkeyPatch) -> None:
    state, decided = re.findall(r"```json\n(.*?)```", even, re.DOTALL)
    assert ask("even", state, monkeypatch) == json.loads(decided)


@pytest.mark.usefixtures("even")
def test_the_guides_policy_runs_the_guides_manager_in_dom0() -> None:
    policy = registry.parse("even+tmem")
    assert "kept: memory that is not handed out; 16 MiB by itself" in "\n".join(describe.lines(policy))
    host, guests = HostSizing(480, 384, 2), GuestSizing(3, 1, 256, 160, 256)
    wanted = apply.manager(policy, Tuning(), host, guests, ["guest1"])
    assert wanted is not None
    assert (wanted.name, wanted.counters) == ("even", {"meminfo.AnonPages": 30 * 1024})
    manager = managers.get("even")
    seen = Seen(2**30, 80 * 2**20, 0.0, (Guest(1, "guest1", 2**27, 2**27, 0, 2**28, {"meminfo.AnonPages": 7}),))
    assert manager.decide(manager.state(seen)).targets == ((1, 2**27 + 64 * 2**20),)


def test_the_guide_names_every_manager() -> None:
    guide = (ROOT / "policies/README.md").read_text()
    assert [name for name in managers.names() if f"| `{name}` |" not in guide] == []
