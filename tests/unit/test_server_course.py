"""How far a server's provisioning is."""

from __future__ import annotations

import json
from pathlib import Path

from lab.hosts.server_course import STAGES, Course


def test_the_time_left_is_what_the_stages_took_the_last_time(tmp_path: Path) -> None:
    now = [0.0]
    told: list[str] = []

    def course() -> Course:
        return Course(told.append, tmp_path / "course.json", lambda: now[0])

    first = course()
    assert first.left() == sum(STAGES.values())
    for stage, seconds in (("configure", 5.0), ("boot", 100.0)):
        now[0] += seconds
        first.begin(stage)
    now[0] += 60
    first.finish()
    assert json.loads((tmp_path / "course.json").read_text()) == {"look": 5.0, "configure": 100.0, "boot": 60.0}

    told.clear()
    second = course()
    second.tell("looking at it")
    second.begin("configure")
    now[0] += 70
    second.tell("Write the boot menu")
    now[0] += 500  # longer than the last time
    second.tell("Write the boot menu")
    second.begin("boot")
    now[0] += 60
    second.tell("done")
    assert told == [
        "looking at it (about 2 min 45 s left)",
        "Write the boot menu (about 1 min 30 s left)",
        "Write the boot menu (about 1 min 00 s left)",
        "done",
    ]


def test_a_file_that_is_damaged_is_no_defect(tmp_path: Path) -> None:
    (tmp_path / "course.json").write_text("{")
    assert Course(lambda _text: None, tmp_path / "course.json", lambda: 0.0).left() == sum(STAGES.values())
