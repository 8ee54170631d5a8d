"""What ./inv tmem.soak-guests makes of its options, of what works in the guests, and of pytest's
report; the soak itself is a lab test.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import pytest

from common.errors import LabError, UsageError
from tests.lab import soak

STRESSED = """\
stress-ng: info:  [700] setting to a 2 mins run per stressor
stress-ng: metrc: [700] stressor       bogo ops real time  usr time  sys time   bogo ops/s     bogo ops/s CPU used per       RSS Max
stress-ng: metrc: [700]                           (secs)    (secs)    (secs)   (real time) (usr+sys time) instance (%)          (KB)
stress-ng: metrc: [700] vm                20480    120.10     30.10     20.00       170.52         408.78        41.72        123456
stress-ng: metrc: [700] vm-rw                12    121.00      1.10      2.00         0.10           3.87         2.56          2048
stress-ng: metrc: [700] mmap                  7    120.40      9.10      8.00         0.06           0.41        14.20         35000
stress-ng: metrc: [700] iomix              9000    120.00      2.00      9.00        75.00         818.18         9.17          1800
stress-ng: info:  [700] skipped: 0
stress-ng: info:  [700] passed: 4: vm (1) vm-rw (1) mmap (1) iomix (1)
stress-ng: info:  [700] failed: 0
"""  # noqa: E501  (as it is)

CAME_THROUGH = soak.Soaked("debian-6.12", 2.0, {"vm": 20480}, 31, 9000, 40000)


def test_what_stress_ng_did_is_told_by_stressor() -> None:
    assert soak.worked(0, STRESSED) == {"vm": 20480, "vm-rw": 12, "mmap": 7, "iomix": 9000}
    command = soak.stress_command(120, 7, "/root/soak")
    assert "--verify" in command
    assert "--timeout 120s" in command
    assert all(f"--{name} 1 " in command for name in soak.STRESSORS)


@pytest.mark.parametrize(
    ("code", "said", "words"),
    [
        (2, STRESSED + "stress-ng: fail:  [701] vm: detected 1 bit errors\n", ["ended with 2", "1 bit errors"]),
        (0, STRESSED.replace(" 12    121.00", "  0    121.00"), ["vm-rw did nothing"]),
        (0, "", ["vm, vm-rw, mmap, iomix did nothing"]),
    ],
)
def test_who_failed_or_did_nothing_has_not_come_through(code: int, said: str, words: list[str]) -> None:
    with pytest.raises(LabError) as raised:
        soak.worked(code, said)
    assert all(word in str(raised.value) for word in words)


def test_files_are_counted_when_all_of_them_are_right() -> None:
    right, wrong = '{"wrong": 0, "read": {"done": 9, "none": 0}}\n', '{"wrong": 3}\n'
    assert soak.files_right(0, right * 3, "") == 3
    with pytest.raises(LabError, match="3 bytes of files"):
        soak.files_right(0, right + wrong, "exercise: step 5: read: byte 1 of 2 is 00, and has to be 01\n")
    with pytest.raises(LabError, match="exit code 1"):
        soak.files_right(1, right, "exercise: step 5: read: Input/output error\n")
    with pytest.raises(LabError, match="not changed to the end"):
        soak.files_right(0, "", "")


def test_only_guests_that_came_through_are_told(tmp_path: Path) -> None:
    told = json.dumps(asdict(CAME_THROUGH)).replace('"', "&quot;")
    case = f'<testcase name="a"><properties><property name="soaked" value="{told}"/></properties>'
    text = f'<testsuite>{case}</testcase>{case}<failure message="no"/></testcase><testcase name="b"/></testsuite>'
    (tmp_path / "report.xml").write_text(text)
    assert soak.passed(tmp_path / "report.xml") == [CAME_THROUGH]


@pytest.mark.parametrize(
    ("minutes", "kernels"), [(0, soak.STOCK), (soak.MOST_MINUTES + 1, soak.STOCK), (1, ["fidelity"])]
)
def test_what_cannot_be_soaked_is_refused(minutes: float, kernels: list[str], tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        soak.soak(minutes, kernels, 1, tmp_path / "lab.yml")


def test_a_soak_that_does_not_run_is_no_success(tmp_path: Path) -> None:
    with pytest.raises(LabError, match="0 of 1"):
        soak.soak(1, ["debian-7"], 1, tmp_path / "no-such-lab.yml")


def test_the_tests_that_it_runs_exist() -> None:
    assert 'record_property("soaked"' in (soak.paths.REPO / soak.TEST).read_text()
