"""What Linux 3.x to 7.x says when something broke. Data for campaigns.kernel_log_rules; what looks
like it but is harmless is there.

Sources: the kernel's own format strings (arch/x86/kernel/traps.c, kernel/, mm/, fs/, block/, lib/,
drivers/block/xen-blk*) as they stand in 3.2, 5.10 and 6.x, and reports by users for what has
changed since.
"""

from __future__ import annotations

KINDS = ("cpu", "kernel", "memory", "swap", "file system", "disk", "hang", "process", "hypervisor", "guest", "lost")
"""What a line can say broke. guest: Xen's words about a guest. lost: the log itself has a gap,
which may hide anything."""

CPU, KERNEL, MEMORY, SWAP, FILE_SYSTEM, DISK, HANG, PROCESS, HYPERVISOR, GUEST, LOST = KINDS

DEVICE = r"(?P<device>unknown-block\(\d+,\d+\)|[\w!/-]+)"

LINUX = (
    (LOST, r"\*\* \d+ printk messages? dropped", "nobody knows what the missing messages said"),
    # --- processors -----------------------------------------------------------------------------
    (
        CPU,
        r"\b[0-9a-f]{4,16} \[#\d+\]",
        "the head of an oops, whatever the fault: divide error, invalid opcode, int3, ...",
    ),
    (CPU, r"sig: \d+ \[#\d+\]", "the head of an oops on PowerPC"),
    (CPU, r"\b(?:Oops|Internal error|Kernel (?:BUG|stack overflow|access of bad area)): ?\S", "the kernel broke"),
    (CPU, r"\bgeneral protection fault(?:,|:)", "the kernel broke"),
    (
        CPU,
        (
            r"PANIC: |\bpanic occurred|Kernel panic|Fatal exception|Recursive die|^Rebooting in \d+ seconds|"
            r"Fixing recursive fault"
        ),
        "the kernel gave up",
    ),
    (
        CPU,
        (
            r"(?i:\b(?:double fault|divide error|invalid opcode|stack segment|kernel stack overflow|"
            r"stack guard page was hit))\b(?=.*(?:0x|0000|\[|at ))"
        ),
        "the kernel broke",
    ),
    (CPU, r"(?i:unable to handle (?:kernel|page fault|paging))", "the kernel used an address that is none"),
    (
        CPU,
        (
            r"kernel NULL pointer dereference|kernel tried to execute|unable to execute userspace code|"
            r"supervisor (?:read|write|instruction) access in"
        ),
        "the kernel used an address that is none",
    ),
    (
        CPU,
        (
            r"^RIP: (?:0010|e030|0x10):|^RIP\s+\[<|^EIP: (?:0010|0060):|^EIP is at|^IP: .*\+0x|"
            r"^RSP: (?:0018|e02b):|^#PF: error_code\(|^Modules linked in:|"
            r"^note: .*\[\d+\] exited with (?:preempt_count|irqs disabled)"
        ),
        "the place of a fault in the kernel: its head may be lost",
    ),
    (CPU, r"(?i:soft lockup|hard lockup)(?= on| -|$|:| detected)", "a processor was stuck, so times mean nothing"),
    (
        CPU,
        r"(?i:watchdog).*(?:BUG: |detected (?:hard|HARD)|Hard LOCKUP)",
        "a processor was stuck, so times mean nothing",
    ),
    (
        CPU,
        (
            r"(?:self-)?detected (?:expedited )?stalls?\b|kthread starved for \d+|"
            r"Unless \w+ kthread gets sufficient CPU|kthread timer wakeup didn't happen|"
            r"\brcu\S* .*\bstall on CPU|Stack dump where RCU|INFO: Stall ended before|"
            r"Possible timer handling issue on cpu|RCU grace-period kthread stack dump"
        ),
        "a processor was stuck, so times mean nothing",
    ),
    (CPU, r"workqueue lockup|BUG: workqueue", "kernel work was stuck, so times mean nothing"),
    (CPU, r"NMI backtrace for cpu|[Ss]ending NMI (?:from CPU|to )", "the kernel looked for a stuck processor"),
    (
        CPU,
        r"\[Hardware Error\]|\bHARDWARE ERROR\b|Hardware error from APEI|CMCI storm detected",
        "the hardware reported an error of processor or memory",
    ),
    (
        CPU,
        (
            r"Machine [Cc]heck(?: [Ee]xception|:? events logged|: 0x|: \d+ Bank)|MCE: .*(?:Killing|error|"
            r"recovery failed)|mce: .*(?:Killing|[Uu]ncorrected|Fatal)"
        ),
        "the hardware reported an error of processor or memory",
    ),
    (
        CPU,
        (
            r"NMI: (?:PCI system error|IOCK error|Not continuing)|NMI received for unknown reason|"
            r"Dazed and confused"
        ),
        "an error that the hardware could not name",
    ),
    (
        CPU,
        r"(?i:temperature above threshold|cpu clock (?:is )?throttled)",
        "a processor was slowed down, so times mean nothing",
    ),
    (
        CPU,
        (
            r"CPU ?#?\d+(?: is|:)? (?:stuck|Not responding|not responding|failed to (?:boot|report alive))|"
            r"do_boot_cpu failed|CPU\d+: (?:Not responding|Stuck)|Unexpected reschedule of offline CPU|"
            r"scheduling from the idle thread|non-responsive CSD lock|Some CPUs didn't answer|"
            r"waiting for CPUs rendezvous|CPU on fire|CPU \d+ didn't die"
        ),
        "a processor is missing",
    ),
    # --- the kernel's own assumptions -----------------------------------------------------------
    (KERNEL, r"(?<!FIRMWARE )(?<!Firmware )\bBUG: ", "the kernel found itself broken"),
    (KERNEL, r"(?i:kernel BUG at )\S", "the kernel found itself broken"),
    (
        KERNEL,
        (
            r"WARNING: (?:CPU: \d+ .{0,80})?at \S+:\d+|WARNING: .*\+0x[0-9a-f]+(?:/0x[0-9a-f]+)?.*CPU[#:]|"
            r"WARNING: \S+:\d+ at "
        ),
        "an assumption of the kernel did not hold",
    ),
    (
        KERNEL,
        r"\[ cut here \]-|---\[ end (?:trace|Kernel panic)",
        "the frame of a report that an assumption of the kernel did not hold",
    ),
    (
        KERNEL,
        (
            r"(?:possible (?:circular locking|recursive locking|irq lock inversion)|suspicious R?CU usage|"
            r"inconsistent lock state|bad unlock balance|held lock freed|lock held when returning to user|"
            r"nested lock was not taken|(?:HARD|SOFT)IRQ-\S+ lock|trying to register non-static key|"
            r"DEBUG_LOCKS_WARN_ON)"
        ),
        "locks of the kernel are used wrongly",
    ),
    (
        KERNEL,
        (
            r"\bscheduling while atomic|sleeping function called from|Assertion failure in |assertion failed!|"
            r"\d multicall\(s\) failed|VERIFY\d?\(.*failed|^huh, entered |"
            r"returned with (?:preemption imbalance|disabled interrupts)"
        ),
        "an assumption of the kernel did not hold",
    ),
    (
        KERNEL,
        (
            r"Kernel stack is corrupted|corrupted stack end|Thread overran stack|"
            r"stack overflow"
        ),
        "the kernel's stack is damaged",
    ),
    # --- memory ---------------------------------------------------------------------------------
    (
        MEMORY,
        r"(?i:\bout of memory)(?!\s*(?:killer|handling))|OOM victim",
        "the kernel had no memory left, so the load was not the declared one",
    ),
    (
        MEMORY,
        (
            r"oom-kill:|invoked oom-killer|oom_reaper: |oom_kill_process|\bKilled process \d|VM: killing process|"
            r"lowmemorykiller: |System is deadlocked on memory|VM_FAULT_OOM|OOM is now expected"
        ),
        "the kernel killed a process, so the load was not the declared one",
    ),
    (
        MEMORY,
        (
            r"killed as a result of limit|are going to be killed due to memory|killed by the OOM killer|"
            r"Tasks state \(memory values"
        ),
        "the kernel killed a process, so the load was not the declared one",
    ),
    (
        MEMORY,
        (
            r"page allocation (?:failure|stalls)|vmalloc: allocation failure|vmalloc error: size|"
            r"vmap allocation for size \d+ failed|percpu: allocation failed|(?:SLUB|SLAB|"
            r"slab): Unable to allocate|possible memory allocation deadlock|"
            r"not enough memory for the allocation|\bwarn_alloc\w*: \d+ callbacks suppressed|"
            r"ENOMEM in \S+, retrying|\bcma_alloc: .*alloc failed"
        ),
        "an allocation failed: whatever asked for it went another way",
    ),
    (MEMORY, r"^BUG [^\s:]", "the slab allocator found an object damaged"),
    (
        MEMORY,
        (
            r"[Bb]ad page (?:state|map|cache|table)|page dumped because|Bad pagetable|Corrupted page table|"
            r"[Bb]ad rss-counter|Bad swap entry|non-zero (?:pgtables_bytes|nr_ptes|nr_pmds)|:\d+: bad (?:pgd|"
            r"p4d|pud|pmd|pte)\b|^page: ?\S* ?(?:ref)?count:"
        ),
        "a page or a page table is damaged",
    ),
    (
        MEMORY,
        (
            r"list_(?:add|del)(?:_rcu|_entry_valid)?(?: double add| corruption)|list_\w+_valid|refcount_t: |"
            r"usercopy: .*attempt detected|(?i:kernel memory (?:exposure|overwrite) attempt)"
        ),
        "a structure of the kernel is damaged",
    ),
    (
        MEMORY,
        (
            r"\bK(?:ASAN|CSAN|MSAN|FENCE): |KASAN:|\bUBSAN: |(?i:slab corruption|slab error in|"
            r"slab: double free|slab: Internal list corruption)|(?:Redzone|Padding|Poison) (?:overwritten|0x)|"
            r"(?:Right |Left )?Redzone overwritten|Poison overwritten|Object already free|^FIX \S+: |"
            r"Wrong slab cache|still has objects|Slab cache still|[Bb]uggy address|"
            r"First byte 0x|^INFO: (?:Slab|Object) 0x|slabs counted "
            r"but counter|detected buffer overflow in|PAGETABLE BUG"
        ),
        "a check of the kernel's memory failed",
    ),
    (
        MEMORY,
        (
            r"Memory failure: 0x|\bMCE 0x[0-9a-f]+: |hardware memory corruption|[Cc]orrupted low memory|"
            r"[Ss]oft[ _-]?offlin\w*:? |"
            r"EDAC \S+: \d+ [CU]E\b|EDAC \S+: (?:UE|CE) |EDAC \S+ MC\d+: .*error code|"
            r"HANDLING MCE MEMORY ERROR|"
            r"[Uu]ncorrected (?:hardware )?memory error|Memory error not recovered|Probably bad RAM"
        ),
        "memory itself failed",
    ),
    (MEMORY, r"new suspected memory leaks", "memory of the kernel leaks"),
    # --- swap -----------------------------------------------------------------------------------
    (SWAP, r"(?:Read|Write)[- ]error on (?:dio )?swap", "the swap device failed"),
    (
        SWAP,
        (
            r"(?:Bad|Unused) swap (?:file|offset|device)|Bad swap offset|Bad page swap|swap_(?:free|dup|"
            r"duplicate|info_get|info_get_cont)\w*: |get_swap_device: "
        ),
        "an entry of the swap map is damaged",
    ),
    (
        SWAP,
        (
            r"Unable to (?:find swap-space signature|handle swap header)|Swap area shorter than signature|"
            r"swapfile has holes|Empty swap-file|failed to register swap group"
        ),
        "a swap device cannot be used",
    ),
    (
        SWAP,
        (
            r"zram: .*(?:Error|error|failed)|zram\d*: .*(?:failed|error)|"
            r"zswap: .*(?:decompress\w* fail|fail\w* to decompress|"
            r"pool creation failed)"
        ),
        "compressed swap failed",
    ),
    # --- file systems ---------------------------------------------------------------------------
    (
        FILE_SYSTEM,
        rf"EXT[234]-fs (?:error|abort|panic|panic from previous error)(?: \(device {DEVICE}(?:[ )]|\)))?",
        "a file system found itself damaged",
    ),
    (
        FILE_SYSTEM,
        (
            rf"EXT[234]-fs warning(?: \(device {DEVICE}\))?.*(?i:I/O error|error recorded|errors|failed|corrupt|"
            r"checksum|running e2fsck is recommended|Inconsistent)"
        ),
        "a file system found itself damaged",
    ),
    (
        FILE_SYSTEM,
        (
            rf"EXT[234]-fs \({DEVICE}\): (?:error|panic|warning: mounting (?:fs with errors|unchecked)|"
            r"initial error|last error|error count|previous I/O error|I/O error|[Rr]emounting filesystem|"
            r"failed to convert|Delayed block allocation failed|delayed block allocation failed|"
            r"This should not happen|unable to read|bad geometry|group descriptors|mount failed|"
            r"get root inode failed|error loading journal|ext4_\w+: .*(?:err|fail|Checksum|not in group|"
            r"invalid|corrupt)|Inode \d+ .*orphan list|Detected aborted|Couldn't remount RDWR|"
            r"shut(?:ting)? down|[Cc]hecksum (?:invalid|failed)|Invalid checksum|write access unavailable|"
            r"Errors on filesystem|Unexpected|corrupt|invalid|failed to)"
        ),
        "a file system found itself damaged, or could not be mounted",
    ),
    (
        FILE_SYSTEM,
        (
            r"(?i:remounting filesystem read-only|filesystem has been (?:shut down|set read-only)|"
            r"forced? read-?only|forcing read-only)"
        ),
        "a file system gave up writing",
    ),
    (
        FILE_SYSTEM,
        (
            r"\b(?:JBD2?|jbd2?)\b(?:: |_\w+: ).*(?i:error|fail|invalid|bad |corrupt|spotted|not found|"
            r"out of memory|unrecognised|no valid|leaked|too short|assertion|cannot|can't|too many credits|"
            r"no memory)"
        ),
        "the journal of a file system failed",
    ),
    (
        FILE_SYSTEM,
        (
            rf"Aborting journal on device {DEVICE}|Detected aborted journal|journal commit I/O error|"
            r"\bjournal_\w+: .*(?:not found|error)|Journal has aborted|"
            r"jbd2?_journal_\w+: .*(?:not found|error)|^ext[34]_abort called|^ext4_\w+: .*\berr(?:or)? -?\d"
        ),
        "the journal of a file system was given up",
    ),
    (
        FILE_SYSTEM,
        (
            rf"XFS(?: \({DEVICE}\))?:? .*(?i:corrupt|CRC error|internal error|I/O error|log I/O|force_shutdown|"
            r"shut(?:ting)? down|writeback error|error -?\d+|assertion failed|failing async write|failed to|"
            r"please u?n?mount the filesystem|bad magic|Unmount and run)"
        ),
        "a file system found itself damaged",
    ),
    (
        FILE_SYSTEM,
        (
            rf"(?i:BTRFS)(?: (?:error|critical))(?: \(device {DEVICE}(?: state \w+)?\))?|BTRFS: (?:error|"
            r"Transaction aborted|open_ctree failed)|(?i:BTRFS).* errs: .*(?:wr|rd|flush|corrupt|gen) [1-9]|"
            r"BTRFS warning.*(?i:csum failed|checksum|lost page|error|corrupt|failed)|"
            r"parent transid verify failed|btrfs: .*(?:error|corrupt|csum failed|read-only)"
        ),
        "a file system found itself damaged",
    ),
    (
        FILE_SYSTEM,
        (
            r"(?:FAT|F2FS|NILFS2?|REISERFS|JFS|GFS2|OCFS2|"
            rf"bcachefs)(?:-fs)?:? ?(?:\({DEVICE}\))?:? ?.*(?:\berror\b|ERROR|fatal|withdr|corrupted|"
            r"inconsistent)"
        ),
        "a file system found itself damaged",
    ),
    (FILE_SYSTEM, r"\(\S{1,64},\d+,\d+\):\w+:\d+ ERROR: ", "OCFS2 failed"),
    (
        FILE_SYSTEM,
        (
            r"VFS: (?:Unable to mount root|Cannot open root device|Busy inodes after unmount)|"
            r"nfs: server \S+ not responding|UNEXPECTED INCONSISTENCY|VFS: brelse: Trying to free|"
            r"I/O [Ee]rror in filesystem|Possible data corruption due to collision"
        ),
        "a file system cannot be used",
    ),
    (FILE_SYSTEM, rf"(?<![\w!/-]){DEVICE}: writeback error on inode", "a file system could not be written"),
    # --- disks ----------------------------------------------------------------------------------
    (DISK, rf"(?<!not supported )\berror, dev {DEVICE}(?:,| |$)", "a disk failed, so sectors and times mean nothing"),
    (DISK, rf"(?<![\w!/-]){DEVICE}: (?:guard|ref|app) tag error at ", "a disk returned other data than was written"),
    (
        DISK,
        (
            rf"Buffer I/O error on (?:dev|device) {DEVICE}|I/O error on (?:dev|device) {DEVICE}|lost (?:async |"
            rf"sync )?page write(?: due to I/O error)?(?: on {DEVICE})?"
        ),
        "a disk failed, so sectors and times mean nothing",
    ),
    (
        DISK,
        rf"attempt to access beyond end of device|^{DEVICE}: rw=\d+, (?:want|sector)=",
        "a disk is smaller than what is on it says",
    ),
    (
        DISK,
        (
            rf"\[{DEVICE}\] (?:tag#\d+ )?(?:FAILED Result|Synchronize Cache\(\d+\) failed|Unhandled (?:error|"
            r"sense) code|Sense Key : (?:0x[34b]|Medium|Hardware|Aborted|Data Protect)|"
            r"Add\. Sense: (?:Unrecovered|Read retries|Write error|Logical block|Internal target)|"
            r"timing out command|Result: hostbyte=(?:0x0*[1-9a-f]|DID_(?!OK)))"
        ),
        "a disk failed",
    ),
    (
        DISK,
        (
            r"^sd \S+ .*(?:timing out command|rejecting I/O to|Device offlined|attempting task abort|"
            r"I/O error)|^scsi \S+ rejecting I/O to (?:offline|dead) device"
        ),
        "a disk failed",
    ),
    (
        DISK,
        (
            r"\bata\d+(?:\.\d+)?: (?:exception Emask|failed command: (?!PACKET|IDENTIFY)|revalidation failed|"
            r"disabled$|error: \{ (?:UNC|IDNF|ABRT|AMNF))"
        ),
        "a disk failed",
    ),
    (
        DISK,
        r"\bhd[a-z]: (?:\w+_intr: .*[Ee]rror|lost interrupt|\w+: error=0x|\w+: status=0x\w+ \{.*Error)",
        "a disk failed",
    ),
    (
        DISK,
        (
            r"\bnvme\S*:? .*(?i:I/O (?:tag )?\d+ .*timeout|I/O error|controller is down|device not ready|"
            r"removing after probe failure|abort status|unrecovered|@ LBA .*(?:error|fault)|"
            r"frozen state error|reset controller|resetting controller|severity=uncorrect|media error|dead|"
            r"critical warning)"
        ),
        "a disk failed",
    ),
    (
        DISK,
        (
            r"(?:xen[-_])?blkfront: (?!.*\b(?:enabled|disabled)\b)|xen_blk: can't|"
            r"response (?:has (?:incorrect id|wrong operation)|references no pending)|"
            r"disabled for further use|illegal number of responses|hot-unplugged, \d+ stale handles|"
            r"Bad return from blkdev data request|backed has not unmapped grant"
        ),
        "the front end of a guest's disk failed",
    ),
    (
        DISK,
        (
            r"\bvbd (?:vbd|backend)-[\d-]+: (?:-?\d+ |.*(?i:fail|error|in use|timeout|fatal|unable|invalid))|"
            r"(?i:xenbus: timeout connecting to device: device/vbd)|failed to write error node for \S*device/vbd"
        ),
        "a guest's disk could not be connected",
    ),
    (
        DISK,
        (
            r"xen-?blkback: (?!.*not supported).*(?i:invalid|access denied|bogus|could not|bad number|"
            r"misaligned|error|failed|doesn't|trying to add|already in use|already unused|still missing)"
        ),
        "the back end of a guest's disk failed",
    ),
    (DISK, r"virtio_blk \S+ .*(?:not a head|timeout|I/O error)|virtblk.*(?:error|timeout)", "a disk failed"),
    (
        DISK,
        (
            r"device-mapper: (?!ioctl|uevent|core).*(?i:fail|\berror|invalid|out-of-|out of|read-only mode|"
            r"unable|corrupt|abort)"
        ),
        "a volume failed",
    ),
    (
        DISK,
        (
            r"\b(?:md/\S+|raid\d+|md): .*(?i:disk failure|not correctable|unrecoverable|gets error|read error|"
            r"write error|kicking non-fresh|cannot continue)"
        ),
        "a volume failed",
    ),
    (
        DISK,
        rf"block drbd\d+: .*(?i:I/O error|failed|Local IO)|\bblk-mq: .*timeout|^block {DEVICE}: .*timed out",
        "a volume failed",
    ),
    # --- tasks ----------------------------------------------------------------------------------
    (HANG, r"\bblocked (?:in I/O wait )?for more than \d+", "a task hung longer than any disk or emulation explains"),
    (
        HANG,
        (
            r"\bblocked on an? (?:mutex|semaphore|rw-semaphore|rwsem)|hung_task_timeout_secs|"
            r"Future hung task reports|hung task(?:s)? (?:detected|:)|hung_task: blocked tasks"
        ),
        "a task hung longer than any disk or emulation explains",
    ),
    (
        PROCESS,
        (
            r"\bsegfault at |\[\d+\]:? (?:general protection|trap \w|bad frame|unhandled signal)|^traps: |"
            r"potentially unexpected fatal signal|\bshow_signal_msg: \d+ callbacks suppressed|"
            r"trap (?:invalid opcode|divide error|int3|stack segment)"
        ),
        "a process died of memory it could not have: perhaps a corrupted page",
    ),
    (
        PROCESS,
        r"dumped core|type=1701 .*\bsig=(?:4|6|7|8|11)\b|unhandled signal \d+ ",
        "a process died: perhaps of a corrupted page",
    ),
)
"""Kind, expression, reason."""
