"""The kernel build on this machine, with a `make` that stands in for a compiler, and its
captured raw outputs.
"""

from __future__ import annotations

import hashlib
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from plumbum import local

from common.errors import WorkloadError
from tests.unit.workloads_local import DATA, write_program
from tests.unit.workloads_local import programs as programs  # noqa: PLC0414  a fixture
from tests.unit.workloads_local import raw as raw  # noqa: PLC0414  a fixture
from workloads import machines, registry, scripts
from workloads.base import ParameterError
from workloads.kernel_build import STAMP, KernelBuild, KernelBuildParameters, objects_script, read_objects
from workloads.run import run

MAKE = r"""
[ "$1" = --version ] && { echo GNU Make 4.4.1; exit; }
echo "$@" >> "$LOG"
folder=
for word; do case $word in
    --eval=*) echo "export PROBED='a b' MAKEFLAGS=of-another-make" > "$build/.make-variables" ;;
    -C) folder=next ;;
    .targets.mk) echo "PROBED=$PROBED MAKEFLAGS=$MAKEFLAGS" >> "$LOG"
        for object in $(grep -o '[a-z/]*\.o' "$folder/$word"); do
            mkdir -p "$folder/${object%/*}"; echo "object $object" > "$folder/$object"
        done ;;
    O=*) build=${word#O=} ;;
    *.o) mkdir -p "$build/${word%/*}"; [ -e "$build/$word" ] && echo "$word was not clean" >> "$LOG"
         echo "object $word" > "$build/$word"; : > "$build/${word%/*}/.${word##*/}.cmd" ;;
    *config) : > "$build/.config" ;;
    prepare) mkdir -p "$build/include/config"; echo 5.10.223 > "$build/include/config/kernel.release" ;;
    *) if [ "$folder" = next ]; then folder=$word; fi ;;
esac; done
"""


@pytest.fixture
def tree(tmp_path: Path, programs: Path) -> dict[str, Any]:
    """Parameters for a source of three lines, which our own make builds."""
    source = tmp_path / "source"
    source.mkdir()
    (source / "Makefile").write_text("VERSION = 5\nPATCHLEVEL = 10\nSUBLEVEL = 223\n")
    write_program(programs, "make", MAKE.replace("$LOG", str(tmp_path / "log")))
    write_program(programs, "gcc", "echo 'gcc (Debian 14.2.0-19) 14.2.0'")
    return {
        "source": str(source),
        "build": str(tmp_path / "build"),
        "reset_memory": False,
        "targets": ["mm/vmscan.o", "kernel/fork.o"],
        "rounds": 2,
    }


def build(values: dict[str, Any]) -> tuple[KernelBuild, KernelBuildParameters]:
    workload = registry.get("kernel_build")
    assert isinstance(workload, KernelBuild)
    return workload, workload.parse(values)


def test_a_build_from_an_unprepared_tree(tree: dict[str, Any], raw: Path, tmp_path: Path) -> None:
    workload, params = build(tree)
    result = run(local, workload, params, tmp_path / "kept")
    log = (tmp_path / "log").read_text().splitlines()
    assert [line.split()[-1] for line in log[:3]] == ["tinyconfig", "olddefconfig", "prepare"]
    assert len(log) == 5, log
    for line in log[3:]:
        assert line.endswith("-j2 KERNELRELEASE=5.10.223 PAHOLE_FLAGS= mm/vmscan.o kernel/fork.o")
    assert result.checksums == {
        name: hashlib.sha256(f"object {name}\n".encode()).hexdigest() for name in ("kernel/fork.o", "mm/vmscan.o")
    }
    values = {metric.name: metric.value for metric in result.metrics}
    assert values["objects"] == 2
    assert values["object_bytes"] == len("object mm/vmscan.o\n") + len("object kernel/fork.o\n")
    assert result.facts["linux_version"] == "5.10.223"
    assert result.facts["prepared"] == "now"
    assert result.facts["compiler"] == "gcc (Debian 14.2.0-19) 14.2.0"
    assert result.facts["config_sha256"] == hashlib.sha256(b"").hexdigest()


def test_a_build_that_asks_the_compiler_once(tree: dict[str, Any], raw: Path, tmp_path: Path) -> None:
    workload, params = build({**tree, "probes": "once", "targets": ["kernel/fork.o", "mm/vmscan.o", "kernel/exit.o"]})
    result = run(local, workload, params, tmp_path / "kept")
    log = (tmp_path / "log").read_text().splitlines()
    assert sum("overcommit-variables" in line for line in log) == 1
    assert log[-1] == log[-3] == "PROBED=a b MAKEFLAGS=", (
        "each round starts with what make had found, and with its own flags"
    )
    assert len(result.checksums) == 3
    rules = (tmp_path / "build" / ".targets.mk").read_text()
    assert f"-f {tree['source']}/scripts/Makefile.build obj=kernel kernel/fork.o kernel/exit.o\n" in rules
    workload.prepare(local, params)
    assert sum("overcommit-variables" in line for line in (tmp_path / "log").read_text().splitlines()) == 1


def test_a_whole_directory_is_built_as_linux_builds_it(tree: dict[str, Any], raw: Path, tmp_path: Path) -> None:
    workload, params = build({**tree, "probes": "once", "targets": ["mm/"]})
    workload.prepare(local, params)
    rules = (tmp_path / "build" / ".targets.mk").read_text()
    assert "scripts/Makefile.build obj=mm need-builtin=1 need-modorder=1\n" in rules


def test_a_prepared_tree_is_not_prepared_again(tree: dict[str, Any], raw: Path, tmp_path: Path) -> None:
    workload, params = build(tree)
    workload.prepare(local, params)
    (tmp_path / "log").unlink()
    assert workload.prepare(local, params)["prepared"] == "before"
    assert not (tmp_path / "log").exists()
    _, other = build({**tree, "config": "defconfig"})
    assert workload.prepare(local, other)["prepared"] == "now"


def test_a_preparation_that_failed_leaves_no_stamp(
    tree: dict[str, Any], raw: Path, programs: Path, tmp_path: Path
) -> None:
    write_program(programs, "make", "echo 'no rule to make tinyconfig' >&2; exit 2")
    workload, params = build(tree)
    with pytest.raises(WorkloadError) as caught:
        workload.prepare(local, params)
    assert "make tinyconfig failed" in caught.value.why
    assert "no rule to make tinyconfig" in caught.value.why
    assert not (tmp_path / "build" / STAMP).exists()


def test_a_machine_without_the_source_says_so(tree: dict[str, Any], raw: Path) -> None:
    workload, params = build({**tree, "source": "/nonexistent"})
    with pytest.raises(WorkloadError) as caught:
        workload.prepare(local, params)
    assert "/nonexistent holds no Linux source" in caught.value.why


def test_a_failing_build_shows_the_end_of_its_log(
    tree: dict[str, Any], raw: Path, programs: Path, tmp_path: Path
) -> None:
    workload, params = build(tree)
    workload.prepare(local, params)
    write_program(programs, "make", "echo 'mm/vmscan.c:1: error: expected ;' >&2; exit 2")
    with pytest.raises(WorkloadError) as caught:
        run(local, workload, params, tmp_path / "kept")
    assert "round1 ended with exit status 2" in caught.value.what
    assert "expected ;" in caught.value.why


def test_a_make_that_builds_nothing_is_no_success(
    tree: dict[str, Any], raw: Path, programs: Path, tmp_path: Path
) -> None:
    workload, params = build(tree)
    workload.prepare(local, params)
    write_program(programs, "make", "exit 0")
    with pytest.raises(WorkloadError):
        run(local, workload, params, tmp_path / "kept")


def test_objects_of_an_earlier_build_are_removed_before_the_first_round(
    tree: dict[str, Any], raw: Path, tmp_path: Path
) -> None:
    workload, params = build(tree)
    run(local, workload, params, tmp_path / "first")
    run(local, workload, params, tmp_path / "second")
    assert "was not clean" not in (tmp_path / "log").read_text()


def test_cleaning_a_directory_leaves_what_prepare_made(tree: dict[str, Any], raw: Path, tmp_path: Path) -> None:
    made = tmp_path / "build"
    compiled = ["mm/vmscan.o", "mm/.vmscan.o.cmd", "mm/kasan/common.o", "mm/built-in.a", "mm/modules.order"]
    prepared = ["include/generated/bounds.h", "mm/notes.txt", "scripts/mod/empty.o", "kernel/fork.o"]
    for name in (*compiled, *prepared):
        (made / name).parent.mkdir(parents=True, exist_ok=True)
        (made / name).write_text("x")
    (made / STAMP).write_text("tinyconfig\n")
    (made / ".config").touch()
    workload, params = build({**tree, "targets": ["mm/"]})
    workload.prepare(local, params)
    assert not any((made / name).exists() for name in compiled)
    assert all((made / name).exists() for name in prepared)
    _, params = build({**tree, "targets": ["vmlinux"], "clean": "tree"})
    (made / "vmlinux").touch()
    workload.prepare(local, params)
    assert not (made / "vmlinux").exists()
    assert not (made / "kernel/fork.o").exists()
    assert (made / "scripts/mod/empty.o").exists()


def test_every_object_below_a_directory_is_digested(tree: dict[str, Any], tmp_path: Path) -> None:
    for name in ("mm/a.o", "mm/kasan/b.o", "mm/c.c", "fs/d.o", "lib/e.o"):
        path = tmp_path / "build" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    _, params = build({**tree, "targets": ["mm/", "fs/d.o"]})
    listing = machines.check_script(local, objects_script(params), what="read", timeout_s=10)
    sizes, checksums = read_objects(listing, params, tmp_path)
    assert list(checksums) == ["fs/d.o", "mm/a.o", "mm/kasan/b.o"]
    assert sizes == [6, 6, 12]


def test_objects_that_cannot_be_read_are_an_error_with_its_reason(
    raw: Path, tree: dict[str, Any], tmp_path: Path
) -> None:
    workload, params = build({**tree, "rounds": 2, "targets": ["mm/gone.o"]})
    (tmp_path / "build").mkdir(exist_ok=True)
    shutil.copytree(DATA / "kernel_build" / "two-rounds", raw)
    kept = tmp_path / "kept"
    kept.mkdir()
    with pytest.raises(WorkloadError, match=r"could not read the objects(?s:.*)mm/gone\.o"):
        workload.collect(local, params, kept)


def test_a_captured_build_of_two_rounds(tmp_path: Path) -> None:
    folder = DATA / "kernel_build" / "two-rounds"
    first, second, sync = scripts.read_timings(folder, "the kernel build")
    assert (first.label, first.wall_seconds, first.user_seconds, first.system_seconds) == ("round1", 10.98, 5.24, 0.96)
    assert (second.label, second.user_seconds, second.system_seconds) == ("round2", 5.2, 0.93)
    assert sync.label == "sync"
    _, params = build({})
    sizes, checksums = read_objects((folder / "objects").read_text(), params, folder)
    assert len(sizes) == len(checksums) == len(params.targets)
    assert checksums["mm/vmscan.o"].startswith("a832e472")


def test_a_captured_build_of_an_object_without_source() -> None:
    with pytest.raises(WorkloadError) as caught:
        scripts.read_timings(DATA / "kernel_build" / "no-such-object", "the kernel build")
    assert "No rule to make target 'mm/nosuch.o'" in caught.value.why


def test_a_captured_build_that_was_cut_short(raw: Path, tmp_path: Path) -> None:
    """The guest died, or its script was ended, in round 2: one round's figures must not pass for
    both.
    """
    shutil.copytree(DATA / "kernel_build" / "two-rounds", raw)
    lines = (raw / "timings").read_text().splitlines()
    (raw / "timings").write_text(lines[0] + "\n")
    workload, params = build({"rounds": 2})
    kept = tmp_path / "kept"
    kept.mkdir()
    with pytest.raises(WorkloadError, match="did not run to its end") as caught:
        workload.collect(local, params, kept)
    assert "round2, sync" in caught.value.why


def test_an_empty_object_is_no_object(tmp_path: Path) -> None:
    _, params = build({"targets": ["mm/rmap.o"]})
    with pytest.raises(WorkloadError) as caught:
        read_objects(f"0 mm/rmap.o\n{hashlib.sha256(b'').hexdigest()}  mm/rmap.o\n", params, tmp_path)
    assert "mm/rmap.o" in caught.value.why


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"targets": []}, "targets"),
        ({"targets": ["mm/vmscan.c"]}, "targets.0"),
        ({"targets": ["mm/a.o; rm -rf /"]}, "targets.0"),
        ({"targets": ["../x.o"]}, "targets.0"),
        ({"targets": ["mm/a.o", "mm/a.o"]}, "there twice"),
        ({"targets": ["mm/", "mm/a.o"]}, "part of target 'mm/'"),
        ({"targets": ["vmlinux"]}, "needs clean: tree"),
        ({"targets": ["vmlinux", "mm/"], "clean": "tree"}, "stands alone"),
        ({"targets": ["vmlinux"], "clean": "tree", "probes": "once"}, "needs probes: each"),
        ({"config": "tiny"}, "config"),
        ({"jobs": 0}, "jobs"),
        ({"jobs": 2.0}, "jobs"),
        ({"rounds": True}, "rounds"),
        ({"source": "relative"}, "source"),
        ({"build": "/a b"}, "build"),
    ],
)
def test_parameters_that_are_refused(values: dict[str, object], words: str) -> None:
    with pytest.raises(ParameterError) as caught:
        build(values)
    assert words in str(caught.value)


@given(rounds=st.integers(1, 1000), jobs=st.integers(1, 1024), slowdown=st.floats(1, 100))
def test_expected_time_grows_with_rounds_and_slowdown(rounds: int, jobs: int, slowdown: float) -> None:
    workload, params = build({"rounds": rounds, "jobs": jobs})
    _, once = build({})
    assert workload.expected_seconds(params, slowdown) == pytest.approx(
        workload.expected_seconds(once, 1.0) * rounds * slowdown
    )


# --- a make that lost a compiler, and ended with 0 all the same ---------------------------------


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ("make[2]: *** [scripts/Makefile.build:286: mm/vmscan.o] Killed\n", "SIGKILL"),
        ("make[2]: *** [../scripts/Makefile.build:280: mm/vmscan.o] Error 137\n", "SIGKILL"),
        ("make[1]: *** [Makefile:1832: mm] Error 2\n", "the kernel build failed"),
        ("gcc: fatal error: Killed signal terminated program cc1\ncompilation terminated.\n", "SIGKILL"),
        ("gcc: internal compiler error: Killed (program cc1)\n", "SIGKILL"),
        ("gcc: internal compiler error: Segmentation fault signal terminated program cc1\n", "SIGSEGV"),
        ("mm/vmscan.c:12:1: internal compiler error: in foo, at bar.c:1\n", "the compiler broke"),
        ("collect2: fatal error: ld terminated with signal 9 [Killed]\n", "SIGKILL"),
        ("virtual memory exhausted: Cannot allocate memory\n", "no memory"),
        ("cc1: out of memory allocating 65536 bytes after a total of 1234 bytes\n", "no memory"),
        ("Fatal error: can't write 12 bytes to section .text of mm/vmscan.o: No space left on device\n", "written"),
        ("Bus error\n", "SIGBUS"),
        ("/bin/sh: 1: /usr/bin/gcc: Exec format error\n", "could not be started"),
        ("make: Target 'mm/' not remade because of errors.\n", "the kernel build failed"),
        ("make[1]: warning: jobserver unavailable: using -j1.  Add '+' to parent make rule.\n", "the kernel build"),
        ("make: warning:  Clock skew detected.  Your build may be incomplete.\n", "the kernel build failed"),
    ],
)
@pytest.mark.parametrize("name", ["round1.err", "round2.out"])
def test_what_make_says_counts_whatever_its_status(said: str, words: str, name: str, tmp_path: Path) -> None:
    folder = tmp_path / "raw"
    shutil.copytree(DATA / "kernel_build" / "two-rounds", folder)
    workload = registry.get("kernel_build")
    params = workload.parse(workload.told(folder))
    assert workload.read(params, folder).metrics
    (folder / name).write_text(said)
    with pytest.raises(WorkloadError, match=words) as caught:
        workload.read(params, folder)
    assert caught.value.where == str(folder / name)


def test_a_warning_of_the_compiler_is_no_complaint(tmp_path: Path) -> None:
    folder = tmp_path / "raw"
    shutil.copytree(DATA / "kernel_build" / "two-rounds", folder)
    (folder / "round1.err").write_text("mm/vmscan.c:1: warning: 'killed' defined but not used [-Wunused-variable]\n")
    workload = registry.get("kernel_build")
    assert workload.read(workload.parse(workload.told(folder)), folder).metrics


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda text: text[:-30], "cannot be understood"),
        (lambda text: text + text.splitlines()[0] + "\n", "cannot be understood"),
        (lambda text: "\n".join(text.splitlines()[:-1]) + "\n", "not all there"),
        (lambda text: "\n".join(text.splitlines()[1:]) + "\n", "not all there"),
        (lambda text: "", "not all there"),
    ],
)
def test_a_list_of_objects_that_is_not_whole(change: Any, words: str, tmp_path: Path) -> None:
    folder = tmp_path / "raw"
    shutil.copytree(DATA / "kernel_build" / "two-rounds", folder)
    (folder / "objects").write_text(change((folder / "objects").read_text()))
    _, params = build({"rounds": 2})
    with pytest.raises(WorkloadError, match=words):
        registry.get("kernel_build").read(params, folder)


def test_timings_of_more_rounds_are_another_builds(tmp_path: Path) -> None:
    """One round's time would pass for the whole build's."""
    workload, params = build({"rounds": 1})
    with pytest.raises(WorkloadError, match="another build"):
        workload.read(params, DATA / "kernel_build" / "two-rounds")


def test_a_ladder_of_jobs_with_a_warm_up_each_from_clean(tree: dict[str, Any], raw: Path, tmp_path: Path) -> None:
    workload, params = build({**tree, "ladder": [2, 5], "rounds": 2, "warm_up": 1})
    result = run(local, workload, params, tmp_path / "kept")
    log = (tmp_path / "log").read_text()
    assert re.findall(r" -j(\d+) KERNELRELEASE", log) == ["2", "2", "2", "5", "5"]
    assert "was not clean" not in log
    values = {metric.name: metric.value for metric in result.metrics}
    rounds = [values[f"wall_seconds.round{number}"] for number in range(1, 5)]
    assert values["wall_seconds"] == pytest.approx(sum(rounds))
    assert values["wall_seconds.jobs2"] == pytest.approx(sum(rounds[:2]) / 2, abs=0.006)
    assert values["wall_seconds.jobs5"] == pytest.approx(sum(rounds[2:]) / 2, abs=0.006)
    assert workload.told(tmp_path / "kept")["warm_up"] == 1
    with pytest.raises(WorkloadError, match="another build than one of 2 rounds"):
        workload.read(build({**tree, "rounds": 2, "warm_up": 1})[1], tmp_path / "kept")


def test_memory_is_reset_before_each_round_when_asked(tree: dict[str, Any], raw: Path, tmp_path: Path) -> None:
    workload, params = build({**tree, "reset_each_round": True})
    workload.prepare(local, params)
    log = tmp_path / "log"
    script = workload.script(params).replace("/proc/swaps", "/dev/null")
    script = script.replace("echo 3 > /proc/sys/vm/drop_caches", f"echo dropped >> {log}")
    finished = machines.run_script(local, script, what="build", timeout_s=60)
    assert finished.status == 0, finished.stderr
    said = [line for line in log.read_text().splitlines() if "dropped" in line or "KERNELRELEASE" in line]
    assert [("dropped" in line) for line in said] == [True, False] * 2
    assert "drop_caches" not in workload.script(build(tree)[1])


def test_a_ladder_names_each_number_once() -> None:
    with pytest.raises(ParameterError, match="twice"):
        build({"ladder": [4, 4]})
