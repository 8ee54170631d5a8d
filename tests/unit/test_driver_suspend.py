"""The guest driver's frontswap, stash and slots, compiled as a program: random stores, loads and
invalidations around suspensions of every outcome.

The model and the Xen that it runs against are in tests/driver/suspend.c; tests/driver/shim.h stands
for Linux. Needs gcc with its sanitizers' libraries.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parents[2]
DRIVER = REPO / "tmem" / "linux"
SOURCES = ("persistent.c", "frontswap.c", "stash.c", "slots.c")
MODEL = REPO / "tests" / "driver"
ROUNDS = 60

MISTAKES = {
    "has what was flushed while the pool was set aside": ("persistent.c", "!READ_ONCE(only_stash) && ", ""),
    "forgets for good what is in the pool": (
        "persistent.c",
        "\tWRITE_ONCE(only_stash, false);\n\tWRITE_ONCE(gen",
        "\tWRITE_ONCE(gen",
    ),
    "names a pool of before": ("persistent.c", "\t\tWRITE_ONCE(pool, -1);\n", ""),
    "does not look into the stash": ("persistent.c", "if (unlikely(tmem_stash_has(slot)))", "if (0)"),
    "forgets the stash too early": ("persistent.c", "tmem_stash_use(slot, offer, &key)", "!tmem_stash_forget(slot)"),
    "leaves pages nobody wants in Xen": (
        "persistent.c",
        "\t\ttmem_flush_page(TMEM_PERSISTENT, &key);\n\t}\n\tWRITE_ONCE(only_stash, false);",
        "\t}\n\tWRITE_ONCE(only_stash, false);",
    ),
    "takes a page back that is wanted no more": ("persistent.c", "wanted = tmem_stash_has(slot);", "wanted = true;"),
    "drains what it has drained": (
        "persistent.c",
        "\tif (pool_aside >= 0) {\n\t\tmutex_unlock",
        "\tif (0) {\n\t\tmutex_unlock",
    ),
    "takes the pool of another kernel for its own": (
        "persistent.c",
        "int there = tmem_stash_is_in(pool_aside, slot_key);",
        "int there = tmem_stash_is_in(pool_aside, slot_key) >= 0;",
    ),
    "looks for its pages by their keys alone": ("stash.c", "!memcmp(page_address(ours), page_address(there)", "!!(1"),
    "leaves another kernel's pool": ("persistent.c", "\t\t\ttmem_destroy_pool(pool_aside);\n", ""),
    "keeps its memory": ("stash.c", "shmem_truncate_range(", "(void)("),
    "skips a slot": (
        "slots.c",
        "find_next_bit(chunk, CHUNK_SLOTS, start)",
        "find_next_bit(chunk, CHUNK_SLOTS, start + 1)",
    ),
    "loses pages when refusing": ("persistent.c", "\tif (rc < 0) {\n\t\t*pages", "\tif (0) {\n\t\t*pages"),
    "takes an invalidated page for a lost one": (
        "persistent.c",
        "\tif (unlikely(!tmem_slots_has(&held, slot))) {",
        "\tif (0) {",
    ),
    "keeps a copy of an invalidated page": (
        "persistent.c",
        "\t\ttmem_stash_forget(slot);\n\t\treturn 0;",
        "\t\treturn 0;",
    ),
    "does not say that it drained": ("persistent.c", "\t\t\ttmem_set_drained(pool, true);", "\t\t\t(void)0;"),
    "does not say that it holds pages again": ("persistent.c", "\t\t\ttmem_set_drained(pool_aside, false);", ""),
}


FLAGS = ("-std=gnu17", "-O1", "-g", "-w", "-fsanitize=address,undefined", "-fno-sanitize-recover=undefined")


def prepare(folder: Path) -> Path:
    """The driver's sources, and what stands for Linux's headers."""
    sources = folder / "sources"
    (sources / "linux").mkdir(parents=True)
    for path in (*(DRIVER / name for name in SOURCES), *DRIVER.glob("*.h")):
        text = path.read_text()
        (sources / path.name).write_text(text)
        for header in re.findall(r"#include <(linux/[\w/]+\.h)>", text):
            (sources / header).parent.mkdir(parents=True, exist_ok=True)
            (sources / header).write_text('#include "shim.h"\n')
    return sources


def compile_one(source: Path, sources: Path, folder: Path) -> Path:
    compiled = folder / f"{source.stem}.o"
    subprocess.run(["gcc", *FLAGS, f"-I{sources}", f"-I{MODEL}", "-c", "-o", compiled, source], check=True)
    return compiled


def link(compiled: Iterable[Path], folder: Path) -> Path:
    program = folder / "suspend"
    subprocess.run(["gcc", *FLAGS, "-o", program, *compiled], check=True)
    return program


def run(program: Path, seed: int) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [program, str(seed), str(ROUNDS)],
        capture_output=True,
        text=True,
        check=False,
        env={"ASAN_OPTIONS": "detect_leaks=0"},
    )


@dataclass(frozen=True)
class Model:
    """The program's parts, compiled, by their source's name."""

    sources: Path
    compiled: Mapping[str, Path]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    folder = tmp_path_factory.mktemp("driver")
    sources = prepare(folder)
    parts = (MODEL / "suspend.c", *(sources / name for name in SOURCES))
    return Model(sources, {part.name: compile_one(part, sources, folder) for part in parts})


@pytest.fixture(scope="module")
def program(model: Model, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return link(model.compiled.values(), tmp_path_factory.mktemp("program"))


@pytest.mark.parametrize("seed", range(1, 6))
def test_no_page_is_lost_or_left_behind(program: Path, seed: int) -> None:
    done = run(program, seed)
    assert done.returncode == 0, done.stderr
    # All outcomes were there, or the run says nothing of them.
    assert all(int(number) > 0 for number in re.findall(r"\d+", done.stdout)), done.stdout


@pytest.mark.parametrize("name", MISTAKES)
def test_the_model_notices(name: str, model: Model, tmp_path: Path) -> None:
    file, text, becomes = MISTAKES[name]
    right = (model.sources / file).read_text()
    assert text in right, "the mistake is to be made in text that is there"
    (tmp_path / file).write_text(right.replace(text, becomes))
    wrong = compile_one(tmp_path / file, model.sources, tmp_path)
    program = link({**model.compiled, file: wrong}.values(), tmp_path)
    assert any(run(program, seed).returncode for seed in range(1, 4)), f"a driver that {name} passes"
