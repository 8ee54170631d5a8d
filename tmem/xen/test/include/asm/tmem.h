/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Fetching a PV guest's operation: the range is checked once, and every word may
 * still fault. See shim/guest.c.
 */
#ifndef SHIM_ASM_TMEM_H
#define SHIM_ASM_TMEM_H

#include <xen/types.h>

#define TMEM_OP_WORDS   7

bool shim_guest_word(const void *address, uint64_t *word);

static inline bool tmem_fetch_op(uint64_t to[TMEM_OP_WORDS], const void *from)
{
    const uint64_t *word = from;
    unsigned int i;
    bool read = (unsigned long)from < (1UL << 47);

    for ( i = 0; i < TMEM_OP_WORDS && read; i++ )
        read = shim_guest_word(&word[i], &to[i]);

    return read;
}

#endif
