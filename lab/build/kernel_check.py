"""Whether the guest driver will load on a kernel that has no hooks for it, and why not.

The driver replaces functions (tmem/linux/hook.c), and refuses when one is not what it was written
for. What it looks for stands in its sources alone; what a kernel has is told by its type
information (BTF), which a package's kernel image has as well as a running kernel. Two things only
the running kernel tells: whether a name is there once, and whether the function can be traced.
"""

from __future__ import annotations

import gzip
import lzma
import platform
import re
import struct
import subprocess
import tempfile
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import AnyStr

from common.errors import InvalidFileError, MissingError
from lab import paths

DRIVER = paths.REPO / "tmem" / "linux"
SOURCES = ("pagecache.c", "changes.c", "mounted.c", "swap.c")
HELPERS_IN = "hook.c"

OPTIONS = ("LIVEPATCH", "ZSWAP", "KPROBES", "DYNAMIC_FTRACE_WITH_ARGS", "DEBUG_INFO_BTF", "XEN", "XEN_BALLOON")
"""What the configuration must have for functions to be replaced."""

OWN_HOOKS = ("CLEANCACHE", "FRONTSWAP")

ALL_THERE, OWN = "all there, with the prototypes that it expects", "none, it has hooks of its own"
"""What a table says of the functions that are replaced."""

_IMAGE = re.compile(r"\./(?:boot/vmlinuz-[^/]+|(?:usr/)?lib/modules/[^/]+/vmlinuz)$")
_CONFIG = re.compile(r"\./(?:boot/config-[^/]+|(?:usr/)?lib/modules/[^/]+/config)$")
_HOOK = re.compile(r"\.name = \"(?P<name>\w+)\",\s*\.prototypes = \{(?P<prototypes>[^}]*)\}", re.DOTALL)
_WITHIN = re.compile(r"\.within = \"(\w+)\"")
_HELPER = re.compile(r"\{ \"(\w+)\", &\w+ \}")
_PART = re.compile(r"\"(\.\w+\.0)\"")
_RELEASE = re.compile(r"^(\d+)\.(\d+)")
_BANNER = re.compile(rb"Linux version (\d+)\.(\d+)")
_NEWEST = re.compile(r"NEWEST_READ\s+KERNEL_VERSION\((\d+), (\d+),")
_EXPORT, _EXPORTS = "__ksymtab_", b"__ksymtab_strings\0"
_FUNCTION = re.compile(r"(?P<result>.*?)\b(?P<name>\w+)\((?P<parameters>.*)\);")


@dataclass(frozen=True)
class Wanted:
    """What the driver needs of a kernel. hooks: function -> the prototypes that it may have.
    helpers: functions that it calls or looks at, of any prototype. parts: what compilers add to the
    name of a function for a part of it, which its callers may reach past its entry. newest: the
    last Linux that it was written for, as (7, 3).
    """

    hooks: Mapping[str, tuple[str, ...]]
    helpers: tuple[str, ...]
    parts: tuple[str, ...]
    newest: tuple[int, int]


@dataclass(frozen=True)
class Kernel:
    """What is known of a kernel. functions: name -> prototype. options: CONFIG_ name -> value, None
    where its configuration is not at hand. times: name -> how often it is there; traceable: names;
    None: only a running kernel tells. ibt: whether the processor checks where calls land.
    exported: functions that modules may call, or names that end in theirs; None: it is not told.
    busy: functions that somebody has replaced. tracing: whether functions can be traced now.
    version: of Linux, as (6, 12); None: it is not told.
    """

    name: str
    functions: Mapping[str, str]
    options: Mapping[str, str] | None
    times: Mapping[str, int] | None = None
    traceable: Collection[str] | None = None
    ibt: bool = False
    exported: Collection[str] | None = None
    busy: Collection[str] = ()
    tracing: bool = True
    version: tuple[int, int] | None = None


@dataclass(frozen=True)
class Verdict:
    """problems: why the driver will not load, or not all of it; notes: what is to be known. own:
    the kernel has hooks of its own.
    """

    kernel: str
    problems: tuple[str, ...] = field(default=())
    notes: tuple[str, ...] = field(default=())
    own: bool = False

    @property
    def loads(self) -> bool:
        """Whether nothing speaks against it."""
        return not self.problems

    @property
    def row(self) -> str:
        """Markdown: the kernel, what there is of the functions that are replaced, whether it
        loads.
        """
        found = (OWN if self.own else ALL_THERE) if self.loads else "; ".join(self.problems)
        return f"| {self.kernel} | {found} | {'loads' if self.loads else 'will not load'} |"


def wanted() -> Wanted:
    """What the driver's sources name."""
    hooks: dict[str, tuple[str, ...]] = {}
    helpers: list[str] = ["kallsyms_lookup_name"]
    for name in SOURCES:
        text = (DRIVER / name).read_text()
        for found in _HOOK.finditer(text):
            whole = re.sub(r'"\s+"', "", found["prototypes"])  # strings of several lines
            hooks[found["name"]] = tuple(re.findall(r'"([^"]+)"', whole))
        helpers += _WITHIN.findall(text)
    text = (DRIVER / HELPERS_IN).read_text()
    newest = _version(_NEWEST, text)
    assert newest, f"{HELPERS_IN} says how new a kernel may be"
    return Wanted(hooks, (*helpers, *_HELPER.findall(text)), tuple(_PART.findall(text)), newest)


def _version(pattern: re.Pattern[AnyStr], text: AnyStr) -> tuple[int, int] | None:
    found = pattern.search(text)
    return (int(found[1]), int(found[2])) if found else None


def judge(kernel: Kernel, needs: Wanted) -> Verdict:
    """Everything that speaks against loading the driver on a kernel."""
    options = kernel.options
    if options is not None and (own := [name for name in OWN_HOOKS if options.get(name) == "y"]):
        lacks = [name.lower() for name in OWN_HOOKS if name not in own]
        has = " and ".join(name.lower() for name in own)
        closed = [
            f"{each}() is for the kernel alone, so that no module can be the back end of {name.lower()}"
            for name in own
            if not _may_be_called(each := f"{name.lower()}_register_ops", kernel.exported)
        ]
        if len(closed) == len(own):
            return Verdict(kernel.name, tuple(closed))
        note = f"it has hooks of its own for {has}, which the driver uses" + (f"; no {lacks[0]}" if lacks else "")
        return Verdict(kernel.name, (), (note, *closed), own=True)
    problems: list[str] = []
    notes: list[str] = []
    if options is None:
        notes.append("its configuration is not at hand")
    else:
        problems += [
            f"CONFIG_{name} is off" + ("" if name.startswith("XEN") else ", so it would have self-ballooning alone")
            for name in OPTIONS
            if options.get(name) not in ("y", "m")
        ]
    if not kernel.functions:
        problems.append("it does not tell what its functions are like (no BTF)")
    else:
        problems += _missing(kernel, needs)
    if kernel.version is not None and kernel.version > needs.newest:
        newest = ".".join(map(str, needs.newest))
        problems.append(f"it is newer than Linux {newest}, the last that the driver was written for (untested=1)")
    if kernel.ibt:
        problems.append("the processor checks where calls land (IBT): boot with ibt=off, unless it is a PV guest")
    if not kernel.tracing:
        problems.append("functions cannot be traced now: sysctl kernel.ftrace_enabled=1")
    problems += [f"{name}() is replaced by somebody else already" for name in needs.hooks if name in kernel.busy]
    if kernel.times is None:
        notes.append("only the running kernel tells whether a name is there once, and can be traced")
    return Verdict(kernel.name, tuple(problems), tuple(notes))


def _may_be_called(function: str, exported: Collection[str] | None) -> bool:
    return exported is None or any(name.endswith(function) for name in exported)


def _missing(kernel: Kernel, needs: Wanted) -> list[str]:
    problems: list[str] = []
    for name in (*needs.hooks, *needs.helpers):
        has = kernel.functions.get(name)
        if has is None:
            problems.append(f"{name}() is not there, or is in line everywhere")
        elif name in needs.hooks and has not in needs.hooks[name]:
            problems.append(f"{name}() is {has}, not {' or '.join(needs.hooks[name])}")
        if kernel.times is not None and (times := kernel.times.get(name, 0)) > 1:
            problems.append(f"{name}() is there {times} times, and cannot be told apart")
        if name in needs.hooks and (parts := _parts(kernel, needs, name)):
            problems.append(f"{name}() was compiled in parts: there is {parts[0]}()")
        if kernel.traceable is not None and name in needs.hooks and name not in kernel.traceable:
            problems.append(f"{name}() cannot be traced")
    return problems


def _parts(kernel: Kernel, needs: Wanted, name: str) -> list[str]:
    """Functions that a compiler made of this one. Their names may have several of such parts."""
    part = re.compile(rf"{re.escape(name)}(?:{'|'.join(map(re.escape, needs.parts))})+")
    return sorted(each for each in kernel.times or () if part.fullmatch(each))


def of_package(path: Path) -> Kernel:
    """The kernel of a Debian package of a kernel image (.deb), or of a kernel image by itself.
    InvalidFileError when there is none in it; MissingError for a program that is not there.
    """
    if not path.is_file():
        raise InvalidFileError("there is no such file", where=str(path), remedy="Name a .deb or a kernel image.")
    with tempfile.TemporaryDirectory(prefix="kernel-check-") as folder:
        if path.suffix == ".deb":
            image, config = _unpack(path, Path(folder))
        else:
            image, config = path, None
        vmlinux = Path(folder) / "vmlinux"
        content = _uncompressed(image.read_bytes(), str(path))
        vmlinux.write_bytes(content)
        functions, version = prototypes(_pfunct(vmlinux)), _version(_BANNER, content)
        return Kernel(path.name, functions, _options(config), exported=_exported(content), version=version)


def of_running() -> Kernel:
    """The kernel that runs here. Reads /proc/kallsyms and tracefs, for which it has to be root."""
    release = platform.release()
    configs = (Path(f"/boot/config-{release}"), Path(f"/lib/modules/{release}/config"))
    config = next((each for each in configs if each.exists()), None)
    names = [line.split()[2] for line in Path("/proc/kallsyms").read_text().splitlines() if len(line.split()) == 3]
    trace = next(
        (each for each in map(Path, ("/sys/kernel/tracing", "/sys/kernel/debug/tracing")) if each.is_dir()), None
    )
    traceable = None
    if trace is not None and (listed := trace / "available_filter_functions").exists():
        traceable = {line.split()[0] for line in listed.read_text().splitlines() if line.strip()}
    btf = Path("/sys/kernel/btf/vmlinux")
    functions = prototypes(_pfunct(btf)) if btf.exists() else {}
    flags = re.search(r"^flags\s*:(.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    ibt = flags is not None and "ibt" in flags[1].split()
    exported = {name.removeprefix(_EXPORT) for name in names if name.startswith(_EXPORT)}
    busy: set[str] = set()
    if trace is not None and not Path("/sys/module/tmem").exists() and (now := trace / "enabled_functions").exists():
        busy = replaced(now.read_text())
    switch = Path("/proc/sys/kernel/ftrace_enabled")
    return Kernel(
        f"{release} (running)",
        functions,
        _options(config),
        Counter(names),
        traceable,
        ibt,
        exported or None,
        busy,
        not switch.exists() or switch.read_text().strip() != "0",
        _version(_RELEASE, release),
    )


def replaced(enabled_functions: str) -> set[str]:
    """The functions of tracefs's file of this name that somebody has replaced (flag I)."""
    found = re.findall(r"^(\S+) \(\d+\)(?:[ \t]+[A-Z])*?[ \t]+I\b", enabled_functions, re.MULTILINE)
    return set(found)


def _exported(elf: bytes) -> set[str] | None:
    """The names in a kernel's section __ksymtab_strings; None where it has no such section. The
    linker has put a name that another ends in into that other: there is no `_printk`.
    """
    if elf[:5] != b"\x7fELF\x02" or len(elf) < 64:
        return None
    (table,) = struct.unpack_from("<Q", elf, 40)
    size, count, names_at = struct.unpack_from("<HHH", elf, 58)
    if size != 64 or len(elf) < table + size * count or names_at >= count:
        return None
    # of each: where its name is, where it is in the file, and how long
    sections = [struct.unpack_from("<I20xQQ", elf, table + size * number) for number in range(count)]
    names = sections[names_at][1]
    for name, offset, length in sections:
        if elf[names + name : names + name + len(_EXPORTS)] == _EXPORTS:
            return set(elf[offset : offset + length].decode("ascii", "replace").split("\0"))
    return None


def prototypes(told: str) -> dict[str, str]:
    """Function -> prototype, from what pfunct prints. A name that is told twice, differently, is
    nobody's.
    """
    found: dict[str, str] = {}
    unlike: set[str] = set()
    for line in told.splitlines():
        # It puts two spaces behind a type that is constant.
        if (match := _FUNCTION.fullmatch(" ".join(line.split()))) is None:
            continue
        result = match["result"].replace("inline ", "").strip()
        text = f"{result} ({match['parameters']})"
        if found.setdefault(match["name"], text) != text:
            unlike.add(match["name"])
    return {name: text for name, text in found.items() if name not in unlike}


def _options(path: Path | None) -> dict[str, str] | None:
    if path is None:
        return None
    return dict(re.findall(r"^CONFIG_(\w+)=(.*)$", path.read_text(), re.MULTILINE))


def _unpack(package: Path, folder: Path) -> tuple[Path, Path | None]:
    """The kernel image and the configuration of a package."""
    tree = folder / "tree"
    _run("dpkg-deb", "dpkg", "--extract", str(package), str(tree))
    files = {f"./{each.relative_to(tree)}": each for each in tree.rglob("*") if each.is_file()}
    images = [each for name, each in files.items() if _IMAGE.match(name)]
    configs = [each for name, each in files.items() if _CONFIG.match(name)]
    if not images:
        raise InvalidFileError(
            "the package has no kernel image",
            where=str(package),
            remedy="Name the package with vmlinuz: linux-image-VERSION, of late linux-binary-VERSION.",
        )
    return images[0], configs[0] if configs else None


def _uncompressed(image: bytes, where: str) -> bytes:
    """The ELF file in a bzImage (Linux, Documentation/arch/x86/boot.rst), or the file itself."""
    if image[:4] == b"\x7fELF":
        return image
    if len(image) < 0x250 or image[0x202:0x206] != b"HdrS":
        raise InvalidFileError("this is no kernel image of x86", where=where)
    sectors = image[0x1F1] or 4
    offset, length = struct.unpack_from("<II", image, 0x248)
    start = (sectors + 1) * 512 + offset
    payload = image[start : start + length - 4]
    if payload[:2] == b"\x1f\x8b":
        return gzip.decompress(payload)
    if payload[:6] == b"\xfd7zXZ\x00":
        return lzma.decompress(payload)
    if payload[:4] == b"\x28\xb5\x2f\xfd":
        return _run("zstd", "zstd", "-dc", stdin=payload)
    raise InvalidFileError("the kernel image is compressed in a way that is not known here", where=where)


def _pfunct(path: Path) -> str:
    told = _run("pfunct", "dwarves", "-F", "btf", "--no_parm_names", "--prototypes", str(path))
    return told.decode(errors="replace")


def _run(program: str, package: str, *arguments: str, stdin: bytes | None = None) -> bytes:
    try:
        done = subprocess.run([program, *arguments], input=stdin, capture_output=True, check=False)
    except FileNotFoundError:
        raise MissingError(
            f"{program} is not installed", where=program, remedy=f"Install Debian's package {package}."
        ) from None
    if done.returncode:
        raise InvalidFileError(
            f"{program} cannot read it", where=" ".join([program, *arguments]), why=done.stderr.decode()[-500:]
        )
    return done.stdout
