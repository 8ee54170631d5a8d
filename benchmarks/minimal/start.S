/* SPDX-License-Identifier: GPL-2.0-only */
/* What Xen needs to know of a paravirtual kernel, and where it begins. */

#define NOTE(type, kind, value)                 \
        .pushsection .note.Xen, "a", @note;     \
        .balign 4;                              \
        .long 4, 2f - 1f, type;                 \
        .asciz "Xen";                           \
1:      kind value;                             \
2:      .balign 4;                              \
        .popsection

        NOTE(6, .asciz, "minimal")              /* GUEST_OS */
        NOTE(5, .asciz, "xen-3.0")              /* XEN_VERSION */
        NOTE(8, .asciz, "generic")              /* LOADER */
        NOTE(3, .quad, VIRT_BASE)               /* VIRT_BASE */
        NOTE(4, .quad, VIRT_BASE)               /* PADDR_OFFSET: of the ELF's own */
        NOTE(1, .quad, start)                   /* ENTRY */
        NOTE(2, .quad, hypercall_page)          /* HYPERCALL_PAGE */

        .text
        .globl start, hypercall_page
        .balign 4096
hypercall_page:
        .skip 4096

start:
        cld
        lea stack_end(%rip), %rsp
        mov %rsi, %rdi                          /* struct start_info */
        xor %ebp, %ebp
        call run
        ud2

        .bss
        .balign 4096
        .skip 16384
stack_end:

        .section .note.GNU-stack, "", @progbits
