"""How the daemon tells guests what memory they are to have: by libxl's library while that is there,
else by `xl`.
"""

from __future__ import annotations

import select
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from dom0 import MIB, Dom0, Domain, records
from fake_store import FakeStore

from policies.daemon import teller, tools
from policies.daemon.tools import Asked, Library

TELLER = Path(teller.__file__)

LOG = """
#include <stdio.h>
#include <stdlib.h>

struct logger { FILE *out; };

void *xtl_createlogger_stdiostream(FILE *out, int least, unsigned int flags)
{
    struct logger *made = malloc(sizeof(*made));

    made->out = least == 8 && !flags ? out : stderr;

    return made;
}
"""

LIGHT = """
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

struct logger { FILE *out; };

int libxl_ctx_alloc(void **context, int version, unsigned int flags, struct logger *log)
{
    *context = log;

    return version || flags;
}

int libxl_ctx_free(void *context)
{
    (void)context;

    return 0;
}

static int tell(struct logger *log, const char *what, uint32_t domain, uint64_t kib)
{
    FILE *told = fopen(getenv("TOLD"), "a");

    if (domain == 66)
        _exit(1);
    if (domain == 77)
        sleep(600);
    if (domain > 9) {
        fprintf(log->out, "libxl: error: domain %u is gone\\n", domain);
        return -3;
    }
    fprintf(told, "xl %s %u %luk\\n", what, domain, (unsigned long)kib);
    fclose(told);

    return 0;
}

int libxl_set_memory_target(void *context, uint32_t domain, int64_t kib, int relative, int enforce)
{
    return relative ? -5 : tell(context, enforce ? "mem-set" : "soft", domain, kib);
}

int libxl_domain_setmaxmem(void *context, uint32_t domain, uint64_t kib)
{
    return tell(context, "mem-max", domain, kib);
}
"""


@pytest.fixture(scope="module")
def usr(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The libraries of two Xens; 4.20 runs."""
    root = tmp_path_factory.mktemp("usr")
    folder = root / "lib" / "x86_64-linux-gnu"
    folder.mkdir(parents=True)
    compiler = shutil.which("cc")
    assert compiler, "the testbed builds nothing without a C compiler"
    for name, text in {"libxentoollog.so.1": LOG, "libxenlight.so.4.20": LIGHT}.items():
        source = root / f"{name}.c"
        source.write_text(text)
        command = [compiler, "-shared", "-fPIC", f"-Wl,-soname,{name}", "-o", str(folder / name), str(source)]
        subprocess.run(command, check=True)
    (folder / "libxenlight.so.4.17").write_text("no library")
    (root / "version").mkdir()
    (root / "version" / "major").write_text("4\n")
    (root / "version" / "minor").write_text("20\n")
    return root


@pytest.fixture
def program(usr: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> bytes:
    """The child, for these libraries."""
    monkeypatch.setenv("LD_LIBRARY_PATH", str(usr / "lib" / "x86_64-linux-gnu"))
    monkeypatch.setenv("TOLD", str(tmp_path / "log"))
    text = TELLER.read_text()
    for name, path in (("/sys/hypervisor/version", usr / "version"), ("/usr", usr)):
        assert f'Path("{name}")' in text
        text = text.replace(f'Path("{name}")', f'Path("{path}")')
    return text.encode()


@pytest.fixture
def library(program: bytes) -> Iterator[Library]:
    made = Library(program)
    yield made
    made.close()


def done(library: Library, domain: int, what: str = "target", kib: int = 1024) -> str | None:
    asked = Asked(library, what, domain, kib, time.monotonic())
    assert select.select([asked.descriptor], [], [], 30)[0]
    assert asked.ended(time.monotonic())
    return asked.why()


def test_the_library_is_told_without_a_process_for_each(library: Library, tmp_path: Path) -> None:
    assert library.there
    began = library.cpu_seconds
    assert began > 0
    assert done(library, 1) is None
    assert done(library, 2, "maximum", 2048) is None
    assert done(library, 2, "soft", 512) is None
    assert (tmp_path / "log").read_text() == "xl mem-set 1 1024k\nxl mem-max 2 2048k\nxl soft 2 512k\n"
    assert library.cpu_seconds >= began


def test_what_libxl_refuses_is_said_once_and_the_next_is_done(library: Library) -> None:
    assert done(library, 12) == "libxl: error: domain 12 is gone"
    assert done(library, 13) == "libxl: error: domain 13 is gone"
    assert done(library, 1) is None
    assert library.there


def test_a_library_that_ends_is_asked_no_more(library: Library) -> None:
    assert "ended" in (done(library, 66) or "")
    assert not library.there
    assert library.cpu_seconds == 0, "the kernel counts it from here on"


def test_a_library_that_hangs_is_ended(library: Library) -> None:
    asked = Asked(library, "target", 77, 1024, 0.0)
    assert not asked.ended(tools.TOOL_SECONDS - 1)
    assert asked.ended(tools.TOOL_SECONDS)
    assert asked.why() == tools.LATE
    assert not library.there


@pytest.mark.parametrize("program", [None, b"raise SystemExit(3)", b"print('no answer', flush=True)"])
def test_where_the_library_cannot_be_had_there_is_none(program: bytes | None) -> None:
    assert not Library(program).there


def test_of_two_xens_the_one_that_runs_is_meant(usr: Path, tmp_path: Path) -> None:
    assert teller.found(usr, usr / "version").name == "libxenlight.so.4.20"
    with pytest.raises(OSError, match=r"no libxenlight\.so\.4\.20"):
        teller.found(tmp_path, usr / "version")


def test_a_daemon_that_has_the_library_starts_no_process(
    library: Library, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = FakeStore(tmp_path)
    dom0 = Dom0(tmp_path, store, monkeypatch, library=library)
    try:
        dom0.domains = {number: Domain(f"guest{number}", 160) for number in (1, 2)}
        (tmp_path / "xl").unlink()
        monkeypatch.setenv("PATH", str(tmp_path))
        dom0.report(1, used=150)
        dom0.report(2, used=40)
        small = {"least_preference": 64 * MIB, "kept": 8 * MIB, "least_sum": 8 * MIB, "least_gain": 4 * MIB}
        made = dom0.daemon("qmemman", parameters=small, limit_at_maximum=True)
        dom0.run(made, 3)
        assert dom0.domains[1].mib > 190
        assert f"xl mem-max 2 {256 * 1024}k" in dom0.said()
        found = records(made)
        assert not [each["failed"] for each in found if each.get("failed")]
        assert found[-1]["cost"]["cpu_seconds"] > 0
    finally:
        store.end()
