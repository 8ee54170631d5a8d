/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Transcendent memory: what persistent pages cost their domain.
 *
 * Nobody can take back what they take, so the domain is charged for it, and has
 * no more of it than its max_pages allow: for each frame of content, be it one
 * page's or full of chunks, and for each slab of their records, however few of
 * its entries are left in use. What records need besides goes with the slabs:
 * buckets take up to 11 bytes for an entry (index.c), so those of six slabs up
 * to a page.
 *
 * Pages that have a frame each have paid for their records by that, as long as
 * these are no more than usual: plain pages count for as many as they are.
 *
 * What is held without being charged is the same for all: the roots of an
 * index, and what is at hand for the next put, frames of which go back first
 * when memory is short. So, but for that, a domain never holds more than 17/16
 * of what it is charged.
 */

#include <xen/sched.h>

#include "private.h"

/* Frames of content that have paid for a page of the index. */
#define CONTENTS_AN_INDEX_PAGE  16
/* Slabs whose entries' buckets take up to a page. */
#define SLABS_A_BUCKET_PAGE     6

static unsigned long due(unsigned long contents, unsigned long slabs)
{
    unsigned long index = slabs + slabs / SLABS_A_BUCKET_PAGE;
    unsigned long paid = DIV_ROUND_UP(contents, CONTENTS_AN_INDEX_PAGE);

    return contents + (index > paid ? index - paid : 0);
}

static bool take(struct domain *d, unsigned long pages)
{
    bool room;

    nrspin_lock(&d->page_alloc_lock);
    room = domain_tot_pages(d) + pages <= d->max_pages;
    if ( room && domain_adjust_tot_pages(d, pages) == pages )
        get_knownalive_domain(d);
    nrspin_unlock(&d->page_alloc_lock);

    return room;
}

static void give(struct domain *d, unsigned long pages)
{
    bool last;

    nrspin_lock(&d->page_alloc_lock);
    last = !domain_adjust_tot_pages(d, -(long)pages);
    nrspin_unlock(&d->page_alloc_lock);
    if ( last )
        put_domain(d);
}

bool tmem_charge(struct tmem_client *c, unsigned int contents,
                 unsigned int slabs)
{
    unsigned long now = due(c->contents + contents,
                            c->slabs[TMEM_SLAB_PERSISTENT].nr + slabs);

    ASSERT(spin_is_locked(&c->lock));

    if ( !tmem_commit_frames(c, contents) )
        return false;
    if ( now > c->charged )
    {
        if ( !take(c->domain, now - c->charged) )
        {
            tmem_uncommit_frames(c, contents);
            return false;
        }
    }
    else if ( now < c->charged )
        give(c->domain, c->charged - now);
    c->contents += contents;
    c->charged = now;

    return true;
}

void tmem_settle(struct tmem_client *c)
{
    unsigned long now = due(c->contents, c->slabs[TMEM_SLAB_PERSISTENT].nr);

    ASSERT(spin_is_locked(&c->lock));
    /* Whatever goes, the rest never costs more than all did. */
    ASSERT(now <= c->charged);

    if ( now >= c->charged )
        return;
    give(c->domain, c->charged - now);
    c->charged = now;
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
