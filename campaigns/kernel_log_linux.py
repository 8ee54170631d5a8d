"""What Linux 3.x to 7.x says when something broke. Data for campaigns.kernel_log_rules; what looks
like it but is harmless is there.

Sources: the kernel's own format strings (arch/x86/kernel/traps.c, kernel/, mm/, fs/, block/, lib/,
drivers/block/xen-blk*) as they stand in 3.2, 5.10 and 6.x, and reports by users for what has
changed since.
"""

from __future__ import annotations

from campaigns.kernel_log_storage import CPU, HANG, KERNEL, LOST, MEMORY, PROCESS, STORAGE

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
            r"supervisor (?:(?:read|write) access|instruction fetch) in"
        ),
        "the kernel used an address that is none",
    ),
    (
        CPU,
        (
            r"^RIP: (?:0010|e030|0x10):|^RIP\s+\[<|^EIP: (?:0010|0060):|^EIP is at|^IP: .*\+0x|"
            r"^RSP: (?:0018|e02b):|^#PF: error_code\(|^Modules linked in:|^Call Trace:|^<(?:TASK|IRQ|NMI|#DF)>$|"
            r"^CR2: [0-9a-f]|^Code: (?:[0-9a-f]{2} |Bad |Unable )|^CPU: \d+ (?:UID: \d+ )?PID: \d+ Comm: |"
            r"^Pid: \d+, comm: |^Process .* \(pid: \d+, |^Kernel Offset: |"
            r"^note: .*\[\d+\] exited with (?:preempt_count|irqs disabled)"
        ),
        "a part of the report of a fault in the kernel: its head may be lost",
    ),
    (
        CPU,
        r"(?i:soft lockup|hard lockup)(?= on| -|$|:| detected)|^watchdog: .* during lockup:$",
        "a processor was stuck, so times mean nothing",
    ),
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
            r"\(detected by \d+, t=\d+ jiffies|\(t=\d+ jiffies g=|Tasks blocked on level-\d+ rcu_node|"
            r"blocking rcu_node structures|softirq=\d+/\d+ fqs=\d|"
            r"Possible timer handling issue on cpu|RCU grace-period kthread stack dump"
        ),
        "a processor was stuck, so times mean nothing",
    ),
    (
        CPU,
        (
            r"workqueue lockup|BUG: workqueue|^Showing (?:busy workqueues|all locks held)|"
            r"workers in stalled CPU-bound worker pools"
        ),
        "kernel work was stuck, so times mean nothing",
    ),
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
            r"Dazed and confused|Do you have a strange power saving mode"
        ),
        "an error that the hardware could not name",
    ),
    (
        CPU,
        (
            r"(?i:temperature above threshold|cpu clock (?:is )?throttled|\bcritical temperature reached|"
            r"hardware protection shutdown|(?:core|package) power limit notification)"
        ),
        "a processor was slowed down, so times mean nothing",
    ),
    (
        CPU,
        (
            r"CPU ?#?\d+(?: is|:)? (?:stuck|Not responding|not responding|failed to (?:boot|report alive))|"
            r"do_boot_cpu failed|CPU\d+: (?:Not responding|Stuck)|Unexpected reschedule of offline CPU|"
            r"scheduling from the idle thread|\bCSD lock|Some CPUs didn't answer|"
            r"waiting for CPUs rendezvous|CPU on fire|CPU \d+ didn't die|CPUs not responding to MCE|"
            r"CPU ?\d+:? (?:failed to (?:come online|start)|died )|Error taking CPU\d+ (?:up|down)|"
            r"^installing Xen timer for CPU \d+ failed|^vcpu restore failed for cpu=\d"
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
            r"nested lock was not taken|still has locks held|(?:HARD|SOFT)IRQ-\S+ lock|"
            r"trying to register non-static key|"
            r"DEBUG_LOCKS_WARN_ON)"
        ),
        "locks of the kernel are used wrongly",
    ),
    (
        KERNEL,
        (
            r"\bscheduling while atomic|sleeping function called from|Assertion failure in |assertion failed!|"
            r"\d multicall\(s\) failed|VERIFY\d?\(.*failed|^huh, entered |"
            r"returned with (?:preemption imbalance|disabled interrupts)|"
            r"context switch within RCU read-side critical|CFI failure at |Missing ENDBR: |Unexpected \w+ #CP|"
            r"Attempted to kill (?:init|the idle task)|^psi: (?:inconsistent task state|task underflow)"
        ),
        "an assumption of the kernel did not hold",
    ),
    (
        KERNEL,
        (
            r"Kernel stack is corrupted|corrupted stack end|Thread overran stack|"
            r"stack overflow|has overflown the kernel stack"
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
            r"Tasks state \(memory values|^\[ *pid *\] +uid +tgid +total_vm|^memory: usage \d+kB, limit|"
            r"Memory cgroup stats for |^Mem-Info:|^Node \d+ (?:active_anon:|\S+ free:\d+kB )|"
            r"\bactive_anon:\d+ inactive_anon:|"
            r"pagefault_out_of_memory: \d+ callbacks"
        ),
        "the kernel killed a process, so the load was not the declared one",
    ),
    (
        MEMORY,
        (
            r"page allocation (?:failure|stalls)|vmalloc: allocation failure|vmalloc error: size|"
            r"vmap allocation for size \d+ failed|vmalloc_node_range for size \d+ failed|"
            r"percpu: allocation failed|(?:SLUB|SLAB|"
            r"slab): Unable to allocate|possible memory allocation deadlock|"
            r"not? enough memory for the allocation|\bwarn_alloc\w*: \d+ callbacks suppressed|"
            r"ENOMEM in \S+, retrying|\bcma_alloc: .*alloc failed|^zswap: (?:\w+ ){0,3}alloc failed"
        ),
        "an allocation failed: whatever asked for it went another way",
    ),
    (MEMORY, r"^BUG [^\s:]", "the slab allocator found an object damaged"),
    (
        MEMORY,
        (
            r"[Bb]ad page (?:state|map|cache|table)|Bad pagetable|Corrupted page table|"
            # pages that memory hot-plug cannot move now are dumped, too
            r"page dumped because: (?!migration failure|unmovable page|isolation failed)|"
            r"[Bb]ad rss-counter|Bad swap entry|non-zero (?:pgtables_bytes|nr_ptes|nr_pmds)|:\d+: bad (?:pgd|"
            r"p4d|pud|pmd|pte)\b|^page: ?\S* ?(?:ref)?count:(?:-|0 |\d+ mapcount:-)|^bad because of flags|"
            r"is uninitialized and poisoned|^addr:\S+ vm_flags:|^page_owner (?:tracks|free|info)"
        ),
        "a page or a page table is damaged",
    ),
    (
        MEMORY,
        (
            r"list_(?:add|del)(?:_rcu|_entry_valid)?(?: double add| corruption)|list_\w+_valid|refcount_t: |"
            r"usercopy: .*attempt detected|(?i:kernel memory (?:exposure|overwrite) attempt)|"
            r"detected field-spanning write|detected buffer overflow|Trying to vfree\(\) (?:bad|nonexistent)|"
            r"Object is not a Slab page"
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
            r"First byte 0x|^(?:INFO: )?(?:Slab|Object) 0x\S+ (?:@offset|objects)=|slabs counted "
            r"but counter|PAGETABLE BUG|^(?:INFO: )?(?:Allocated|Freed) in \S+ .*\bage=\d|"
            r"^(?:Redzone|Padding|Object|Bytes b4) +(?:0x)?[0-9a-f]+: "
        ),
        "a check of the kernel's memory failed",
    ),
    (
        MEMORY,
        (
            r"Memory failure: 0x|\bMCE 0x[0-9a-f]+: |hardware memory corruption|[Cc]orrupted low memory|"
            r"[Ss]oft[ _-]?offlin\w*:? |^Injecting memory failure|\bbad mem addr 0x|"
            r"^pagealloc: (?:memory corruption|single bit error)|"
            r"EDAC \S+: \d+ [CU]E\b|EDAC \S+: (?:UE|CE) |EDAC \S+ MC\d+: .*(?:error code|Machine Check \w+: )|"
            r"HANDLING \w+ MEMORY ERROR|"
            r"[Uu]ncorrected (?:hardware )?memory error|Memory error not recovered|Probably bad RAM"
        ),
        "memory itself failed",
    ),
    (MEMORY, r"new suspected memory leaks", "memory of the kernel leaks"),
    *STORAGE,
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
        (
            r"dumped core|^Core dump to \||^Pid \d+\(.*\) over core_pipe_limit|"
            r"type=1701 .*\bsig=(?:4|6|7|8|11)\b|unhandled signal \d+ "
        ),
        "a process died: perhaps of a corrupted page",
    ),
)
"""Kind, expression, reason."""
