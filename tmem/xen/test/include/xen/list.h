/* SPDX-License-Identifier: GPL-2.0-only */
/* Doubly linked lists under Xen's names. Deleting twice is caught. */
#ifndef SHIM_LIST_H
#define SHIM_LIST_H

#include <xen/lib.h>

struct list_head {
    struct list_head *next, *prev;
};

#define LIST_HEAD_INIT(name)        { &(name), &(name) }
#define LIST_HEAD(name)             struct list_head name = LIST_HEAD_INIT(name)

static inline void INIT_LIST_HEAD(struct list_head *head)
{
    head->next = head->prev = head;
}

static inline void list_check(const struct list_head *entry)
{
    if ( !entry->next || !entry->prev || entry->next->prev != entry ||
         entry->prev->next != entry )
        shim_fail(__FILE__, __LINE__, "list entry %p is on no list, or its list is broken", (const void *)entry);
}

static inline void list_insert(struct list_head *entry, struct list_head *after)
{
    list_check(after);
    entry->prev = after;
    entry->next = after->next;
    after->next->prev = entry;
    after->next = entry;
}

static inline void list_add(struct list_head *entry, struct list_head *head)
{
    list_insert(entry, head);
}

static inline void list_add_tail(struct list_head *entry, struct list_head *head)
{
    list_insert(entry, head->prev);
}

static inline void list_del(struct list_head *entry)
{
    list_check(entry);
    entry->prev->next = entry->next;
    entry->next->prev = entry->prev;
    entry->next = entry->prev = NULL;
}

static inline void list_del_init(struct list_head *entry)
{
    list_del(entry);
    INIT_LIST_HEAD(entry);
}

static inline void __list_del(struct list_head *prev, struct list_head *next)
{
    if ( prev->next->prev != prev || next->prev->next != next )
        shim_fail(__FILE__, __LINE__, "list entries %p and %p have no neighbour", (const void *)prev, (const void *)next);
    prev->next = next;
    next->prev = prev;
}

static inline void list_move(struct list_head *entry, struct list_head *head)
{
    list_del(entry);
    list_add(entry, head);
}

static inline void list_move_tail(struct list_head *entry, struct list_head *head)
{
    list_del(entry);
    list_add_tail(entry, head);
}

static inline bool list_empty(const struct list_head *head)
{
    return head->next == head;
}

static inline bool list_is_singular(const struct list_head *head)
{
    return !list_empty(head) && head->next == head->prev;
}

static inline void list_splice_init(struct list_head *from, struct list_head *head)
{
    while ( !list_empty(from) )
        list_move(from->prev, head);
}

#define list_entry(p, type, member)         container_of(p, type, member)
#define list_first_entry(p, type, member)   list_entry((p)->next, type, member)
#define list_last_entry(p, type, member)    list_entry((p)->prev, type, member)
#define list_first_entry_or_null(p, type, member) \
    (list_empty(p) ? NULL : list_first_entry(p, type, member))
#define list_for_each(pos, head) \
    for ( pos = (head)->next; pos != (head); pos = pos->next )
#define list_for_each_entry(pos, head, member)                              \
    for ( pos = list_entry((head)->next, typeof(*pos), member);             \
          &pos->member != (head);                                           \
          pos = list_entry(pos->member.next, typeof(*pos), member) )
#define list_for_each_entry_safe(pos, n, head, member)                      \
    for ( pos = list_entry((head)->next, typeof(*pos), member),             \
          n = list_entry(pos->member.next, typeof(*pos), member);           \
          &pos->member != (head);                                           \
          pos = n, n = list_entry(n->member.next, typeof(*n), member) )

struct hlist_node {
    struct hlist_node *next, **pprev;
};

struct hlist_head {
    struct hlist_node *first;
};

#define HLIST_HEAD_INIT             { NULL }
#define INIT_HLIST_HEAD(head)       ((void)((head)->first = NULL))
#define INIT_HLIST_NODE(node)       ((void)((node)->next = NULL, (node)->pprev = NULL))
#define hlist_entry(p, type, member)        container_of(p, type, member)

static inline bool hlist_empty(const struct hlist_head *head)
{
    return !head->first;
}

static inline bool hlist_unhashed(const struct hlist_node *node)
{
    return !node->pprev;
}

static inline void hlist_add_head(struct hlist_node *node, struct hlist_head *head)
{
    node->next = head->first;
    if ( node->next )
        node->next->pprev = &node->next;
    head->first = node;
    node->pprev = &head->first;
}

static inline void hlist_del(struct hlist_node *node)
{
    if ( !node->pprev || *node->pprev != node )
        shim_fail(__FILE__, __LINE__, "hlist node %p is on no list", (const void *)node);
    *node->pprev = node->next;
    if ( node->next )
        node->next->pprev = node->pprev;
    node->next = NULL;
    node->pprev = NULL;
}

static inline void __hlist_del(struct hlist_node *node)
{
    hlist_del(node);
}

static inline void hlist_del_init(struct hlist_node *node)
{
    hlist_del(node);
}

#define hlist_for_each_entry_shim(pos, type, head, member)                  \
    for ( pos = (head)->first ? hlist_entry((head)->first, type, member) : NULL; \
          pos;                                                              \
          pos = pos->member.next ? hlist_entry(pos->member.next, type, member) : NULL )

#endif
