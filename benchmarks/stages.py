#!/usr/bin/env python3
"""How long `./inv demo` takes, and which share each stage has: cold (nothing cached), warm, and
again.

    ./benchmarks/stages.py [--cold] [--keep]

--cold begins with an empty cache beside the present one (a folder for temporary files may be in
memory), so that everything is fetched, built and booted; without it the present cache is used.
Campaigns are written under names of their own, results/stages-*, and removed at the end unless
--keep is given. Prints Markdown. Seconds depend on the machine and what else it does; quote the
shares.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from common.errors import UserError  # noqa: E402
from lab import paths  # noqa: E402  the standard library is all that these need
from lab.build import artifacts  # noqa: E402  the standard library is all that these need

STAGES = (
    ("packages", r"^(install|packages|all programs)"),
    ("build", r"^build: "),
    ("cells", r"^cell \d+/\d+ .*: (?P<stage>\w+)$"),
    ("figures", r"^cell "),
)
"""A line of the demo begins a stage; what it does lasts until the next line. Lines that match
none belong to the lab.
"""


def stage_of(text: str) -> str:
    """The stage that a line of the demo begins."""
    for name, pattern in STAGES:
        if match := re.search(pattern, text):
            return f"cells: {match['stage']}" if "stage" in match.groupdict() else name
    return "lab"


def shares(timeline: list[dict[str, float | str]], total: float) -> dict[str, float]:
    """Stage -> seconds. What precedes the first line is the environment's set-up."""
    found = {"environment": float(timeline[0]["seconds"]) if timeline else total}
    end: dict[str, float | str] = {"seconds": total}
    for line, following in zip(timeline, [*timeline[1:], end], strict=True):
        stage = stage_of(str(line["text"]))
        found[stage] = found.get(stage, 0.0) + float(following["seconds"]) - float(line["seconds"])
    return found


def run(label: str, cache: str | None) -> dict[str, float]:
    """One demo, as a user calls it."""
    campaign = f"stages-{label}-{os.getpid()}"
    with tempfile.NamedTemporaryFile("r", suffix=".jsonl") as timeline:
        environment = {**os.environ, "OVERCOMMIT_TIMELINE": timeline.name}
        if cache:
            environment["OVERCOMMIT_CACHE"] = cache
        began = time.monotonic()
        code = subprocess.run(
            [str(ROOT / "inv"), "demo", "--campaign", campaign], env=environment, stdout=sys.stderr, check=False
        ).returncode
        total = time.monotonic() - began
        if code:
            raise SystemExit(f"the {label} demo failed with exit code {code}; its messages are above")
        lines = [json.loads(line) for line in timeline]
    return {**shares(lines, total), "total": total}


def remove(cache: Path) -> None:
    """Some of it is root's. That it stays is no reason to lose what was measured."""
    try:
        artifacts.remove_tree(cache)
    except UserError as error:
        print(error, file=sys.stderr)


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cold", action="store_true", help="begin with an empty cache")
    parser.add_argument("--keep", action="store_true", help="keep the campaigns and the temporary cache")
    options = parser.parse_args()
    cache = tempfile.mkdtemp(prefix="overcommit-cold-", dir=paths.cache().parent) if options.cold else None
    try:
        runs = {"cold": run("cold", cache)} if cache else {}
        runs["warm"] = run("warm", cache)
    finally:
        if not options.keep:
            for path in (ROOT / "results").glob(f"stages-*-{os.getpid()}"):
                shutil.rmtree(path)
            if cache:
                remove(Path(cache))
    stages = list(dict.fromkeys(stage for each in runs.values() for stage in each if stage != "total"))
    print("| stage | " + " | ".join(f"{label}, s | share" for label in runs) + " |")
    print("|---" * (1 + 2 * len(runs)) + "|")
    for stage in [*stages, "total"]:
        cells = []
        for each in runs.values():
            seconds = each.get(stage)
            cells.append("– | –" if seconds is None else f"{seconds:.0f} | {100 * seconds / each['total']:.0f} %")
        print(f"| {stage} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
