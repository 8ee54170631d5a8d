"""What Linux says when swap, a file system or a disk broke, and the kinds of breakage. Data for
campaigns.kernel_log_linux, in the same form.
"""

from __future__ import annotations

KINDS = ("cpu", "kernel", "memory", "swap", "file system", "disk", "hang", "process", "hypervisor", "guest", "lost")
"""What a line can say broke. guest: Xen's words about a guest. lost: the log itself has a gap,
which may hide anything."""

CPU, KERNEL, MEMORY, SWAP, FILE_SYSTEM, DISK, HANG, PROCESS, HYPERVISOR, GUEST, LOST = KINDS

DEVICE = r"(?P<device>unknown-block\(\d+,\d+\)|[\w!/-]+)"

STORAGE = (
    # --- swap -----------------------------------------------------------------------------------
    (SWAP, r"(?:Read|Write)[- ]error (?:-?\d+ )?on (?:dio )?swap", "the swap device failed"),
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
            r"zswap: .*(?:[Dd]ecompress\w* (?:fail|error)|fail\w* to decompress|"
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
            r"checksum|running e2fsck is recommended|Inconsistent|need of filesystem check|"
            r"Unrecognised inode hash|index full|\berr(?:or)?[ =]-?\d|returned -\d|dx entry: |directory missing|"
            r"bad (?:inline )?directory|with no links|too many links|cannot read|data loss|> max in inode)"
        ),
        "a file system found itself damaged",
    ),
    (
        FILE_SYSTEM,
        (
            rf"EXT[234]-fs \({DEVICE}\): (?:error|panic|warning: mounting (?:fs with errors|unchecked)|"
            r"initial error|last error|error count|previous I/O error|I/O error|[Rr]emounting file-?system|"
            r"failed to convert|Delayed block allocation failed|delayed block allocation failed|"
            r"This should not happen|unable to read|[Cc]an't read|bad geometry|group descriptors|mount failed|"
            r"Magic mismatch|journal UUID|Could not load journal|required journal recovery suppressed|"
            r"(?:bad|unsupported) (?:inode|block|fragment|cluster) size|Number of reserved GDT|too large to mount|"
            r"first meta block group too large|inodes count not valid|"
            r"get root (?:inode|dentry) failed|error loading journal|ext4_\w+: .*(?:err|fail|Checksum|not in group|"
            r"invalid|corrupt|overlaps)|Inode \d+ .*orphan list|Detected aborted|Couldn't remount RDWR|"
            r"shut(?:ting)? down|[Cc]hecksum (?:invalid|failed)|Invalid checksum|write access unavailable|"
            r"Errors on filesystem|Unexpected|corrupt|invalid|failed to|Marking fs in need|no journal found|"
            r"VFS: Found ext4 filesystem with invalid|sb orphan head|Inode \d+ .*not cleared|"
            r"journal inode is deleted|external journal|not enough memory|insufficient memory|Cannot load|"
            r"cannot be mounted|discard request in .* failed|Quota error)"
        ),
        "a file system found itself damaged, or could not be mounted",
    ),
    (
        FILE_SYSTEM,
        (
            r"(?i:remounting file-?system read-only|filesystem has been (?:shut down|set read-only)|"
            r"forced? read-?only|forcing read-only)"
        ),
        "a file system gave up writing",
    ),
    (
        FILE_SYSTEM,
        (
            r"\bJBD2? unexpected failure|"
            r"\b(?:JBD2?|jbd2?|_*jbd2?_\w+): (?:(?P<device>[\w!/-]+-\d+): )?.*"
            r"(?i:error|fail|invalid|bad |corrupt|spotted|not found|out of memory|unrecognised|no valid|leaked|"
            r"too short|assertion|cannot|can't|too many credits|no memory|waiting for godot|"
            r"blocks and only had|no way to get|recovery pass \d+ ended|b_\w*transaction \(.*\) [!=]= )"
        ),
        "the journal of a file system failed",
    ),
    (
        FILE_SYSTEM,
        (
            rf"Aborting journal on device {DEVICE}|^(?:EXT[34](?:-fs)?: )?\w+(?::\d+)?: aborting transaction: |"
            r"^EXT[34](?:-fs)?: jbd2?_\w+ failed: |Detected aborted journal|journal commit I/O error|"
            r"\bjournal_\w+: .*(?:not found|error)|Journal has aborted|"
            r"jbd2?_journal_\w+: .*(?:not found|error)|^ext[34]_abort called|^ext4_\w+: .*\berr(?:or)? -?\d"
        ),
        "the journal of a file system was given up",
    ),
    (
        FILE_SYSTEM,
        (
            rf"XFS(?: \({DEVICE}\))?:? .*(?i:corrupt|CRC error|internal error|I/O error|log I/O|force_shutdown|"
            r"shut(?:ting)? ?down|page discard on|writeback error|error -?\d+|assertion failed|"
            r"failing async write|\bfailed\b|out of range[:,]|log inconsistent|mismatched uuid|"
            r"please u?n?mount the filesystem|bad (?:magic|(?:\w+ )?inode|clientid)|Unmount and run|"
            r"metadata errors? detected|run xfs_repair|CRC mismatch|access to block zero|known in-use inode|"
            r"not in the AIL|head behind tail|reservation ran out|duplicate UUID|size mismatch)"
        ),
        "a file system found itself damaged",
    ),
    (
        FILE_SYSTEM,
        (
            rf"(?i:BTRFS)(?: (?:error|critical))(?: \(device {DEVICE}(?: state \w+)?\))?|BTRFS: (?:error|"
            r"Transaction aborted|open_ctree failed|failed to )|(?i:BTRFS).* errs: .*(?:wr|rd|flush|corrupt|gen) [1-9]|"
            r"BTRFS warning.*(?i:csum failed|checksum|lost page|error|corrupt|failed|aborted|bad tree block|"
            r"bad bytenr|couldn't read|missing [1-9]\d* device)|BTRFS.* read error corrected|"
            r"parent transid verify failed|btrfs: .*(?:error|corrupt|csum failed|read-only)|"
            rf"(?i:btrfs)(?:: {DEVICE}|.*) checksum verify failed|BTRFS.* no csum found|"
            r"btrfs (?:csum failed|bad tree block)|btrfs: open_ctree failed"
        ),
        "a file system found itself damaged",
    ),
    (
        FILE_SYSTEM,
        (
            r"(?:FAT|F2FS|NILFS2?|REISERFS|JFS|GFS2|OCFS2|"
            rf"bcachefs)(?:-fs)?:? ?(?:\({DEVICE}\))?:? ?.*(?:\berror\b|ERROR|fatal|withdr|corrupted|"
            r"[Ii]nconsistent|Stopped filesystem)"
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
    (
        FILE_SYSTEM,
        (
            rf"(?<![\w!/-]){DEVICE}: writeback error on inode|"
            rf"Dirty inode writeback failed for block device {DEVICE}"
        ),
        "a file system could not be written",
    ),
    # --- disks ----------------------------------------------------------------------------------
    (DISK, rf"(?<!not supported )\berror, dev {DEVICE}(?:,| |$)", "a disk failed, so sectors and times mean nothing"),
    (
        DISK,
        r"^(?:xvd|[vsh]d|nvme|dm-|md)\w*: detected capacity change from [1-9]\d* to 0$",
        "a disk is gone",
    ),
    (
        DISK,
        (
            r"max_grant_frames reached|WARNING: g\.e\..* (?:still in use|page still)|\bleaking g\.e\. |"
            r"\bgnttab (?:un)?map failed: |swiotlb buffer is full|Out of SW-IOMMU space"
        ),
        "what a disk's requests go through was used up",
    ),
    (DISK, rf"(?<![\w!/-]){DEVICE}: (?:guard|ref|app) tag error at ", "a disk returned other data than was written"),
    (
        DISK,
        (
            rf"Buffer I/O error on (?:dev|device) {DEVICE}|I/O error on (?:dev|device) {DEVICE}|lost (?:async |"
            rf"sync )?page write(?: due to I/O error)?(?: on {DEVICE})?|__find_get_block_slow\(\) failed|"
            rf"(?<![\w!/-]){DEVICE}: unable to read (?:partition table|RDB block)|bio too big device {DEVICE}|"
            rf"Trying to access nonexistent block-device {DEVICE}"
        ),
        "a disk failed, so sectors and times mean nothing",
    ),
    (
        DISK,
        (
            # of two lines that are one record: its head names no device, and loggers join them
            rf"(?:^|\s|\\x0a|\\n|#012){DEVICE}: rw=-?\d+, (?:want|sector)=|"
            rf"requested out-of-range block \d+ for device {DEVICE}|^{DEVICE}: p\d+ .* beyond EOD"
        ),
        "a disk is smaller than what is on it says",
    ),
    (
        DISK,
        (
            rf"\[{DEVICE}\]\s+(?:tag#\d+ )?(?:(?:FAILED|UNKNOWN\(0x[0-9a-f]+\)) Result|CDB: |uas_eh_|"
            r"killing request|Medium access timeout failure|"
            r"Synchronize Cache\(\d+\) failed|Unhandled (?:error|"
            r"sense) code|Sense Key : (?:0x[234b]|Not Ready|Medium|Hardware|Aborted|Data Protect)|"
            r"Add\. Sense: (?:Unrecovered|Read retries|Write error|Logical block|Internal target)|"
            r"timing out command|access beyond end of device|device offline|"
            r"(?:[\w/() ]{1,40} failed: )?Result: hostbyte=(?:0x0*[1-9a-f]|DID_(?!OK)))"
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
            r"disabled?(?: device)?$|error: \{ .*\b(?:ICRC|UNC|IDNF|ABRT|AMNF)\b|status: \{ .*\b(?:ERR|DF)\b|"
            r"SError: \{|lost interrupt|qc timeout (?:after \d+ msecs )?\(cmd 0x(?!a[01])|"
            r"(?:hard|soft) resetting link|(?:soft|hard)?reset failed|"
            r"(?:COMRESET|SRST|FLUSH) failed|NCQ disabled due to|limiting (?:SATA link )?speed to)|"
            r"AHCI controller unavailable"
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
            r"removing after probe failure|abort status|unrecovered|@ LBA (?:.*(?:error|fault)|\d+, .*\(sct 0x)|"
            r"invalid id \d+ completed on|keep_alive_end_io error|no (?:available|usable) path|"
            r"(?:frozen|failure) state error|reset failure|reset controller|resetting controller|"
            r"severity=uncorrect|media error|dead|critical warning)"
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
            r"\bvbd: probe of vbd-[\d-]+ failed|"
            r"(?i:xenbus\w*: timeout connecting to device: device/vbd)|failed to write error node for \S*device/vbd"
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
    (
        DISK,
        (
            r"^(?:mpt\dsas\w*|megaraid\w*|megasas\w*|hpsa|smartpqi|aacraid)(?: \S+)?: (?:.*\b)?(?i:fault[ _]state|"
            r"lockup detected|controller (?:is )?offline|non-operational|killing adapter)"
        ),
        "the controller of disks failed",
    ),
    (DISK, r"virtio_blk \S+ .*(?:not a head|timeout|I/O error)|virtblk.*(?:error|timeout)", "a disk failed"),
    (
        DISK,
        (
            r"device-mapper: (?!ioctl|uevent|core).*(?i:fail|\berror|invalid|out-of-|out of|read-only mode|"
            r"unable|corrupt|abort|no free|too small|unserviceable)"
        ),
        "a volume failed",
    ),
    (
        DISK,
        (
            r"\b(?:md/\S+|raid\d+|md): .*(?i:disk failure|not correctable|unrecoverable|gets error|read error|"
            r"write error|kicking non-fresh|cannot continue|not enough operational|(?:rescheduling|redirecting) sector|"
            r"failed to run raid set)"
        ),
        "a volume failed",
    ),
    (
        DISK,
        rf"block drbd\d+: .*(?i:I/O error|failed|Local IO)|\bblk-mq: .*timeout|^block {DEVICE}: .*timed out",
        "a volume failed",
    ),
)
"""Kind, expression, reason."""
