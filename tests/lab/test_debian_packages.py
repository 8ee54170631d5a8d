"""The Debian packages of the hypervisor, tmemctl and the guest driver: what is in them and in their
sources, that apt takes their folder for a repository, and that the driver's builds a module for the
kernels that Debian ships.

Builds the artifact when it is not there, which takes minutes; no lab needs it.
"""

from __future__ import annotations

import gzip
import os
import re
import subprocess
import tarfile
from collections.abc import Sequence
from pathlib import Path

import pytest

from lab import paths
from lab.build import builder, sources
from lab.build.artifacts import Artifact

pytestmark = [pytest.mark.lab, pytest.mark.long]

XEN, DRIVER = paths.REPO / "tmem" / "xen", paths.REPO / "tmem" / "linux"
MULTIBOOT2 = (0xE85250D6).to_bytes(4, "little")
"""What GRUB looks for in a hypervisor."""

BUILD_ID_BYTES = 20


@pytest.fixture(scope="module")
def packages() -> Artifact:
    return builder.ensure(["debian_packages"])["debian_packages"]


def told(command: Sequence[str | Path], cwd: Path | None = None) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True, cwd=cwd).stdout


def unpacked(packages: Artifact, name: str, to: Path) -> dict[str, Path]:
    """The files of a binary package, by their paths once installed; its control files below
    DEBIAN/.
    """
    (package,) = packages.path.glob(f"{name}_*.deb")
    told(["dpkg-deb", "--raw-extract", package, to])
    return {str(path.relative_to(to)): path for path in to.rglob("*") if path.is_file()}


def fields(text: str) -> dict[str, str]:
    return dict(re.findall(r"^([\w-]+): (.*)$", text, re.MULTILINE))


def version(packages: Artifact) -> str:
    """Of Xen, such as 4.20, as its source archive has it."""
    return ".".join(packages.versions["xen"].split(".")[:2])


def test_the_hypervisor_is_one_more_of_the_boot_menu(packages: Artifact, tmp_path: Path) -> None:
    number = version(packages)
    found = unpacked(packages, f"xen-hypervisor-{number}-tmem", tmp_path)
    control = fields(found["DEBIAN/control"].read_text())
    assert control["Architecture"] == "amd64"
    assert f"xen-utils-{number}" in control["Recommends"]
    hypervisor = gzip.decompress(found[f"boot/xen-{number}-tmem.gz"].read_bytes())
    assert hypervisor[:5] == b"\x7fELF\x01"
    assert MULTIBOOT2 in hypervisor[:32768]
    assert {name for name in found if name.startswith("boot/")} == {
        f"boot/xen-{number}-tmem.gz",
        f"boot/xen-{number}-tmem.config",
    }
    for script in ("DEBIAN/postinst", "DEBIAN/postrm"):
        text = found[script].read_text()
        assert "#DEBHELPER#" not in text
        assert re.search(r"^ +update-grub$", text, re.MULTILINE)
        told(["sh", "-n", found[script]])


def test_the_hypervisor_is_configured_as_the_labs(packages: Artifact, tmp_path: Path) -> None:
    def options(path: Path) -> set[str]:
        return {line for line in path.read_text().splitlines() if re.match(r"(# )?CONFIG_(?!.*VERSION)", line)}

    number = version(packages)
    found = unpacked(packages, f"xen-hypervisor-{number}-tmem", tmp_path)
    packed = options(found[f"boot/xen-{number}-tmem.config"])
    assert "CONFIG_TMEM=y" in packed
    assert packed == options(builder.ensure(["xen"])["xen"].outputs["xen.config"])


def test_the_hypervisor_is_the_labs(packages: Artifact, tmp_path: Path) -> None:
    """To the byte, but for the linker's build id, which tells from where it was built."""
    number = version(packages)
    found = unpacked(packages, f"xen-hypervisor-{number}-tmem", tmp_path)
    packed = gzip.decompress(found[f"boot/xen-{number}-tmem.gz"].read_bytes())
    labs = gzip.decompress(builder.ensure(["xen"])["xen"].outputs["xen.gz"].read_bytes())
    compilers = {re.findall(rb"gcc \(Debian [^)]*\) [0-9.]+", each)[0] for each in (packed, labs)}
    if len(compilers) > 1:
        pytest.skip(f"one was built before Debian's compiler changed: {compilers}")
    differ = [at for at, (one, other) in enumerate(zip(packed, labs, strict=True)) if one != other]
    assert not differ or differ[-1] - differ[0] < BUILD_ID_BYTES


def test_tmemctl_knows_what_it_needs(packages: Artifact, tmp_path: Path) -> None:
    found = unpacked(packages, "tmemctl", tmp_path)
    assert "libxencall1" in fields(found["DEBIAN/control"].read_text())["Depends"]
    assert found["usr/sbin/tmemctl"].read_bytes()[:4] == b"\x7fELF"


def test_the_source_of_the_hypervisor_has_all_that_it_is_built_from(packages: Artifact, tmp_path: Path) -> None:
    (described,) = packages.path.glob("xen-tmem_*.dsc")
    listed = re.findall(r"^ [0-9a-f]{64} \d+ (\S+)$", described.read_text(), re.MULTILINE)
    assert len(listed) == 2
    assert all((packages.path / name).is_file() for name in listed)
    (archive,) = (packages.path / name for name in listed if ".debian.tar." in name)
    with tarfile.open(archive) as opened:
        opened.extractall(tmp_path, filter="data")
    within = tmp_path / "debian" / "tmem"
    for folder, inside in ((XEN / "files", "xen/files"), (XEN / "patches", "xen/patches")):
        for path in (each for each in folder.rglob("*") if each.is_file()):
            assert (within / inside / path.relative_to(folder)).read_bytes() == path.read_bytes()
    assert (within / "xen/files/common/tmem/lz4/lz4_compress.c").is_file()
    assert (within / "tmemctl/tmemctl.c").is_file()
    assert not any(path.suffix == ".o" for path in tmp_path.rglob("*"))
    (upstream,) = (packages.path / name for name in listed if ".orig.tar." in name)
    assert upstream.stat().st_size == builder.Plan().fetch("xen").stat().st_size


def test_the_driver_comes_as_source(packages: Artifact, tmp_path: Path) -> None:
    found = unpacked(packages, "tmem-dkms", tmp_path)
    (place,) = {re.sub("/dkms.conf$", "", name) for name in found if name.endswith("/dkms.conf")}
    assert place.startswith("usr/src/tmem-")
    assert f'PACKAGE_VERSION="{place.removeprefix("usr/src/tmem-")}"' in found[f"{place}/dkms.conf"].read_text()
    wanted = {path.name for path in DRIVER.iterdir() if path.suffix in (".c", ".h") or path.name == "Kbuild"}
    assert {name.rpartition("/")[2] for name in found if name.startswith(place)} == {*wanted, "dkms.conf"}


def test_apt_takes_the_folder_for_a_repository(packages: Artifact, tmp_path: Path) -> None:
    options = sources._private_apt(tmp_path)
    lines = (f"{kind} [trusted=yes] file:{packages.path} ./\n" for kind in ("deb", "deb-src"))
    (tmp_path / "sources.list").write_text("".join(lines))
    told(["apt-get", *options, "-o", "APT::Update::Error-Mode=any", "update"])
    names = (f"xen-hypervisor-{version(packages)}-tmem", "tmemctl", "tmem-dkms")
    for name in names:
        assert f"Filename: ./{name}_" in told(["apt-cache", *options, "show", name])
    for name in ("xen-tmem", "tmem"):
        told(["apt-get", *options, "source", "--download-only", name], cwd=tmp_path)
        assert list(tmp_path.glob(f"{name}_*.dsc"))


@pytest.mark.parametrize("suite", ["trixie", "trixie-backports"])
def test_the_module_is_built_where_headers_are(packages: Artifact, suite: str, tmp_path: Path) -> None:
    """What `apt install` does in a guest of Debian's: DKMS builds the module for its kernel."""
    (package,) = packages.path.glob("tmem-dkms_*.deb")
    mirror = builder.Plan().mirror.main
    signed = f"deb [signed-by={sources.KEYRING}] {mirror}"
    (tmp_path / "apt.conf").write_text(
        told(["apt-config", "dump", "--format", '%f "%v";%n', "Acquire::http", "Acquire::https"])
        + 'APT::Sandbox::User "root";\nAPT::Install-Recommends "false";\n'
        + f'APT::Default-Release "{suite}";\n'
    )
    include = "dkms,make,binutils,linux-headers-amd64"
    quiet = (
        'mkdir -p "$1/etc/initramfs-tools"; echo update_initramfs=no > "$1/etc/initramfs-tools/update-initramfs.conf"'
    )
    install = f'cp "{package}" "$1/driver.deb" && chroot "$1" dpkg -i /driver.deb'
    keep = f'cp "$1"/lib/modules/*/updates/dkms/tmem.ko* "{tmp_path}/"'
    command = ["mmdebstrap", "--mode=root", "--variant=minbase", "--format=null", f"--aptopt={tmp_path}/apt.conf"]
    command += ["--dpkgopt=force-confold", f"--include={include}"]
    command += [f"--essential-hook={quiet}", f"--customize-hook={install} && {keep}", "trixie", "/dev/null"]
    command += [f"{signed} trixie main", f"{signed} {suite} main"]
    elevate = [] if os.geteuid() == 0 else ["sudo", "-n"]
    done = subprocess.run(
        [*elevate, "unshare", "--mount", *command], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr[-3000:]
    (module,) = tmp_path.glob("tmem.ko*")
    assert module.stat().st_size > 10_000
