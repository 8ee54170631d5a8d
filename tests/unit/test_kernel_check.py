"""Whether the guest driver will load on a kernel: by what pfunct printed of Debian's, and of
kernels that differ from them in one thing.
"""

from __future__ import annotations

import gzip
import struct
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from common.errors import InvalidFileError, MissingError
from lab.build import kernel_check
from lab.build.kernel_check import OPTIONS, Kernel
from lab.paths import REPO

DATA = Path(__file__).parents[1] / "data" / "kernels"
STOCK = dict.fromkeys(OPTIONS, "y")
NEEDS = kernel_check.wanted()


def stock(version: str) -> Kernel:
    functions = kernel_check.prototypes((DATA / f"{version}.txt").read_text())
    return Kernel(version, functions, STOCK, dict.fromkeys(functions, 1), set(functions))


def changed(old: str, new: str) -> Kernel:
    kernel = stock("7.3.4")
    text = (DATA / "7.3.4.txt").read_text()
    assert old in text
    return replace(kernel, functions=kernel_check.prototypes(text.replace(old, new)))


@pytest.mark.parametrize("version", ["6.12.117", "7.3.4"])
def test_the_driver_loads_on_debians_kernels(version: str) -> None:
    first, second = map(int, version.split(".")[:2])
    verdict = kernel_check.judge(replace(stock(version), version=(first, second)), NEEDS)
    assert (verdict.problems, verdict.notes) == ((), ())


def test_every_hook_and_helper_of_the_sources_is_looked_for() -> None:
    sources = "".join((kernel_check.DRIVER / name).read_text() for name in kernel_check.SOURCES)
    assert len(NEEDS.hooks) == sources.count(".prototypes = {") == sources.count(".replacement = ")
    assert all(NEEDS.hooks.values())
    assert NEEDS.parts == (".part.0", ".isra.0", ".constprop.0")
    assert {"__remove_mapping", "bpf_get_btf_vmlinux", "ftrace_location"} <= set(NEEDS.helpers)


@pytest.mark.parametrize(
    ("kernel", "problem"),
    [
        (changed("void read_pages(struct readahead_control *);\n", ""), "read_pages() is not there"),
        (changed("int zswap_load(", "long int zswap_load("), "zswap_load() is long int (struct folio *), not"),
        (changed("int __remove_mapping(", "int __remove_mapping.isra.0("), "__remove_mapping() is not there"),
        (changed("bool zswap_store(", "bool zswap_store(int);\nbool zswap_store("), "zswap_store() is not there"),
        (replace(stock("7.3.4"), times={"read_pages": 2}), "read_pages() is there 2 times"),
        (replace(stock("7.3.4"), version=(7, 4)), "it is newer than Linux 7.3, the last"),
        (replace(stock("7.3.4"), version=(8, 0)), "(untested=1)"),
        (replace(stock("7.3.4"), times={"read_pages.part.0": 1}), "read_pages() was compiled in parts"),
        (replace(stock("7.3.4"), times={"read_pages.part.0.constprop.0": 1}), "there is read_pages.part.0.constprop.0"),
        (replace(stock("7.3.4"), traceable={"read_pages"}), "zswap_store() cannot be traced"),
        (replace(stock("7.3.4"), options={**STOCK, "LIVEPATCH": "n"}), "CONFIG_LIVEPATCH is off"),
        (replace(stock("7.3.4"), options={"ZSWAP": "y"}), "CONFIG_XEN_BALLOON is off"),
        (replace(stock("7.3.4"), functions={}), "no BTF"),
        (replace(stock("7.3.4"), ibt=True), "IBT"),
        (replace(stock("7.3.4"), tracing=False), "kernel.ftrace_enabled=1"),
        (replace(stock("7.3.4"), busy={"zswap_store"}), "zswap_store() is replaced by somebody else already"),
    ],
)
def test_what_is_another_is_named(kernel: Kernel, problem: str) -> None:
    verdict = kernel_check.judge(kernel, NEEDS)
    assert not verdict.loads
    assert any(problem in each for each in verdict.problems)


def test_who_has_replaced_a_function_is_read_as_the_kernel_tells_it() -> None:
    told = (
        "__x64_sys_clone (1) R   \ttramp: 0xffffffffc0379000 (klp_ftrace_handler+0x0/0x150)\n"
        "read_pages (1)      I   \ttramp: 0xffffffffc0379000\n"
        "zswap_store (2) R I M \tops: x\n"
        "Iron (1)           \tops: I_am\n"
    )
    assert kernel_check.replaced(told) == {"read_pages", "zswap_store"}


def test_the_tables_say_what_the_tool_says() -> None:
    """Of kernels that it loads on; why it does not is told there in fewer words."""
    own = replace(stock("7.3.4"), options={"FRONTSWAP": "y", "CLEANCACHE": "y"})
    said = [kernel_check.judge(each, NEEDS).row for each in (stock("6.12.117"), own)]
    assert said[0] == f"| 6.12.117 | {kernel_check.ALL_THERE} | loads |"
    assert said[1] == f"| 7.3.4 | {kernel_check.OWN} | loads |"
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for page, heading in (
            ("README.md", "| kernel | `guests.kernel`"),
            ("tmem/linux/README.md", "| kernel | of Debian"),
        )
        for line in (REPO / page).read_text().partition(heading)[2].partition("\n\n")[0].splitlines()[2:]
    ]
    assert len(rows) >= 9
    for row in rows:
        assert ("loads" in row) == (kernel_check.ALL_THERE in row or kernel_check.OWN in row), row


def test_a_kernel_with_hooks_of_its_own_needs_none_replaced() -> None:
    kernel = replace(stock("7.3.4"), functions={}, options={"FRONTSWAP": "y"})
    verdict = kernel_check.judge(kernel, NEEDS)
    assert verdict.loads
    assert "hooks of its own for frontswap, which the driver uses; no cleancache" in verdict.notes[0]


def test_hooks_that_no_module_can_register_with_are_none() -> None:
    # Debian 12's 6.1
    kernel = replace(stock("7.3.4"), options={"FRONTSWAP": "y"}, exported={"printk"})
    verdict = kernel_check.judge(kernel, NEEDS)
    assert not verdict.loads
    assert "frontswap_register_ops() is for the kernel alone" in verdict.problems[0]
    for name in ("frontswap_register_ops", "old_frontswap_register_ops"):  # the linker keeps one of both
        assert kernel_check.judge(replace(kernel, exported={name}), NEEDS).loads
    both = replace(kernel, options={"FRONTSWAP": "y", "CLEANCACHE": "y"}, exported={"frontswap_register_ops"})
    verdict = kernel_check.judge(both, NEEDS)
    assert verdict.loads
    assert any("no module can be the back end of cleancache" in note for note in verdict.notes)


def elf(sections: dict[str, bytes]) -> bytes:
    """An ELF file of these sections, as far as a reader of sections looks at it."""
    names = b"\0".join(name.encode() for name in ("", *sections, ".shstrtab")) + b"\0"
    bodies = [b"", *sections.values(), names]
    table = 64 + len(b"".join(bodies))
    made = b"\x7fELF\x02\x01\x01".ljust(40, b"\0") + struct.pack("<Q", table)
    made = made.ljust(58, b"\0") + struct.pack("<HHH", 64, len(bodies), len(bodies) - 1) + b"".join(bodies)
    at = 64
    for name, body in zip(["", *sections, ".shstrtab"], bodies, strict=True):
        where = names.index(b"\0" + name.encode() + b"\0") + 1 if name else 0
        made += struct.pack("<I20xQQ", where, at, len(body)).ljust(64, b"\0")
        at += len(body)
    return made


def test_what_a_kernel_exports_is_read_from_its_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel_check, "_pfunct", lambda _path: "")
    for content, exported in (
        (elf({".text": b"code", "__ksymtab_strings": b"printk\0frontswap_register_ops\0"}), {"frontswap_register_ops"}),
        (elf({".text": b"__ksymtab_strings\0"}), None),
        (elf({})[:100], None),
    ):
        (tmp_path / "vmlinux").write_bytes(content)
        found = kernel_check.of_package(tmp_path / "vmlinux").exported
        assert kernel_check.of_package(tmp_path / "vmlinux").version is None
        assert (found is None) == (exported is None)
        assert (exported or set()) <= set(found or ())


def test_a_kernel_says_which_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel_check, "_pfunct", lambda _path: "")
    said = b"Linux version 6.12.118+deb13-amd64 (debian-kernel@lists.debian.org) (x86_64-linux-gnu-gcc-14)"
    (tmp_path / "vmlinux").write_bytes(elf({".rodata": said}))
    assert kernel_check.of_package(tmp_path / "vmlinux").version == (6, 12)


def image(payload: bytes) -> bytes:
    """A bzImage, as far as the boot protocol describes where the kernel lies in it."""
    header = bytearray(1024)
    header[0x1F1] = 1
    header[0x202:0x206] = b"HdrS"
    struct.pack_into("<II", header, 0x248, 16, len(payload) + 4)
    return bytes(header) + bytes(16) + payload + struct.pack("<I", 0) + b"more"


def test_the_kernel_is_found_in_its_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    elf = b"\x7fELF" + bytes(range(200))
    seen: list[bytes] = []

    def pfunct(path: Path) -> str:
        seen.append(path.read_bytes())
        return (DATA / "7.3.4.txt").read_text()

    monkeypatch.setattr(kernel_check, "_pfunct", pfunct)
    for name, content in {"vmlinuz": image(gzip.compress(elf)), "vmlinux": elf}.items():
        (tmp_path / name).write_bytes(content)
        kernel = kernel_check.of_package(tmp_path / name)
        assert "read_pages" in kernel.functions
        assert kernel.options is None
    assert seen == [elf, elf]


@pytest.mark.parametrize(
    ("content", "what"), [(b"", "no kernel image"), (bytes(4096), "no kernel image"), (image(b"what"), "compressed")]
)
def test_what_is_no_kernel_is_refused(tmp_path: Path, content: bytes, what: str) -> None:
    (tmp_path / "vmlinuz").write_bytes(content)
    with pytest.raises(InvalidFileError, match=what):
        kernel_check.of_package(tmp_path / "vmlinuz")


def test_a_program_that_is_not_there_is_named_with_its_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_args: object, **_options: object) -> None:
        raise FileNotFoundError

    monkeypatch.setattr(subprocess, "run", missing)
    (tmp_path / "vmlinux").write_bytes(b"\x7fELF")
    with pytest.raises(MissingError, match="pfunct is not installed") as told:
        kernel_check.of_package(tmp_path / "vmlinux")
    assert "dwarves" in told.value.remedy
