/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * In the place of LZ4, whose sources are not in this repository: it makes pages
 * of repeated words smaller, keeps to the same bounds, and is as strict with
 * what it is given to decompress. What a page is packed into is a list of runs:
 * two bytes of length, and a word.
 */
#ifndef SHIM_LZ4_H
#define SHIM_LZ4_H

#define LZ4_MEMORY_USAGE            12
#define LZ4_MEM_COMPRESS            (1 << LZ4_MEMORY_USAGE)
#define LZ4_RUN                     (sizeof(uint16_t) + sizeof(uint64_t))

static inline int LZ4_compress_fast(const char *from, char *to, int bytes, int room,
                                    int acceleration, void *state)
{
    int in = 0, out = 0;

    /* All of it may be written to. */
    memset(state, 0x5a, LZ4_MEM_COMPRESS);
    while ( in < bytes )
    {
        uint16_t run = 1;

        if ( bytes - in < (int)sizeof(uint64_t) || room - out < (int)LZ4_RUN )
            return 0;
        while ( in + (run + 1) * (int)sizeof(uint64_t) <= bytes &&
                !memcmp(from + in, from + in + run * sizeof(uint64_t), sizeof(uint64_t)) )
            run++;
        memcpy(to + out, &run, sizeof(run));
        memcpy(to + out + sizeof(run), from + in, sizeof(uint64_t));
        in += run * sizeof(uint64_t);
        out += LZ4_RUN;
    }

    return out;
}

static inline int LZ4_decompress_safe(const char *from, char *to, int bytes, int room)
{
    int in, out = 0;

    for ( in = 0; in < bytes; in += LZ4_RUN )
    {
        uint16_t run;

        if ( bytes - in < (int)LZ4_RUN )
            return -1;
        memcpy(&run, from + in, sizeof(run));
        for ( ; run; run--, out += sizeof(uint64_t) )
        {
            if ( room - out < (int)sizeof(uint64_t) )
                return -1;
            memcpy(to + out, from + in + sizeof(run), sizeof(uint64_t));
        }
    }

    return out;
}

#endif
