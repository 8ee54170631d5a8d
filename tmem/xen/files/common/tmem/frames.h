/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Transcendent memory: where frames come from and go to, and who gives way.
 */

#ifndef __TMEM_FRAMES_H__
#define __TMEM_FRAMES_H__

#include "account.h"

/* heap.c: what the heap asks, and claims on its memory. */
/* Changes the number of frames that could be given back at once. */
void tmem_spare_frames(int change);
/* Now, at least; less what claims have been asked for. Takes no lock. */
long tmem_spare_now(void);
/*
 * Before persistent content takes frames, with the client's lock: false when a
 * claim needs them. And once it has given them back.
 */
bool tmem_commit_frames(struct tmem_client *c, unsigned int nr);
void tmem_uncommit_frames(struct tmem_client *c, unsigned int nr);
/* Nothing is going to take what claims have been asked for. Lock held. */
void tmem_commit_nothing(struct tmem_client *c);
/* Whether they would be allowed now. Needs no lock. */
bool tmem_claims_allow(unsigned int nr);

/* frames.c */
/* The most that is evicted at a time for an allocation of Xen. */
#define TMEM_MOST_RELINQUISHED  1024
/*
 * Gives nr pages to the heap, without contents first, for an allocation that is
 * about to fail. False: nothing was there to go.
 */
bool tmem_give_way(unsigned int nr);
/*
 * Without the lock: frames for puts of this client, for pages that are
 * persistent or not. False: there are none to be had.
 */
bool tmem_refill(struct tmem_client *c, bool persistent);
/*
 * Without the lock: evicts so that the heap has pages for an index or, where it
 * would not give them, the client has one. False: nothing is left.
 */
bool tmem_make_index_room(struct tmem_client *c);
/* To the heap. */
void tmem_give_back(struct tmem_client *c, struct page_info *frame);
/*
 * Of a page that is to be overwritten, or read: whether its frame must not be
 * written to any more, or not even be read. Lock held.
 */
bool tmem_must_leave(const struct tmem_page *page);
bool tmem_is_lost(const struct tmem_page *page);
void tmem_drain_free(struct tmem_client *c);
/*
 * Gives up to nr frames back, of one client, or where it is NULL of all, as
 * their weights tell; *dropped of tmem's pages went for them. Both 0: nothing
 * is left.
 */
unsigned long tmem_flush_pages(struct tmem_client *only, unsigned long nr,
                               unsigned long *dropped);
void tmem_frames_stats(struct tmem_stats_global *g);

/* charge.c: what a domain pays for. Callers hold the client's lock. */
/*
 * For so many more frames of persistent content, and slabs of records, as are
 * about to be taken. False: more than the domain may have, or claims leave.
 */
bool tmem_charge(struct tmem_client *c, unsigned int contents,
                 unsigned int slabs);
/* After some of them have gone. */
void tmem_settle(struct tmem_client *c);
/* A frame of persistent content has become one at hand; it is settled later. */
static inline void tmem_content_gone(struct tmem_client *c)
{
    c->contents--;
    tmem_uncommit_frames(c, 1);
}

/* policy.c: who gives way. */
extern bool tmem_frozen;
/* Every client, shared pools included. In an RCU critical section. */
struct tmem_walk {
    const struct domain *domain;
    bool domains_done;
    unsigned int slot;
};
struct tmem_client *tmem_next_client(struct tmem_walk *w);
#define for_each_client(w, c) \
    for ( (w) = (struct tmem_walk){}; ((c) = tmem_next_client(&(w))); )
/* Whose oldest page gives way; NULL: nobody has any. In an RCU section. */
struct tmem_client *tmem_victim(void);
/*
 * Before a new ephemeral page: at its cap a client makes its own room, and over
 * it a page more. Lock held.
 */
void tmem_make_room(struct tmem_client *c);
long tmem_set(struct tmem_client *c, unsigned int setting, uint64_t value);
long tmem_set_all(unsigned int setting, uint64_t value);
void tmem_freeze_all(bool frozen);
/*
 * Who has a client's lock has let go of it when this returns: whatever the caller
 * has written before, everybody sees who has one from then on.
 */
void tmem_wait_for_all(void);

/* Frames at hand. */
static always_inline void tmem_keep_frame(struct tmem_client *c,
                                          struct page_info *frame)
{
    tmem_link_frame(frame, c->free);
    c->free = frame;
    add_sized(&c->nr_free, 1);
}

/*
 * Marked as broken, or to be taken offline. Xen does that when it gets the frame
 * back, so such a frame is never kept.
 */
static always_inline bool tmem_is_marked(const struct page_info *frame)
{
    BUILD_BUG_ON(PGC_state_inuse);

    return ACCESS_ONCE(frame->count_info) & (PGC_broken | PGC_state);
}

/* NULL: there is none. */
static always_inline struct page_info *tmem_take_frame(struct tmem_client *c)
{
    struct page_info *frame = c->free;

    if ( likely(frame) )
    {
        c->free = tmem_unlink_frame(frame);
        add_sized(&c->nr_free, -1);
    }

    return frame;
}

/* A frame without content: to keep, or for the heap. */
static always_inline void tmem_release_frame(struct tmem_client *c,
                                             struct page_info *frame)
{
    if ( likely(c->nr_free < TMEM_MAX_FREE && !c->dying) &&
         likely(!tmem_is_marked(frame)) )
        tmem_keep_frame(c, frame);
    else
        tmem_give_back(c, frame);
}

/* Whether there is a frame to take. One that was marked meanwhile is none. */
static always_inline bool tmem_has_frame(struct tmem_client *c)
{
    while ( c->free && unlikely(tmem_is_marked(c->free)) )
        tmem_give_back(c, tmem_take_frame(c));

    return c->free;
}

#endif /* __TMEM_FRAMES_H__ */

/*
 * Local variables:
 * mode: C
 * c-file-style: "BSD"
 * c-basic-offset: 4
 * tab-width: 4
 * indent-tabs-mode: nil
 * End:
 */
