/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Transcendent memory: pages of equal content share a frame.
 *
 * For ephemeral pages of clients that opted in. The table of contents is
 * common to all of them: buckets of frames, by a hash that is keyed with a
 * secret, so that nobody can choose pages that meet in a bucket. A hash only
 * proposes; all 4096 bytes are compared before a frame is shared. A content
 * never changes while it is in the table.
 *
 * The references and the hash of a content are in its frame's page_info, in
 * u.tmem.sharers, which nobody else can touch, as a frame without an owner
 * gets neither references nor a type. So the data path allocates nothing.
 *
 * The buckets' locks are innermost: inside a client's.
 */

#include <xen/domain_page.h>
#include <xen/mm.h>
#include <xen/vmap.h>

#include "private.h"

#define WORDS           (PAGE_SIZE / sizeof(uint32_t))
#define NR_LOCKS        256
/* Contents that are looked at: more share a bucket only by great misfortune. */
#define MAX_CHAIN       64
/* Frames of the host for each bucket. */
#define FRAMES_A_BUCKET 16
#define REFERENCE       1UL
#define REFERENCES_MASK 0xffffffffUL
#define HASH_SHIFT      32

static struct page_list_head *__read_mostly buckets;
static unsigned int __read_mostly bucket_mask;
static uint32_t __read_mostly keys[WORDS];
static uint64_t __read_mostly last_key;
static DEFINE_SPINLOCK(enable_lock);
static spinlock_t locks[NR_LOCKS];
static atomic_t nr_contents = ATOMIC_INIT(0);

/* The table is made when it is first wanted, and then stays. */
int tmem_dedup_enable(void)
{
    unsigned long nr = 1024, i;
    struct page_list_head *table;

    if ( ACCESS_ONCE(buckets) )
        return 0;

    while ( nr < total_pages / FRAMES_A_BUCKET && nr < (1UL << 28) )
        nr *= 2;
    table = vzalloc(nr * sizeof(*table));
    if ( !table )
        return -ENOMEM;
    for ( i = 0; i < nr; i++ )
        INIT_PAGE_LIST_HEAD(&table[i]);

    spin_lock(&enable_lock);
    if ( !buckets )
    {
        for ( i = 0; i < WORDS; i++ )
            keys[i] = tmem_random();
        last_key = tmem_random() | 1;
        for ( i = 0; i < NR_LOCKS; i++ )
            spin_lock_init(&locks[i]);
        bucket_mask = nr - 1;
        smp_wmb();
        ACCESS_ONCE(buckets) = table;
        table = NULL;
    }
    spin_unlock(&enable_lock);
    vfree(table);

    return 0;
}

/*
 * The NH hash of UMAC: for two different pages chosen without knowing the
 * keys, the chance of equal sums is at most 2^-32, and hardly more after the
 * last step.
 */
uint32_t tmem_dedup_hash(const void *data)
{
    const uint32_t *word = data;
    uint64_t sum = 0;
    unsigned int i;

# pragma GCC unroll 8
    for ( i = 0; i < WORDS; i += 2 )
        sum += (uint64_t)(word[i] + keys[i]) *
               (uint32_t)(word[i + 1] + keys[i + 1]);

    return (sum * last_key) >> 32;
}

static uint32_t hash_of(const struct page_info *frame)
{
    return ACCESS_ONCE(frame->u.tmem.sharers) >> HASH_SHIFT;
}

static spinlock_t *lock_of(uint32_t hash)
{
    return &locks[hash & bucket_mask & (NR_LOCKS - 1)];
}

static bool same(struct page_info *frame, const void *data)
{
    const void *content = __map_domain_page(frame);
    bool equal = !memcmp(content, data, PAGE_SIZE);

    unmap_domain_page(content);

    return equal;
}

/*
 * A frame of this content, with a reference for the caller; or NULL. One that
 * Xen has marked is not read, and gets nobody more to wait for.
 */
struct page_info *tmem_dedup_find(uint32_t hash, const void *data)
{
    struct page_list_head *bucket = &buckets[hash & bucket_mask];
    struct page_info *frame, *found = NULL;
    unsigned int looked_at = 0;

    spin_lock(lock_of(hash));
    page_list_for_each ( frame, bucket )
    {
        if ( hash_of(frame) == hash &&
             (frame->u.tmem.sharers & REFERENCES_MASK) < REFERENCES_MASK &&
             !tmem_is_marked(frame) && same(frame, data) )
        {
            add_sized(&frame->u.tmem.sharers, REFERENCE);
            found = frame;
            break;
        }
        if ( ++looked_at == MAX_CHAIN )
            break;
    }
    spin_unlock(lock_of(hash));

    return found;
}

/* A frame with a new content; the caller has its only reference. */
void tmem_dedup_add(struct page_info *frame, uint32_t hash)
{
    ACCESS_ONCE(frame->u.tmem.sharers) =
        ((unsigned long)hash << HASH_SHIFT) | REFERENCE;
    atomic_inc(&nr_contents);
    spin_lock(lock_of(hash));
    page_list_add(frame, &buckets[hash & bucket_mask]);
    spin_unlock(lock_of(hash));
}

/* Gives a reference back; true: it was the last, the frame is the caller's. */
bool tmem_dedup_put(struct page_info *frame)
{
    /* The hash of a content that is referred to does not change. */
    uint32_t hash = hash_of(frame);
    bool last;

    spin_lock(lock_of(hash));
    add_sized(&frame->u.tmem.sharers, -REFERENCE);
    last = !(frame->u.tmem.sharers & REFERENCES_MASK);
    if ( last )
        page_list_del(frame, &buckets[hash & bucket_mask]);
    spin_unlock(lock_of(hash));

    if ( last )
    {
        ACCESS_ONCE(frame->u.tmem.sharers) = 0;
        atomic_dec(&nr_contents);
    }

    return last;
}

unsigned long tmem_dedup_frames(void)
{
    return atomic_read(&nr_contents);
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
