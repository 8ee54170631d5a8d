"""The grammar of memory policies."""

from __future__ import annotations

import importlib
import re
import subprocess
from pathlib import Path

import pytest

from campaigns import gates
from common.errors import UsageError
from lab import paths
from lab.api import GuestSizing, HostSizing, TmemSettings
from policies import apply, describe
from policies import registry as policies
from policies.base import Tuning


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("static", set()),
        ("static+tmem", {"driver", "cleancache", "frontswap"}),
        ("selfballoon", {"driver", "selfballooning"}),
        ("selfballoon+tmem", {"driver", "selfballooning", "selfshrinking", "cleancache", "frontswap"}),
        ("selfballoon+cleancache", {"driver", "selfballooning", "cleancache"}),
        ("selfballoon+frontswap", {"driver", "selfballooning", "selfshrinking", "frontswap"}),
        (
            "selfballoon+cleancache+frontswap",
            {"driver", "selfballooning", "selfshrinking", "cleancache", "frontswap"},
        ),
    ],
)
def test_names_mean(name: str, parts: set[str]) -> None:
    policy = policies.parse(name)
    assert {part for part, on in apply.parameters(policy).items() if on} | (
        {"driver"} if policy.module else set()
    ) == parts
    assert policies.parse(name).name == name


@pytest.mark.parametrize(
    ("name", "suggestion"),
    [
        ("selfballon", "'selfballoon'"),
        ("selfballoon+tmen", "'selfballoon+tmem'"),
        ("", "static or fixed or selfballoon"),
        ("tmem", "tmem is a part, to be added to a policy, as in static+tmem"),
        ("+dedup", "dedup is a part"),
        ("static+", "tmem or cleancache or frontswap"),
        ("static+compress", "tmem, cleancache, frontswap"),
        ("static+tmem+cleancache", "together"),
        ("static+tmem+tmem", "twice"),
    ],
)
def test_other_names_are_refused_with_a_suggestion(name: str, suggestion: str) -> None:
    with pytest.raises(UsageError) as raised:
        policies.parse(name)
    assert suggestion in str(raised.value)


def test_the_driver_is_told_every_parameter() -> None:
    assert apply.parameters(policies.parse("selfballoon+cleancache")) == {
        "cleancache": True,
        "frontswap": False,
        "selfballooning": True,
        "selfshrinking": False,
    }


def test_a_policy_takes_effect_at_the_release(tmp_path: Path) -> None:
    """Before it, self-ballooning is off, whatever the driver was loaded with: else some guests
    tick before others start.
    """
    policy = policies.parse("selfballoon+tmem")
    assert policy.at_release == {"selfballooning": 1, "frontswap_selfshrinking": 1}
    for name in ("selfballooning", "frontswap_selfshrinking"):
        (tmp_path / name).write_text("0\n")
    script = apply.release_script(policy).replace(apply.SELFBALLOON, str(tmp_path))
    assert subprocess.run(["sh", "-c", script], check=False).returncode == 0
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {
        "selfballooning": "1\n",
        "frontswap_selfshrinking": "1\n",
    }
    assert apply.release_script(policies.parse("static+tmem")) == ""


def test_a_setting_that_the_driver_does_not_take_ends_the_guest_at_the_barrier(tmp_path: Path) -> None:
    script = apply.release_script(policies.parse("selfballoon")).replace(apply.SELFBALLOON, str(tmp_path / "none"))
    done = subprocess.run(["sh", "-c", script + "echo on\n"], check=False, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (96, "")
    assert "the driver does not take selfballooning" in done.stderr


def test_where_a_guest_starts_follows_from_the_policy() -> None:
    host, guests = HostSizing(480, 384, 2), GuestSizing(3, 1, 256, 110, 256)
    assert apply.start_mib(policies.parse("static"), host, guests) == 160
    assert apply.start_mib(policies.parse("selfballoon"), host, guests) == 160
    assert apply.start_mib(policies.parse("fixed+tmem"), host, guests) == 110


def test_parts_and_the_experiment_tell_tmem_how_to_keep_pages() -> None:
    policy = policies.parse("static+tmem+compress+dedup")
    assert policy.tmem == TmemSettings(compress=True, dedup=True)
    own = Tuning(tmem=TmemSettings(compress=False, weights={"guest1": 3}))
    assert apply.tmem_settings(policy, own) == TmemSettings(False, True, {"guest1": 3}, {})


def test_every_policy_and_part_can_be_listed_and_described() -> None:
    listed = {entry.name for entry in describe.entries()}
    assert {"static", "fixed", "selfballoon", "+tmem", "+compress"} <= listed
    for entry in describe.entries():
        assert entry.summary
    said = "\n".join(describe.lines(policies.parse("selfballoon+tmem+compress")))
    assert "modprobe tmem cleancache=1 frontswap=1 selfballooning=1 selfshrinking=1" in said
    assert "tmemctl set --compress 1" in said
    assert "downhysteresis: a step down" in said
    assert "modprobe" not in "\n".join(describe.lines(policies.parse("fixed")))
    said = "\n".join(describe.lines(policies.parse("psi")))
    assert "pressure: waiting that a guest should see in an interval; 10 ms by itself" in said, "as it can be written"


def test_the_guides_policy_is_one_as_it_is_printed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    guide = (paths.REPO / "policies" / "README.md").read_text()
    code = re.search(r"`policies/halved.py`.*?```python\n(.*?)```", guide, re.DOTALL)
    assert code
    (tmp_path / "halved.py").write_text(code[1])
    monkeypatch.syspath_prepend(str(tmp_path))
    written = importlib.import_module("halved").POLICY
    monkeypatch.setitem(policies.BASES, written.name, written)
    policy = policies.parse("halved+tmem")
    assert (policy.start, policy.sysctl, policy.pools) == (
        "configured",
        {"vm.swappiness": 100},
        ("ephemeral", "persistent"),
    )
    assert set(policy.gates) <= set(gates.POLICY_GATES)
