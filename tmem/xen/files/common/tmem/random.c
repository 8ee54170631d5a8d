/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Transcendent memory: secrets.
 *
 * Guests choose what is hashed, so what hashes are keyed with must not be
 * guessed. get_random() gives what the processor's generator gives. Without one
 * (RDRAND) it goes on from 32 bits, which can be tried one after the other.
 *
 * So here is a pool, 512 bits, that secrets are drawn from, and into which goes
 * whatever nobody else knows well: many words of get_random(), and the cycle
 * counter at boot, whenever a client gets frames, and at each draw. What comes
 * with frames is gathered beside the pool, since a put waits for it, and goes in
 * before the next draw. The pool is mixed by ChaCha's permutation (D. Bernstein, 2008) as a sponge: one half takes and
 * gives, the other is never seen, so that from secrets the others can't be
 * computed, nor from what went in later those that were drawn before.
 *
 * What that guarantees: with a generator in the processor, a secret is as good
 * as 64 bits of it. Without, that many bits can't be promised: it is as hard to
 * guess as the cycle counts are, to the cycle, of all that went in since boot;
 * and unlike a sequence from 32 bits, it does not tell the next one.
 */

#include <xen/bitops.h>
#include <xen/init.h>
#include <xen/random.h>
#include <xen/spinlock.h>
#include <xen/time.h>

#include "private.h"

#define WORDS           16
#define SAMPLES_AT_BOOT 256

static DEFINE_SPINLOCK(random_lock);
static uint32_t pool[WORDS];

/* Of the cycle counter, as many as one half of the pool takes. */
static uint64_t gathered[WORDS / 4];
static unsigned int nr_gathered;

static void quarter(unsigned int a, unsigned int b, unsigned int c,
                    unsigned int d)
{
    pool[a] += pool[b];
    pool[d] = rol32(pool[d] ^ pool[a], 16);
    pool[c] += pool[d];
    pool[b] = rol32(pool[b] ^ pool[c], 12);
    pool[a] += pool[b];
    pool[d] = rol32(pool[d] ^ pool[a], 8);
    pool[c] += pool[d];
    pool[b] = rol32(pool[b] ^ pool[c], 7);
}

static void mix(void)
{
    unsigned int i;

    /* Or the permutation of zeros would be zeros. */
    pool[WORDS - 1] ^= 0x746d656d;
    for ( i = 0; i < 10; i++ )
    {
        quarter(0, 4, 8, 12);
        quarter(1, 5, 9, 13);
        quarter(2, 6, 10, 14);
        quarter(3, 7, 11, 15);
        quarter(0, 5, 10, 15);
        quarter(1, 6, 11, 12);
        quarter(2, 7, 8, 13);
        quarter(3, 4, 9, 14);
    }
}

static void absorb(void)
{
    uint64_t cycles = rdtsc(), now = NOW();

    ASSERT(spin_is_locked(&random_lock));

    pool[0] ^= cycles;
    pool[1] ^= cycles >> 32;
    pool[2] ^= now;
    pool[3] ^= get_random();
    pool[4] ^= get_random();
    mix();
}

static void absorb_gathered(void)
{
    unsigned int i;

    ASSERT(spin_is_locked(&random_lock));

    for ( i = 0; i < ARRAY_SIZE(gathered); i++ )
    {
        pool[2 * i] ^= gathered[i];
        pool[2 * i + 1] ^= gathered[i] >> 32;
    }
    mix();
}

void tmem_stir(void)
{
    uint64_t *slot;

    /* Who is in there stirs as well. */
    if ( !spin_trylock(&random_lock) )
        return;
    slot = &gathered[nr_gathered++ % ARRAY_SIZE(gathered)];
    *slot = ((*slot << 11) | (*slot >> 53)) ^ rdtsc();
    spin_unlock(&random_lock);
}

uint64_t tmem_random(void)
{
    uint64_t drawn;

    spin_lock(&random_lock);
    absorb_gathered();
    absorb();
    drawn = ((uint64_t)pool[0] << 32) | pool[1];
    /* Not to be found there later. */
    mix();
    spin_unlock(&random_lock);

    return drawn;
}

static int __init cf_check random_init(void)
{
    unsigned int i;

    spin_lock(&random_lock);
    for ( i = 0; opt_tmem && i < SAMPLES_AT_BOOT; i++ )
        absorb();
    spin_unlock(&random_lock);

    return 0;
}
__initcall(random_init);

/*
 * Local variables:
 * mode: C
 * c-file-style: "BSD"
 * c-basic-offset: 4
 * tab-width: 4
 * indent-tabs-mode: nil
 * End:
 */
