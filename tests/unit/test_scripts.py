"""What runs on the other side: scripts that take arguments, found by ShellCheck, and quoted
once.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from common.checks import shell_scripts
from lab.hosts import provenance
from lab.hosts.guests import Disks
from lab.hosts.physical import disk_script
from lab.remote import scripts

REPO = Path(__file__).resolve().parents[2]
REMOTE = REPO / "lab" / "remote"
LOADS = REPO / "workloads" / "shell"


def sh(script: str, *, stdin: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(["sh", "-c", script], input=stdin, capture_output=True, text=True, check=False)


def test_every_script_of_the_checkout_is_checked() -> None:
    found = set(shell_scripts(REPO))
    for folder in (REMOTE, LOADS):
        assert {str(path.relative_to(REPO)) for path in folder.glob("*.sh")} <= found
    assert {".ci/run", "playbooks/files/chroot-exec", "playbooks/roles/guest_image/files/rcS"} <= found
    assert not any(name.endswith(".j2") or name.startswith(".venv") for name in found)


@pytest.mark.parametrize(
    "path", [*sorted(REMOTE.glob("*.sh")), *sorted(LOADS.glob("*.sh"))], ids=lambda path: path.name
)
def test_a_script_says_what_its_arguments_are(path: Path) -> None:
    head = [line for line in path.read_text().splitlines() if line.startswith("#")]
    assert any(f"{line} ".startswith(f"#     {path.name} ") for line in head)


def test_arguments_arrive_as_they_are_and_the_script_is_named(tmp_path: Path) -> None:
    target = tmp_path / "a folder" / "it's $HOME"
    script = scripts.command("put-file.sh", str(target), 640)
    assert script.splitlines()[0] == "# put-file.sh"
    done = sh(script, stdin="two\nlines\n")
    assert (done.returncode, done.stderr) == (0, "")
    assert target.read_text() == "two\nlines\n"
    assert target.stat().st_mode & 0o777 == 0o640
    assert [path.name for path in target.parent.iterdir()] == [target.name]


def test_provenance_comes_in_sections_that_can_be_read() -> None:
    fixed = provenance.parse_guest_fixed(sh(provenance.GUEST_FIXED).stdout)
    assert str(fixed["kernel"]).startswith("Linux ")
    assert fixed["kernel_command_line"] == Path("/proc/cmdline").read_text().strip()
    changing = provenance.parse_changing(sh(provenance.GUEST_CHANGING).stdout)
    assert abs(changing["clock_offset_s"]) < 60  # type: ignore[operator]
    assert changing["sysctl"]["vm.swappiness"] == Path("/proc/sys/vm/swappiness").read_text().strip()  # type: ignore[index]
    assert changing["driver"] == {}


def test_settings_of_the_driver_are_told_by_their_names(tmp_path: Path) -> None:
    for name in ("selfballoon_interval", "selfballooning"):
        (tmp_path / name).write_text("1\n")
    folder = "/sys/devices/system/xen_memory/xen_memory0/selfballoon"
    text = sh(provenance.GUEST_CHANGING.replace(folder, str(tmp_path))).stdout
    assert provenance.parse_changing(text)["selfballoon"] == {"selfballoon_interval": "1", "selfballooning": "1"}


def test_a_disk_that_is_none_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    plain = tmp_path / "disk"
    plain.write_text("precious")
    done = sh(disk_script([Disks(str(plain), "/dev/null")], 256))
    assert (done.returncode, done.stderr) == (1, f"{plain} is no block device, so nothing was written\n")
    assert plain.read_text() == "precious"


XL = """#!/bin/sh
# Guests whose balloon sees that its target has changed, but for the change that came while it slept.
cd "$(dirname "$0")/guests"
case $1 in
list)
    for guest in *; do echo "$guest 1 $(cat "$guest/actual") 1 -b---- 1.0"; done
    ;;
mem-set)
    echo "$2 ${3%m}" >> ../said
    [ "$(cat "$2/target")" != "${3%m}" ] || exit 0
    echo "${3%m}" > "$2/target"
    if [ -e "$2/asleep" ]; then rm "$2/asleep"; else echo "${3%m}" > "$2/actual"; fi
    ;;
mem-max) ;;
esac
"""


def test_memory_that_libxl_refuses_one_of_the_guests_is_an_error(tmp_path: Path) -> None:
    # they are asked all at once, in the background
    (tmp_path / "xl").write_text(
        '#!/bin/sh\n[ "$1 $2" != "mem-set guest1" ] || { echo "no such memory" >&2; exit 5; }\n'
    )
    (tmp_path / "xl").chmod(0o755)
    done = sh(f"PATH={tmp_path}:$PATH\n{scripts.command('set-memory.sh', 60, 'guest1', 120, 120, 'guest2', 130, 130)}")
    assert (done.returncode, done.stderr) == (5, "no such memory\n")


def test_a_guest_whose_balloon_sleeps_is_woken_by_another_target(tmp_path: Path) -> None:
    # Seen of Linux 5.10: `xl mem-set` to 120 MiB, again and again, and the guest stays at 155.
    (tmp_path / "xl").write_text(XL)
    (tmp_path / "sleep").write_text("#!/bin/sh\n")
    for program in ("xl", "sleep"):
        (tmp_path / program).chmod(0o755)
    for guest in ("guest1", "guest2"):
        (tmp_path / "guests" / guest).mkdir(parents=True)
        for name in ("actual", "target"):
            (tmp_path / "guests" / guest / name).write_text("155\n")
    (tmp_path / "guests" / "guest1" / "asleep").touch()
    done = sh(f"PATH={tmp_path}:$PATH\n{scripts.command('set-memory.sh', 60, 'guest1', 120, 120, 'guest2', 130, 130)}")
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "guests" / "guest1" / "actual").read_text() == "120\n"
    assert (tmp_path / "guests" / "guest2" / "actual").read_text() == "130\n"
    assert "guest2 131" not in (tmp_path / "said").read_text()  # who is in time is left alone
