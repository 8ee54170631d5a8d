"""What Linux 3.x to 7.x and Xen 4.x say when something broke, and what looks like it but is harmless. Data for campaigns.kernel_log.

An expression is searched in a line without its time and prefix, with regard to case. `(?P<device>...)` names the device that a line is about: a complaint about
one that no experiment uses is harmless. Sources: the kernels' and Xen's own format strings (mm/, fs/, block/, drivers/block/xen-blk*, arch/x86/kernel/traps.c,
lib/, kernel/; xen/common, xen/arch/x86), as they stand in 3.2, 5.10, 6.x and Xen 4.20, and reports by users for what has changed in between.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from lab.hosts.kernel_logs import LOST

KINDS = ("cpu", "kernel", "memory", "swap", "file system", "disk", "hang", "process", "hypervisor", "guest", "lost")
"""What a line can say broke. guest: Xen's words about a guest. lost: the log itself has a gap, which may hide anything."""


@dataclass(frozen=True)
class Pattern:
    """A regular expression, what it says broke (one of KINDS; empty: nothing), and why it matters or does not."""

    expression: str
    reason: str
    kind: str = ""


UNUSED_DEVICES = r"(?:fd|sr|scd|st|nst|sg|loop|nbd|ram|mmcblk|mtdblock|pktcdvd|pcd|cdrom|floppy)\d*(?:p\d+|boot\d+|rpmb|gp\d+)?|unknown-block\((?:1|2|7|9|11|43),\d+\)"
"""Devices that no experiment uses: floppy, CD, tape, card, loop, network and memory block devices. A guest's disks are xvd*; a host's are vd*, sd*, nvme*, dm-*."""

_DEV = r"(?P<device>unknown-block\(\d+,\d+\)|[\w!/-]+)"
_CPU, _KERNEL, _MEMORY, _SWAP, _FS, _DISK, _HANG, _PROCESS, _XEN, _GUEST = KINDS[:10]

_LINUX = (
    # --- processors --------------------------------------------------------------------------------------------------------------
    (_CPU, r"\b[0-9a-f]{4,16} \[#\d+\]", "the head of an oops, whatever the fault: divide error, invalid opcode, int3, ..."),
    (_CPU, r"sig: \d+ \[#\d+\]", "the head of an oops on PowerPC"),
    (_CPU, r"\b(?:Oops|Internal error|Kernel (?:BUG|stack overflow|access of bad area)): ?\S", "the kernel broke"),
    (_CPU, r"\bgeneral protection fault(?:,|:)", "the kernel broke"),
    (_CPU, r"PANIC: |\bpanic occurred|Kernel panic|Fatal exception|Recursive die|Fixing recursive fault", "the kernel gave up"),
    (_CPU, r"(?i:\b(?:double fault|divide error|invalid opcode|stack segment|kernel stack overflow|stack guard page was hit))\b(?=.*(?:0x|0000|\[|at ))", "the kernel broke"),
    (_CPU, r"(?i:unable to handle (?:kernel|page fault|paging))", "the kernel used an address that is none"),
    (_CPU, r"kernel NULL pointer dereference|kernel tried to execute|unable to execute userspace code|supervisor (?:read|write|instruction) access in", "the kernel used an address that is none"),
    (_CPU, r"^RIP: (?:0010|e030|0x10):", "the place of a fault in the kernel: its head may be lost"),
    (_CPU, r"(?i:soft lockup|hard lockup)(?= on| -|$|:| detected)", "a processor was stuck, so times mean nothing"),
    (_CPU, r"(?i:watchdog).*(?:BUG: |detected (?:hard|HARD)|Hard LOCKUP)", "a processor was stuck, so times mean nothing"),
    (_CPU, r"(?:self-)?detected (?:expedited )?stalls?\b|kthread starved for \d+|Unless \w+ kthread gets sufficient CPU|kthread timer wakeup didn't happen|\brcu\S* .*\bstall on CPU|Stack dump where RCU", "a processor was stuck, so times mean nothing"),
    (_CPU, r"workqueue lockup|BUG: workqueue", "kernel work was stuck, so times mean nothing"),
    (_CPU, r"NMI backtrace for cpu|[Ss]ending NMI (?:from CPU|to )", "the kernel looked for a stuck processor"),
    (_CPU, r"\[Hardware Error\]", "the hardware reported an error of processor or memory"),
    (_CPU, r"Machine [Cc]heck(?: [Ee]xception|:? events logged|: 0x|: \d+ Bank)|MCE: .*(?:Killing|error|recovery failed)|mce: .*(?:Killing|[Uu]ncorrected|Fatal)", "the hardware reported an error of processor or memory"),
    (_CPU, r"NMI: (?:PCI system error|IOCK error|Not continuing)|NMI received for unknown reason|Dazed and confused", "an error that the hardware could not name"),
    (_CPU, r"(?i:temperature above threshold|cpu clock (?:is )?throttled)", "a processor was slowed down, so times mean nothing"),
    (_CPU, r"CPU ?#?\d+(?: is|:)? (?:stuck|Not responding|not responding|failed to (?:boot|report alive))|do_boot_cpu failed|CPU\d+: (?:Not responding|Stuck)|Brought up .* failed", "a processor is missing"),
    # --- the kernel's own assumptions --------------------------------------------------------------------------------------------
    (_KERNEL, r"\bBUG: ", "the kernel found itself broken"),
    (_KERNEL, r"(?i:kernel BUG at )\S", "the kernel found itself broken"),
    (_KERNEL, r"WARNING: (?:CPU: \d+ .{0,80})?at \S+:\d+|WARNING: .*\+0x[0-9a-f]+(?:/0x[0-9a-f]+)?.*CPU[#:]|WARNING: \S+:\d+ at ", "an assumption of the kernel did not hold"),
    (_KERNEL, r"\[ cut here \]-|---\[ end (?:trace|Kernel panic)", "the frame of a report that an assumption of the kernel did not hold"),
    (_KERNEL, r"(?:possible (?:circular locking|recursive locking|irq lock inversion)|suspicious R?CU usage|inconsistent lock state|bad unlock balance|held lock freed|lock held when returning to user|nested lock was not taken|(?:HARD|SOFT)IRQ-\S+ lock|trying to register non-static key|DEBUG_LOCKS_WARN_ON)", "locks of the kernel are used wrongly"),
    (_KERNEL, r"\bscheduling while atomic|sleeping function called from|Assertion failure in |assertion failed!|VERIFY\d?\(.*failed", "an assumption of the kernel did not hold"),
    (_KERNEL, r"stack-protector: Kernel stack is corrupted|corrupted stack end|Thread overran stack|stack overflow", "the kernel's stack is damaged"),
    # --- memory ------------------------------------------------------------------------------------------------------------------
    (_MEMORY, r"(?i:\bout of memory)(?!\s*(?:killer|handling))|OOM victim", "the kernel had no memory left, so the load was not the declared one"),
    (_MEMORY, r"oom-kill:|invoked oom-killer|oom_reaper: |oom_kill_process|\bKilled process \d|lowmemorykiller: |System is deadlocked on memory|VM_FAULT_OOM|OOM is now expected", "the kernel killed a process, so the load was not the declared one"),
    (_MEMORY, r"killed as a result of limit|are going to be killed due to memory|killed by the OOM killer|Tasks state \(memory values", "the kernel killed a process, so the load was not the declared one"),
    (_MEMORY, r"page allocation (?:failure|stalls)|vmalloc: allocation failure|vmalloc error: size|vmap allocation for size \d+ failed|percpu: allocation failed|(?:SLUB|SLAB|slab): Unable to allocate|possible memory allocation deadlock|not enough memory for the allocation|ENOMEM in \S+, retrying", "an allocation failed: whatever asked for it went another way"),
    (_MEMORY, r"^BUG [^\s:]", "the slab allocator found an object damaged"),
    (_MEMORY, r"[Bb]ad page (?:state|map|cache|table)|page dumped because|Bad pagetable|Corrupted page table|[Bb]ad rss-counter|Bad swap entry|non-zero (?:pgtables_bytes|nr_ptes|nr_pmds)|:\d+: bad (?:pgd|p4d|pud|pmd|pte)\b|^page:\S+ (?:ref)?count:", "a page or a page table is damaged"),
    (_MEMORY, r"list_(?:add|del)(?:_rcu|_entry_valid)?(?: double add| corruption)|list_\w+_valid|refcount_t: |usercopy: .*attempt detected|(?i:kernel memory (?:exposure|overwrite) attempt)", "a structure of the kernel is damaged"),
    (_MEMORY, r"\bK(?:ASAN|CSAN|MSAN|FENCE): |KASAN:|\bUBSAN: |(?i:slab corruption|slab error in|slab: double free|slab: Internal list corruption)|(?:Redzone|Padding|Poison) (?:overwritten|0x)|(?:Right |Left )?Redzone overwritten|Poison overwritten|Object already free|^FIX \S+: |Wrong slab cache|still has objects|Slab cache still", "a check of the kernel's memory failed"),
    (_MEMORY, r"Memory failure: 0x|hardware memory corruption|[Cc]orrupted low memory|soft offline: |EDAC \S+: \d+ [CU]E\b|EDAC \S+: (?:UE|CE) ", "memory itself failed"),
    (_MEMORY, r"new suspected memory leaks", "memory of the kernel leaks"),
    # --- swap --------------------------------------------------------------------------------------------------------------------
    (_SWAP, r"(?:Read|Write)[- ]error on (?:dio )?swap", "the swap device failed"),
    (_SWAP, r"(?:Bad|Unused) swap (?:file|offset|device)|Bad swap offset|Bad page swap|swap_(?:free|dup|duplicate|info_get|info_get_cont)\w*: |get_swap_device: ", "an entry of the swap map is damaged"),
    (_SWAP, r"Unable to (?:find swap-space signature|handle swap header)|Swap area shorter than signature|swapfile has holes|Empty swap-file|failed to register swap group", "a swap device cannot be used"),
    (_SWAP, r"zram: .*(?:Error|error|failed)|zram\d*: .*(?:failed|error)|zswap: .*(?:decompress\w* fail|pool creation failed)", "compressed swap failed"),
    # --- file systems ------------------------------------------------------------------------------------------------------------
    (_FS, rf"EXT[234]-fs (?:error|abort|panic|panic from previous error)(?: \(device {_DEV}(?:[ )]|\)))?", "a file system found itself damaged"),
    (_FS, rf"EXT[234]-fs warning(?: \(device {_DEV}\))?.*(?i:I/O error|error recorded|errors|failed|corrupt|checksum|running e2fsck is recommended|Inconsistent)", "a file system found itself damaged"),
    (_FS, rf"EXT[234]-fs \({_DEV}\): (?:error|panic|warning: mounting (?:fs with errors|unchecked)|initial error|last error|error count|previous I/O error|I/O error|[Rr]emounting filesystem|failed to convert|Delayed block allocation failed|delayed block allocation failed|This should not happen|unable to read|bad geometry|group descriptors|mount failed|get root inode failed|error loading journal|ext4_\w+: .*(?:err|fail|Checksum|not in group|invalid|corrupt)|Inode \d+ .*orphan list|Detected aborted|Couldn't remount RDWR|shut(?:ting)? down|[Cc]hecksum (?:invalid|failed)|Invalid checksum|write access unavailable|Errors on filesystem|Unexpected|corrupt|invalid|failed to)", "a file system found itself damaged, or could not be mounted"),
    (_FS, r"(?i:remounting filesystem read-only|filesystem has been (?:shut down|set read-only)|forced? read-?only|forcing read-only)", "a file system gave up writing"),
    (_FS, r"\b(?:JBD2?|jbd2?)\b(?:: |_\w+: ).*(?i:error|fail|invalid|bad |corrupt|spotted|not found|out of memory|unrecognised|no valid|leaked|too short|assertion|cannot|can't|too many credits|no memory)", "the journal of a file system failed"),
    (_FS, rf"Aborting journal on device {_DEV}|Detected aborted journal|journal commit I/O error|jbd2?_journal_\w+: .*(?:not found|error)|Journal has aborted", "the journal of a file system was given up"),
    (_FS, rf"XFS(?: \({_DEV}\))?:? .*(?i:corrupt|CRC error|internal error|I/O error|log I/O|force_shutdown|shut(?:ting)? down|writeback error|error -?\d+|assertion failed|failing async write|failed to|please u?n?mount the filesystem|bad magic|Unmount and run)", "a file system found itself damaged"),
    (_FS, rf"(?i:BTRFS)(?: (?:error|critical))(?: \(device {_DEV}(?: state \w+)?\))?|BTRFS: (?:error|Transaction aborted|open_ctree failed)|(?i:BTRFS).* errs: .*(?:wr|rd|flush|corrupt|gen) [1-9]|BTRFS warning.*(?i:csum failed|checksum|lost page|error|corrupt|failed)|parent transid verify failed|btrfs: .*(?:error|corrupt|csum failed|read-only)", "a file system found itself damaged"),
    (_FS, rf"(?:FAT|F2FS|EROFS|NTFS|UDF|exFAT|NILFS2?|REISERFS|JFS|GFS2|OCFS2|UBIFS|SQUASHFS|CIFS|bcachefs)(?:-fs)?:? ?(?:\({_DEV}\))?:? ?.*(?:\berror\b|ERROR|fatal|withdr|corrupted|inconsistent)", "a file system found itself damaged"),
    (_FS, r"\(\S+,\d+,\d+\):\w+:\d+ ERROR: ", "OCFS2 failed"),
    (_FS, r"VFS: (?:Unable to mount root|Cannot open root device|Busy inodes after unmount)|nfs: server \S+ not responding|UNEXPECTED INCONSISTENCY", "a file system cannot be used"),
    # --- disks -------------------------------------------------------------------------------------------------------------------
    (_DISK, rf"(?<!not supported )\berror, dev {_DEV}(?:,| |$)", "a disk failed, so sectors and times mean nothing"),
    (_DISK, rf"Buffer I/O error on (?:dev|device) {_DEV}|I/O error on (?:dev|device) {_DEV}|lost (?:async |sync )?page write(?: due to I/O error)?(?: on {_DEV})?", "a disk failed, so sectors and times mean nothing"),
    (_DISK, rf"attempt to access beyond end of device|^{_DEV}: rw=\d+, (?:want|sector)=", "a disk is smaller than what is on it says"),
    (_DISK, rf"\[{_DEV}\] (?:tag#\d+ )?(?:FAILED Result|Unhandled (?:error|sense) code|Sense Key : (?:0x[34b]|Medium|Hardware|Aborted|Data Protect)|Add\. Sense: (?:Unrecovered|Read retries|Write error|Logical block|Internal target)|timing out command|Result: hostbyte=(?:0x0*[1-9a-f]|DID_(?!OK)))", "a disk failed"),
    (_DISK, r"^sd \S+ .*(?:timing out command|rejecting I/O to|Device offlined|attempting task abort|I/O error)|rejecting I/O to (?:offline|dead) device", "a disk failed"),
    (_DISK, r"\bata\d+(?:\.\d+)?: (?:exception Emask|failed command: (?!PACKET|IDENTIFY)|revalidation failed|disabled$|error: \{ (?:UNC|IDNF|ABRT|AMNF))", "a disk failed"),
    (_DISK, r"\bhd[a-z]: (?:\w+_intr: .*[Ee]rror|lost interrupt|\w+: error=0x|\w+: status=0x\w+ \{.*Error)", "a disk failed"),
    (_DISK, r"\bnvme\S*:? .*(?i:I/O (?:tag )?\d+ .*timeout|I/O error|controller is down|device not ready|removing after probe failure|abort status|unrecovered|@ LBA .*(?:error|fault)|frozen state error|reset controller|resetting controller|severity=uncorrect|media error|dead|critical warning)", "a disk failed"),
    (_DISK, r"(?:xen[-_])?blkfront: (?!.*\b(?:enabled|disabled)\b)|xen_blk: can't|(?:xen_blkfront|^\w+): .*(?:incorrect id|response (?:has|references)|disabled for further use|illegal number of responses|stale handles)|Bad return from blkdev data request|backed has not unmapped grant", "the front end of a guest's disk failed"),
    (_DISK, r"\bvbd (?:vbd|backend)-[\d-]+: (?:-?\d+ |.*(?i:fail|error|in use|timeout|fatal|unable|invalid))|(?i:xenbus: timeout connecting to device: device/vbd)", "a guest's disk could not be connected"),
    (_DISK, r"xen-?blkback: (?!.*not supported).*(?i:invalid|access denied|bogus|could not|bad number|misaligned|error|failed|doesn't|trying to add|already in use|already unused|still missing)", "the back end of a guest's disk failed"),
    (_DISK, r"virtio_blk \S+ .*(?:not a head|timeout|I/O error)|virtblk.*(?:error|timeout)", "a disk failed"),
    (_DISK, r"device-mapper: (?!ioctl|uevent|core).*(?i:fail|\berror|invalid|out-of-|out of|read-only mode|unable|corrupt|abort)", "a volume failed"),
    (_DISK, r"\b(?:md/\S+|raid\d+|md): .*(?i:disk failure|not correctable|unrecoverable|gets error|read error|write error|kicking non-fresh|cannot continue)", "a volume failed"),
    (_DISK, r"block drbd\d+: .*(?i:I/O error|failed|Local IO)|\bblk-mq: .*timeout|^block \S+: .*timed out", "a volume failed"),
    # --- tasks -------------------------------------------------------------------------------------------------------------------
    (_HANG, r"\bblocked (?:in I/O wait )?for more than \d+", "a task hung longer than any disk or emulation explains"),
    (_HANG, r"\bis? ?blocked on an? (?:mutex|semaphore|rw-semaphore|rwsem)|hung_task_timeout_secs|Future hung task reports|hung task(?:s)? (?:detected|:)|hung_task: blocked tasks", "a task hung longer than any disk or emulation explains"),
    (_PROCESS, r"\bsegfault at |\[\d+\]:? (?:general protection|trap \w|bad frame|unhandled signal)|^traps: |potentially unexpected fatal signal|trap (?:invalid opcode|divide error|int3|stack segment)", "a process died of memory it could not have: perhaps a corrupted page"),
    (_PROCESS, r"dumped core|type=1701 .*\bsig=(?:4|6|7|8|11)\b|unhandled signal \d+ ", "a process died: perhaps of a corrupted page"),
)  # fmt: skip

_HYPERVISOR = (
    (_XEN, r"Panic on CPU|\bXen (?:BUG|WARN) at |^(?:BUG|WARN) at |FATAL (?:TRAP|PAGE FAULT|ERROR)|GENERAL PROTECTION FAULT|CONTROL-FLOW PROTECTION FAULT|DOUBLE FAULT|Fatal machine check|Xen call trace|Xen stack trace|Reboot in five seconds|Manual reset required", "the hypervisor broke"),
    (_XEN, r"Assertion '.*' failed|\bASSERT(?:ION)?\b.*failed", "an assumption of the hypervisor did not hold"),
    (_XEN, r"Watchdog timer (?:detects|fired)|CPU\s?#?\d+ (?:is )?stuck|\bStuck \?\?|Failed to (?:bring (?:up|down)|online) CPU|Error bringing CPU|NMI - (?:MEMORY|PCI|I/O|IOCK|PARITY)|NMI received for unknown|Machine Check Exception|MCE: .*(?:panic|No CPU|failed|Fatal)|HARDWARE ERROR", "a processor was stuck or broke"),
    (_GUEST, r"domain_crash|\bDom(?:ain)? ?\d+ (?:\(vcpu#\d+\) )?(?:reported )?crash|Hardware Dom0 crashed|\bUnhandled: vec|Unhandled (?:page|general|invalid|int3|\w+ )?.*fault/trap|[Uu]nhandled (?:page fault|general protection)|Triple fault|Guest stack trace|Failed vm entry|Bad vmexit|unexpected vmexit|Unexpected vmexit|EPT violation|CONTEXT: (?:pv|hvm) guest", "a guest crashed"),
    (_GUEST, r"----\[ Xen-\S", "the head of a dump: a guest or the hypervisor broke"),
    (_GUEST, r"^mm\.c:\d+:\s?d\d|(?:^|\s)(?:d\d+v\d+|d\[\w+\](?:v\d+)?) (?:Error (?:getting|pinning|while|mfn|copying|clearing)|Bad (?:type|L\d flags|cr3|domain|page free|steal)|Could not get page|Attempt to (?:implicitly|create)|pg_owner|Failure -?\d+ in)|could not get_page_from_l\de", "Xen refused a guest's page table"),
    (_GUEST, r"(?:grant_table\.c:\d+|gnttab|(?:^|\s)d\d+v\d+|grant table).*(?:Bad (?:grant|ref|flags|d?\w*\s?handle|domain)|Unstable|Failed to obtain maptrack|Allocation failure when expanding|pin count|Iomem mapping not permitted)|Bad grant ref|[Gg]rant table.*\b(?:bad|Bad|corrupt|failed)|Expand grant table .* failed", "a grant, and so a guest's disk, failed"),
    (_MEMORY, r"[Oo]ut of (?:PoD |[Ss]hadow )?memory|[Pp]age allocation fail|failed page allocs|[Mm]emory corrupt|[Cc]orrupted (?:page|memory|heap)|[Hh]eap corrupt|scrub.*corrupt|Bad page free|out of memory|Can't pre-allocate|Could not allocate (?:vTLB|memory)|cannot allocate|Allocate 1GB failed|Failed to offline page|is offlined|No memory for", "the hypervisor's memory failed"),
    (_GUEST, r"^sh error: |^hap error: |shadow: .*\berror\b", "a guest's page tables failed"),
)  # fmt: skip

FORBIDDEN: tuple[Pattern, ...] = (
    Pattern(re.escape(LOST), "nobody knows what the missing messages said", "lost"),
    *(Pattern(expression, reason, kind) for kind, expression, reason in _LINUX),
)
"""Searched in every line."""

FORBIDDEN_XEN: tuple[Pattern, ...] = tuple(
    Pattern(expression, reason, kind) for kind, expression, reason in _HYPERVISOR
)
"""Searched before FORBIDDEN in lines that Xen wrote: `(XEN)`."""

FORBIDDEN_PROGRAM: tuple[Pattern, ...] = (
    Pattern(r"killed by the OOM killer|oom-kill'|result 'oom-kill'", "the kernel killed a process", _MEMORY),
    Pattern(r"\bdumped core|status=(?:11/SEGV|7/BUS|6/ABRT|4/ILL)|code=dumped", "a process died: perhaps of a corrupted page", _PROCESS),
    Pattern(r"UNEXPECTED INCONSISTENCY", "a file system is damaged", _FS),
)  # fmt: skip
"""Searched in lines of other programs (`systemd[1]: ...`), instead of FORBIDDEN: their words are not the kernel's."""

ALLOWED: tuple[Pattern, ...] = (
    Pattern(r"^(?:Kernel command line|Command line|Unknown kernel command line parameters|Booting kernel:|Xen command line|dom0 command line)\b", "the echo of options may hold any word"),
    Pattern(r"^(?:Spectre V\d|RETBleed|SRBDS|MDS|TAA|MMIO Stale Data|L1TF|SRSO|GDS|ITS|TSA|VMSCAPE|Register File Data Sampling)\b", "a boot-time advisory about mitigations; it says nothing about memory"),
    Pattern(r"^(?:(?:NMI watchdog|watchdog|rcu)\b.*(?:[Ee]nabled|[Dd]isabled|lockup detector|stall warning|rcu_cpu_stall)|\s*RCU CPU stall warnings)", "an announcement of a watchdog or of its setting, not a finding of one"),
    Pattern(r"^mce: (?:CPU\d+: Thermal|CPU supports|Using \d+ MCE|Intel machine check|\[Hardware Error\]: \S+ support)", "an announcement of what the processor can report"),
    Pattern(r"^(?:ERST|HEST|BERT|EINJ|GHES|RAS)\b(?!.*\[Hardware Error\])", "an announcement of a way to report errors"),
    Pattern(r"^(?:ACPI|PCI|pci|pcieport|pnp|i8042|DMAR|AMD-Vi|tsc|clocksource|microcode|random|audit|systemd|usb|hub|input|thermal|floppy\d*|cfg80211|Bluetooth|drm|kvm|nouveau|i915|snd\w*)\b(?!.*(?:BUG: |Oops|Kernel panic|segfault|general protection|dumped core|type=1701|\[#\d+\]|\[Hardware Error\]))", "devices and tables that no experiment uses"),
    Pattern(r"^(?:OOM killer (?:disabled|enabled)|PM: .*OOM|Freezing)", "what suspending a guest says"),
    Pattern(r"^FAT-fs .*(?:not properly unmounted|utf8|codepage)", "the boot partition, which no experiment writes"),
    Pattern(r"^xen-?blkback: .*(?:using \d+ queues|persistent grants|Scheduled work from previous purge)", "a notice of the back end's housekeeping"),
    Pattern(r"^EXT[234]-fs \(\S+\): (?:couldn't mount as|mounted filesystem|mounting ext|re-mounted|unmounting|recovery complete|INFO: recovery|write access will be enabled|orphan cleanup|\d+ orphan inode|warning: (?:maximal mount count|checktime)|VFS: Can't find)", "mounting, or trying which file system it is"),
    Pattern(r"^XFS \(\S+\): (?:Mounting|Ending|Starting recovery|Unmounting|EXPERIMENTAL|Deprecated|Invalid superblock magic|Quotacheck)", "mounting, or trying which file system it is"),
    Pattern(r"^BTRFS(?: info)?(?: \(device \S+\))?: (?:device (?:fsid|label)|disk space|has skinny|using \w+|enabling|first mount|turning on|checking UUID|force \w+ compression|start tree-log replay)", "mounting"),
    Pattern(r"op 0x[0-9a-f]+:\((?:WRITE_ZEROES|ZONE_\w+)\).*\bnot supported|operation not supported error", "the device lacks an operation, and says so"),
)  # fmt: skip
"""Looked at only when something forbidden was found in a line."""
