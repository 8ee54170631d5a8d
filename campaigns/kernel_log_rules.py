"""What looks like breakage but is harmless, what Xen 4.x says when something broke, and all
patterns together. Data for campaigns.kernel_log; what Linux says is in campaigns.kernel_log_linux.

An expression is searched in a line without its time and prefix, with regard to case.
`(?P<device>...)` names the device that a line is about: a complaint about one that no experiment
uses is harmless. Sources: the format strings of Xen 4.20 (xen/common, xen/arch/x86), and reports by
users for what other versions say.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from campaigns.kernel_log_linux import LINUX
from campaigns.kernel_log_storage import FILE_SYSTEM, GUEST, HYPERVISOR, LOST, MEMORY, PROCESS
from lab.hosts import kernel_logs


@dataclass(frozen=True)
class Pattern:
    """A regular expression, what it says broke (one of KINDS; empty: nothing), and why it matters
    or does not.
    """

    expression: str
    reason: str
    kind: str = ""


UNUSED_DEVICES = (
    r"fd\d?(?:[uHDhd]\d+)?|(?:sr|scd|st|nst|sg|loop|nbd|rbd|ram|mmcblk|mtdblock|pktcdvd|pcd|cdrom|floppy)\d*(?:p\d+|boot\d+|rpmb|gp\d+)?|"
    r"ubiblock\d+_\d+|unknown-block\((?:1|2|7|9|11|43),\d+\)"
)
"""Devices that no experiment uses: floppy, CD, tape, card, loop, network, flash and memory block
devices. A guest's disks are xvd*; a host's are vd*, sd*, nvme*, dm-*. `dev=fd00` of a back end is
no floppy but number 253:0, a volume."""

_HYPERVISOR = (
    (
        HYPERVISOR,
        (
            r"Panic on CPU|[Ee]arly fatal (?:page fault|trap)|Executing kexec image|\bXen (?:BUG|WARN) at |"
            r"^(?:BUG|WARN) at |FATAL (?:TRAP|PAGE FAULT|ERROR)|GENERAL PROTECTION FAULT|"
            r"CONTROL-FLOW PROTECTION FAULT|DOUBLE FAULT|Fatal machine check|Xen call trace|Xen stack trace|"
            r"Reboot in five seconds|Manual reset required|mm locking order violation|"
            r"Reentered the crash path|^CHECKLOCK FAILURE|^XMEM Pool corruption"
        ),
        "the hypervisor broke",
    ),
    (HYPERVISOR, r"Assertion '.*' failed|\bASSERT(?:ION)?\b.*failed", "an assumption of the hypervisor did not hold"),
    (
        HYPERVISOR,
        (
            r"Watchdog timer (?:detects|fired)|CPU\s?#?\d+ (?:is )?stuck|\bStuck \?\?|"
            r"Failed to (?:bring (?:up|down)|online) CPU|Error bringing CPU|NMI - (?:MEMORY|PCI|I/O|IOCK|"
            r"PARITY)|NMI received for unknown|Machine Check Exception|MCE: .*(?:panic|No CPU|failed|Fatal|"
            r"[Ee]rror|incident occurred)|[Ff]atal machine check|HARDWARE ERROR|CPU\s?#?\d+ still not dead|"
            r"Non-responding CPUs|modulated clock mode|^Bank \d+: [0-9a-f]|CPU\s?#?\d+ failed to come up|"
            r"bringing (?:up|down) CPU|[Nn]ot coming (?:back )?online|^[A-Z]{3,} occurred on CPU \d|"
            r"\d correctable hardware errors? that|has reported a hardware error|^Unmap broken memory .* failed"
        ),
        "a processor was stuck or broke",
    ),
    (
        GUEST,
        (
            r"domain_crash|\bDom(?:ain)? ?\d+ (?:\(vcpu#\d+\) )?(?:reported )?crash|"
            r"Hardware Dom\d+ (?:crashed|shutdown: watchdog|shutdown \(unknown)|"
            r"Domain 0 shutdown: watchdog|L1TF-vulnerable .* Crashing|\bVM(?:X|RESUME|LAUNCH) error: |"
            r"\bUn(?:handled|expected): vec|Unhandled (?:page|general|invalid|int3|\w+ )?.*fault/trap|"
            r"[Uu]nhandled (?:page fault|general protection)|Triple fault|Guest stack trace|Failed vm entry|"
            r"vmentry failure|invalid VMCB|\bMMIO emulation failed \(|Bad vmexit|"
            r"Guest switching to user mode with no user page tables|"
            r"(?i:unexpected vmexit)|\bVMCS Area \*|EPT violation|CONTEXT: (?:pv|hvm) guest"
        ),
        "a guest crashed",
    ),
    (GUEST, r"^Pagetable walk from ", "a fault of a guest or of the hypervisor"),
    (GUEST, r"----\[ Xen-\S", "the head of a dump: a guest or the hypervisor broke"),
    (
        GUEST,
        (
            r"^RIP:\s+[0-9a-f]{4}:|^RFLAGS: |^Xen code around|^\[<[0-9a-f]+>\] [RFS] \S|"
            r"^Faulting linear address|^\*\*\* Dumping CPU\d+ |^pg(?:\[\d+\])? MFN [0-9a-f]+ c="
        ),
        "a part of a dump whose head may be lost: a guest or the hypervisor broke",
    ),
    (
        GUEST,
        (
            r"^(?:\S+/)?mm\.c:\d+:\s?d\d|(?:^|\s)(?:d\d+v\d+|d\[\w+\](?:v\d+)?) (?:Error (?:getting|pinning|while|mfn|"
            r"copying|clearing)|Bad (?:type|L\d flags|cr3|domain|page free|steal)|Could not get page|"
            r"Attempt to (?:implicitly|create)|pg_owner|Failure -?\d+ in)|could not get_page_from_l\de"
        ),
        "Xen refused a guest's page table",
    ),
    (
        GUEST,
        (
            r"(?:grant_table\.c:\d+|gnttab|(?:^|\s)d\d+v\d+|grant table).*(?:Bad (?:grant|ref|flags|"
            r"d?\w*\s?handle|domain)|Unstable|Failed to obtain maptrack|Allocation failure when expanding|"
            r"pin count|Iomem mapping not permitted)|Bad grant ref|Failed to obtain maptrack|"
            r"[Gg]rant table.*\b(?:bad|Bad|corrupt|failed)|Expand grant table .* failed"
        ),
        "a grant, and so a guest's disk, failed",
    ),
    (
        MEMORY,
        (
            r"[Oo]ut of (?:PoD |[Ss]hadow )?memory|[Pp]age allocation fail|failed page allocs|"
            r"[Mm]emory corrupt|[Cc]orrupted (?:page|memory|heap)|[Hh]eap corrupt|scrub.*corrupt|"
            r"Bad page free|out of memory|Can't pre-allocate|Could not allocate (?:vTLB|memory)|"
            r"cannot allocate|failed to allocate from (?:HAP|shadow) pool|"
            r"^memory leak in pool: |Allocate 1GB failed|Failed to offline page|is offlined|No memory for"
        ),
        "the hypervisor's memory failed",
    ),
    (GUEST, r"^sh error: |^hap error: |shadow: .*\berror\b", "a guest's page tables failed"),
)

FORBIDDEN: tuple[Pattern, ...] = (
    Pattern(re.escape(kernel_logs.LOST), "nobody knows what the missing messages said", LOST),
    *(Pattern(expression, reason, kind) for kind, expression, reason in LINUX),
)
"""Searched in every line."""

FORBIDDEN_XEN: tuple[Pattern, ...] = tuple(
    Pattern(expression, reason, kind) for kind, expression, reason in _HYPERVISOR
)
"""Searched before FORBIDDEN in lines that Xen wrote: `(XEN)`."""

FORBIDDEN_PROGRAM: tuple[Pattern, ...] = (
    Pattern(r"killed by the OOM killer|oom-kill'|result 'oom-kill'", "the kernel killed a process", MEMORY),
    Pattern(
        r"\bdumped core|status=(?:11/SEGV|7/BUS|6/ABRT|4/ILL)|code=dumped",
        "a process died: perhaps of a corrupted page",
        PROCESS,
    ),
    Pattern(r"UNEXPECTED INCONSISTENCY", "a file system is damaged", FILE_SYSTEM),
    Pattern(
        r"Missed \d+ kernel messages|/dev/kmsg buffer overrun", "nobody knows what the missing messages said", LOST
    ),
)
"""Searched in lines of other programs (`systemd[1]: ...`), instead of FORBIDDEN: their words are
not the kernel's."""

ALLOWED: tuple[Pattern, ...] = (
    Pattern(
        r"^(?:Kernel command line|Command line|Unknown kernel command line parameters|Booting kernel:|"
        r"Xen command line|dom0 command line)\b",
        "the echo of options may hold any word",
    ),
    Pattern(
        r"^(?:Spectre V\d|RETBleed|SRBDS|MDS|TAA|MMIO Stale Data|L1TF|SRSO|GDS|ITS|TSA|VMSCAPE|"
        r"Register File Data Sampling)\b",
        "a boot-time advisory about mitigations; it says nothing about memory",
    ),
    Pattern(
        r"^(?:(?:NMI watchdog|watchdog|rcu)\b.*(?:[Ee]nabled|[Dd]isabled|lockup detector|stall warning|"
        r"rcu_cpu_stall)|\s*RCU CPU stall warnings)",
        "an announcement of a watchdog or of its setting, not a finding of one",
    ),
    Pattern(
        r"^mce: (?:CPU\d+: Thermal|CPU supports|Using \d+ MCE|Intel machine check|"
        r"\[Hardware Error\]: \S+ support)",
        "an announcement of what the processor can report",
    ),
    Pattern(
        r"^(?:ERST|HEST|BERT|EINJ|GHES|RAS)\b(?!.*(?:\[Hardware Error\]|offlining))",
        "an announcement of a way to report errors",
    ),
    Pattern(
        r"^(?:ACPI|PCI|pci|pcieport|pnp|i8042|DMAR|AMD-Vi|tsc|clocksource|microcode|random|audit|systemd|"
        r"usb|hub|input|thermal|floppy\d*|cfg80211|Bluetooth|drm|kvm|nouveau|i915|snd\w*)\b(?!.*(?:BUG: |"
        r"invoked oom-killer|page allocation (?:failure|stalls)|blocked (?:for|on)|[Oo]ut of memory|"
        r"Oops|Kernel panic|segfault|general protection|dumped core|type=1701|\[#\d+\]|"
        r"\[Hardware Error\]|critical temperature))",
        "devices and tables that no experiment uses",
    ),
    Pattern(r"^TCP: out of memory -- consider tuning tcp_mem", "a limit of sockets, not of the machine's memory"),
    Pattern(r"^ALSA \S+ BUG: ", "sound, which no experiment uses"),
    Pattern(r"^d\d+: Forcing (?:read-only access|write emulation)", "what every dom0 of Xen is told at its start"),
    Pattern(r"[Nn]on-privileged (?:\(\d+\) )?attempt to map I/O space", "a device's memory, which no experiment uses"),
    Pattern(r"^(?:OOM killer (?:disabled|enabled)|PM: .*OOM|Freezing)", "what suspending a guest says"),
    Pattern(r"^FAT-fs .*(?:not properly unmounted|utf8|codepage)", "the boot partition, which no experiment writes"),
    Pattern(
        r"^xen-?blkback: .*(?:using \d+ queues|persistent grants|Scheduled work from previous purge)",
        "a notice of the back end's housekeeping",
    ),
    Pattern(
        r"^EXT[234]-fs \(\S+\): (?:couldn't mount as|mounted filesystem|mounting ext|re-mounted|"
        r"unmounting|recovery complete|INFO: recovery|write access will be enabled|orphan cleanup|"
        r"\d+ orphan inode|warning: (?:maximal mount count|checktime)|VFS: Can't find)",
        "mounting, or trying which file system it is",
    ),
    Pattern(
        r"^EXT[234]-fs \(\S+\): error: couldn't mount because of unsupported optional features|"
        r"^XFS \(\S+\): SB validate failed with error -22\b",
        "trying which file system it is",
    ),
    Pattern(
        r"^XFS \(\S+\): (?:Mounting|Ending|Starting recovery|Unmounting|EXPERIMENTAL|Deprecated|"
        r"Invalid superblock magic|Quotacheck)",
        "mounting, or trying which file system it is",
    ),
    Pattern(
        r"^BTRFS(?: info)?(?: \(device \S+\))?: (?:device (?:fsid|label)|disk space|has skinny|using \w+|"
        r"enabling|first mount|turning on|checking UUID|force \w+ compression|start tree-log replay)",
        "mounting",
    ),
    Pattern(
        (
            r"op 0x[0-9a-f]+:\((?:WRITE_ZEROES|ZONE_\w+)\).*\bnot supported|operation not supported error|"
            r"^nvme\w+: (?:Write Zeroes|Dataset Management)\(0x\w+\) .*, Invalid (?:Command Opcode|Field in Command) "
        ),
        "the device lacks an operation, and says so",
    ),
)
"""Looked at only when something forbidden was found in a line."""
