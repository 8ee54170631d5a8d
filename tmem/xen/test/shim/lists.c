/* SPDX-License-Identifier: GPL-2.0-only */
/* Lists of frames; a frame is on one of them at most. */

#include "world.h"

bool page_list_empty(const struct page_list_head *head)
{
    return !head->next;
}

static void enlist(struct page_info *page)
{
    CHECK(!page->listed, "frame %lu is on two lists", mfn_x(page_to_mfn(page)));
    page->listed = true;
}

void page_list_add(struct page_info *page, struct page_list_head *head)
{
    enlist(page);
    page->prev = NULL;
    page->next = head->next;
    if ( head->next )
        head->next->prev = page;
    else
        head->tail = page;
    head->next = page;
}

void page_list_add_tail(struct page_info *page, struct page_list_head *head)
{
    enlist(page);
    page->next = NULL;
    page->prev = head->tail;
    if ( head->tail )
        head->tail->next = page;
    else
        head->next = page;
    head->tail = page;
}

void page_list_del(struct page_info *page, struct page_list_head *head)
{
    CHECK(page->listed, "frame %lu is on no list", mfn_x(page_to_mfn(page)));
    page->listed = false;
    if ( page->prev )
        page->prev->next = page->next;
    else
        head->next = page->next;
    if ( page->next )
        page->next->prev = page->prev;
    else
        head->tail = page->prev;
    page->next = page->prev = NULL;
}

struct page_info *page_list_remove_head(struct page_list_head *head)
{
    struct page_info *page = head->next;

    if ( page )
        page_list_del(page, head);

    return page;
}

void page_list_splice(struct page_list_head *from, struct page_list_head *head)
{
    struct page_info *page;

    while ( (page = from->tail) )
    {
        page_list_del(page, from);
        page_list_add(page, head);
    }
}

void tmem_link_frame(struct page_info *frame, struct page_info *next)
{
    enlist(frame);
    frame->next = next;
}

struct page_info *tmem_unlink_frame(struct page_info *frame)
{
    struct page_info *next = frame->next;

    CHECK(frame->listed, "frame %lu is not at hand", mfn_x(page_to_mfn(frame)));
    frame->listed = false;
    frame->next = NULL;

    return next;
}
