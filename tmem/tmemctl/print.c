/* SPDX-License-Identifier: MIT */
/*
 * What tmemctl prints: the lines of `xl tmem-list`, and the same as JSON.
 *
 * Both come from the same lists of tags. A tag that stands for something this
 * tmem does not have is left out of the JSON and is 0 in the lines, where old
 * parsers expect it.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "tmemctl.h"

struct field {
    char tag[3];
    uint64_t value;
    bool absent;
};

#define ABSENT(tag) { tag, 0, true }
#define LEVEL(now_tag, most_tag, level) \
    { now_tag, (level).now, false }, { most_tag, (level).most, false }

static void line(const struct field *f, size_t nr)
{
    for (size_t i = 0; i < nr; i++)
        printf("%s%s:%" PRIu64, i ? "," : "", f[i].tag, f[i].value);
}

static void json(const struct field *f, size_t nr)
{
    const char *comma = "";

    for (size_t i = 0; i < nr; i++) {
        if (f[i].absent)
            continue;
        printf("%s\"%s\":%" PRIu64, comma, f[i].tag, f[i].value);
        comma = ",";
    }
}

typedef void (*show_fn)(const struct field *, size_t);

#define SHOW(show, ...) do {                                      \
        const struct field f_[] = { __VA_ARGS__ };                \
        (show)(f_, sizeof(f_) / sizeof(f_[0]));                   \
    } while (0)

static void show_global(show_fn show, const struct tmem_stats_global *g)
{
    SHOW(show,
         { "Tt", g->ops, false }, { "Te", g->errors, false },
         { "Cf", g->failed_copies, false },
         { "Af", g->ephemeral_refused, false },
         { "Pf", g->persistent_refused, false },
         { "Ta", g->free_frames, false }, { "Lm", g->low_memory, false },
         { "Et", g->evicted, false }, { "Ea", g->evict_attempts, false },
         { "Rt", g->relinquished, false },
         { "Ra", g->relinquish_attempts, false },
         { "Rx", g->relinquish_most, false },
         { "Fp", g->pools_flushed, false });
}

static void show_global_long(show_fn show, const struct tmem_stats_global *g)
{
    SHOW(show,
         LEVEL("Ec", "Em", g->ephemeral), LEVEL("Oc", "Om", g->objects),
         LEVEL("Nc", "Nm", g->nodes), LEVEL("Pc", "Pm", g->descriptors),
         LEVEL("Fc", "Fm", g->frames),
         LEVEL("Sc", "Sm", g->contents), { "Ep", g->ephemeral_puts, false },
         { "Gd", g->deduplicated, false }, { "Zt", g->short_bytes, false },
         { "Gz", g->lz4_bytes, false });
}

static void show_client(show_fn show, const struct tmem_stats_client *c)
{
    SHOW(show,
         { "CI", c->domid, false }, { "ww", c->weight, false },
         { "ca", c->cap, false }, { "co", c->compress, false },
         { "fr", c->frozen, false }, { "Tc", c->cycles, false },
         { "Ge", c->ephemeral_gets, false },
         { "Pp", c->persistent_puts, false },
         { "Gp", c->persistent_gets, false });
}

static void show_client_long(show_fn show, const struct tmem_stats_client *c)
{
    SHOW(show,
         LEVEL("Ec", "Em", c->ephemeral), { "cp", c->compressed, false },
         { "cb", c->compressed_bytes, false },
         { "cn", c->incompressible, false },
         { "cm", c->compress_refused, false });
}

static void show_pool(show_fn show, const struct tmem_stats_pool *p)
{
    SHOW(show,
         LEVEL("Pc", "Pm", p->pages), LEVEL("Oc", "Om", p->objects),
         ABSENT("Nc"), ABSENT("Nm"),
         { "ps", p->puts, false }, { "pt", p->puts_tried, false },
         { "px", p->puts_refused, false },
         { "pd", p->dup_flushed, false }, { "pr", p->dup_replaced, false },
         { "gs", p->gets, false }, { "gt", p->gets_tried, false },
         { "fs", p->flushes, false }, { "ft", p->flushes_tried, false },
         { "os", p->object_flushes, false },
         { "ot", p->object_flushes_tried, false });
}

/* In the order of TMEM_TIME_*. */
static const char times[TMEM_NR_TIMES + 1] = "GPgpFOCcdS";

static void print_times(const struct tmem_timing *t)
{
    printf("T=");
    for (unsigned int i = 0; i < TMEM_NR_TIMES; i++)
        printf("%s%cn:%" PRIu64 ",%ct:%" PRIu64 ",%cx:%" PRIu64 ",%cm:%" PRIu64,
               i ? "," : "", times[i], t[i].count, times[i], t[i].total,
               times[i], t[i].most, times[i], t[i].least);
    printf("\n");
}

void print_lines(const struct reading *r, bool long_form)
{
    printf("G=");
    show_global(line, &r->global);
    if (long_form) {
        printf(",");
        show_global_long(line, &r->global);
    }
    printf("\n");

    for (unsigned int i = 0; i < r->nr_clients; i++) {
        const struct client *c = &r->clients[i];

        printf("C=");
        show_client(line, &c->stats);
        if (long_form) {
            printf(",");
            show_client_long(line, &c->stats);
        }
        printf("\n");
        for (unsigned int j = 0; long_form && j < c->nr_pools; j++) {
            const struct tmem_stats_pool *p = &c->pools[j];

            printf("P=CI:%" PRIu64 ",PI:%" PRIu64 ",PT:%c%c,U0:%" PRIx64
                   ",U1:%" PRIx64 ",", c->stats.domid, p->id,
                   p->persistent ? 'P' : 'E', p->shared ? 'S' : 'P',
                   p->uuid[0], p->uuid[1]);
            show_pool(line, p);
            printf("\n");
        }
    }
    for (unsigned int i = 0; long_form && i < r->nr_shared; i++) {
        const struct tmem_stats_shared *s = &r->shared[i];

        printf("S=SI:%" PRIu64 ",PT:%c%c,U0:%" PRIx64 ",U1:%" PRIx64
               ",SC:%" PRIu64 ",", s->pool.id, s->pool.persistent ? 'P' : 'E',
               s->pool.shared ? 'S' : 'P', s->pool.uuid[0], s->pool.uuid[1],
               s->sharers);
        show_pool(line, &s->pool);
        printf("\n");
    }
    if (long_form)
        print_times(r->global.time);
}

static void json_pool(const struct tmem_stats_pool *p)
{
    printf("{\"PI\":%" PRIu64 ",\"PT\":\"%c%c\",\"U0\":\"%" PRIx64
           "\",\"U1\":\"%" PRIx64 "\",", p->id, p->persistent ? 'P' : 'E',
           p->shared ? 'S' : 'P', p->uuid[0], p->uuid[1]);
    show_pool(json, p);
    printf("}");
}

static void json_shared(const struct tmem_stats_shared *s)
{
    printf("{\"SI\":%" PRIu64 ",\"PT\":\"%c%c\",\"U0\":\"%" PRIx64
           "\",\"U1\":\"%" PRIx64 "\",\"SC\":%" PRIu64
           ",\"weight\":%" PRIu64 ",\"cap\":%" PRIu64 ",\"evicted\":%" PRIu64 ",",
           s->pool.id, s->pool.persistent ? 'P' : 'E',
           s->pool.shared ? 'S' : 'P', s->pool.uuid[0], s->pool.uuid[1],
           s->sharers, s->weight, s->cap, s->evicted);
    show_pool(json, &s->pool);
    printf("}");
}

/* What only the JSON has: figures that the old lines have no tag for. */
static void json_client(const struct client *c)
{
    printf("{");
    show_client(json, &c->stats);
    printf(",");
    show_client_long(json, &c->stats);
    printf(",\"ops\":%" PRIu64 ",\"errors\":%" PRIu64 ",\"evicted\":%" PRIu64
           ",\"free_frames\":%" PRIu64 ",\"persistent\":%" PRIu64
           ",\"persistent_most\":%" PRIu64 ",\"objects\":%" PRIu64
           ",\"nodes\":%" PRIu64 ",\"descriptors\":%" PRIu64
           ",\"frames\":%" PRIu64 ",\"dedup\":%" PRIu64
           ",\"deduplicated\":%" PRIu64 ",\"short_bytes\":%" PRIu64
           ",\"lz4_bytes\":%" PRIu64 ",\"pools\":[",
           c->stats.ops, c->stats.errors, c->stats.evicted,
           c->stats.free_frames, c->stats.persistent.now,
           c->stats.persistent.most, c->stats.objects.now,
           c->stats.nodes.now, c->stats.descriptors, c->stats.frames.now,
           c->stats.dedup, c->stats.deduplicated, c->stats.short_bytes,
           c->stats.lz4_bytes);
    for (unsigned int j = 0; j < c->nr_pools; j++) {
        printf("%s", j ? "," : "");
        json_pool(&c->pools[j]);
    }
    printf("]}");
}

void print_json(const struct reading *r)
{
    const struct tmem_timing *t = r->global.time;

    printf("{\"version\":1,\"enabled\":%s,\"frozen\":%s,\"global\":{",
           r->global.enabled ? "true" : "false",
           r->global.frozen ? "true" : "false");
    show_global(json, &r->global);
    printf(",");
    show_global_long(json, &r->global);
    printf(",\"persistent\":%" PRIu64 ",\"persistent_most\":%" PRIu64
           ",\"broken_bounds\":%" PRIu64
           "},\"clients\":[", r->global.persistent.now,
           r->global.persistent.most, r->global.broken_bounds);
    for (unsigned int i = 0; i < r->nr_clients; i++) {
        printf("%s", i ? "," : "");
        json_client(&r->clients[i]);
    }
    printf("],\"shared\":[");
    for (unsigned int i = 0; i < r->nr_shared; i++) {
        printf("%s", i ? "," : "");
        json_shared(&r->shared[i]);
    }
    printf("],\"timings\":{");
    for (unsigned int i = 0; i < TMEM_NR_TIMES; i++) {
        printf("%s\"%c\":{\"n\":%" PRIu64 ",\"t\":%" PRIu64, i ? "," : "",
               times[i], t[i].count, t[i].total);
        if (t[i].count)
            printf(",\"x\":%" PRIu64 ",\"m\":%" PRIu64 "}", t[i].most,
                   t[i].least);
        else
            printf(",\"x\":null,\"m\":null}");
    }
    printf("}}\n");
}
