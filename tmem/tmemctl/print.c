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

static void line(FILE *out, const struct field *f, size_t nr)
{
    for (size_t i = 0; i < nr; i++)
        fprintf(out, "%s%s:%" PRIu64, i ? "," : "", f[i].tag, f[i].value);
}

static void json(FILE *out, const struct field *f, size_t nr)
{
    const char *comma = "";

    for (size_t i = 0; i < nr; i++) {
        if (f[i].absent)
            continue;
        fprintf(out, "%s\"%s\":%" PRIu64, comma, f[i].tag, f[i].value);
        comma = ",";
    }
}

typedef void (*show_fn)(FILE *, const struct field *, size_t);

#define SHOW(out, show, ...) do {                                 \
        const struct field f_[] = { __VA_ARGS__ };                \
        (show)(out, f_, sizeof(f_) / sizeof(f_[0]));              \
    } while (0)

static void show_global(FILE *out, show_fn show, const struct tmem_stats_global *g)
{
    SHOW(out, show,
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

static void show_global_long(FILE *out, show_fn show, const struct tmem_stats_global *g)
{
    SHOW(out, show,
         LEVEL("Ec", "Em", g->ephemeral), LEVEL("Oc", "Om", g->objects),
         LEVEL("Nc", "Nm", g->nodes), LEVEL("Pc", "Pm", g->descriptors),
         LEVEL("Fc", "Fm", g->frames),
         LEVEL("Sc", "Sm", g->contents), { "Ep", g->ephemeral_puts, false },
         { "Gd", g->deduplicated, false }, { "Zt", g->short_bytes, false },
         { "Gz", g->lz4_bytes, false });
}

static void show_client(FILE *out, show_fn show, const struct tmem_stats_client *c)
{
    SHOW(out, show,
         { "CI", c->domid, false }, { "ww", c->weight, false },
         { "ca", c->cap, false }, { "co", c->compress, false },
         { "fr", c->frozen, false }, { "Tc", c->cycles, false },
         { "Ge", c->ephemeral_gets, false },
         { "Pp", c->persistent_puts, false },
         { "Gp", c->persistent_gets, false });
}

static void show_client_long(FILE *out, show_fn show, const struct tmem_stats_client *c)
{
    SHOW(out, show,
         LEVEL("Ec", "Em", c->ephemeral), { "cp", c->compressed, false },
         { "cb", c->compressed_bytes, false },
         { "cn", c->incompressible, false },
         { "cm", c->compress_refused, false });
}

static void show_pool(FILE *out, show_fn show, const struct tmem_stats_pool *p)
{
    SHOW(out, show,
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

static void print_times(FILE *out, const struct tmem_timing *t)
{
    fprintf(out, "T=");
    for (unsigned int i = 0; i < TMEM_NR_TIMES; i++)
        fprintf(out, "%s%cn:%" PRIu64 ",%ct:%" PRIu64 ",%cx:%" PRIu64 ",%cm:%" PRIu64,
               i ? "," : "", times[i], t[i].count, times[i], t[i].total,
               times[i], t[i].most, times[i], t[i].least);
    fprintf(out, "\n");
}

void print_lines(FILE *out, const struct reading *r, bool long_form)
{
    fprintf(out, "G=");
    show_global(out, line, &r->global);
    if (long_form) {
        fprintf(out, ",");
        show_global_long(out, line, &r->global);
    }
    fprintf(out, "\n");

    for (unsigned int i = 0; i < r->nr_clients; i++) {
        const struct client *c = &r->clients[i];

        fprintf(out, "C=");
        show_client(out, line, &c->stats);
        if (long_form) {
            fprintf(out, ",");
            show_client_long(out, line, &c->stats);
        }
        fprintf(out, "\n");
        for (unsigned int j = 0; long_form && j < c->nr_pools; j++) {
            const struct tmem_stats_pool *p = &c->pools[j];

            fprintf(out, "P=CI:%" PRIu64 ",PI:%" PRIu64 ",PT:%c%c,U0:%" PRIx64
                   ",U1:%" PRIx64 ",", c->stats.domid, p->id,
                   p->persistent ? 'P' : 'E', p->shared ? 'S' : 'P',
                   p->uuid[0], p->uuid[1]);
            show_pool(out, line, p);
            fprintf(out, "\n");
        }
    }
    for (unsigned int i = 0; long_form && i < r->nr_shared; i++) {
        const struct tmem_stats_shared *s = &r->shared[i];

        fprintf(out, "S=SI:%" PRIu64 ",PT:%c%c,U0:%" PRIx64 ",U1:%" PRIx64
               ",SC:%" PRIu64 ",", s->pool.id, s->pool.persistent ? 'P' : 'E',
               s->pool.shared ? 'S' : 'P', s->pool.uuid[0], s->pool.uuid[1],
               s->sharers);
        show_pool(out, line, &s->pool);
        fprintf(out, "\n");
    }
    if (long_form)
        print_times(out, r->global.time);
}

static void json_pool(FILE *out, const struct tmem_stats_pool *p)
{
    fprintf(out, "{\"PI\":%" PRIu64 ",\"PT\":\"%c%c\",\"U0\":\"%" PRIx64
           "\",\"U1\":\"%" PRIx64 "\",", p->id, p->persistent ? 'P' : 'E',
           p->shared ? 'S' : 'P', p->uuid[0], p->uuid[1]);
    show_pool(out, json, p);
    fprintf(out, "}");
}

static void json_shared(FILE *out, const struct tmem_stats_shared *s)
{
    fprintf(out, "{\"SI\":%" PRIu64 ",\"PT\":\"%c%c\",\"U0\":\"%" PRIx64
           "\",\"U1\":\"%" PRIx64 "\",\"SC\":%" PRIu64
           ",\"weight\":%" PRIu64 ",\"cap\":%" PRIu64 ",\"evicted\":%" PRIu64 ",",
           s->pool.id, s->pool.persistent ? 'P' : 'E',
           s->pool.shared ? 'S' : 'P', s->pool.uuid[0], s->pool.uuid[1],
           s->sharers, s->weight, s->cap, s->evicted);
    show_pool(out, json, &s->pool);
    fprintf(out, "}");
}

/* What only the JSON has: figures that the old lines have no tag for. */
static void json_client(FILE *out, const struct client *c)
{
    fprintf(out, "{");
    show_client(out, json, &c->stats);
    fprintf(out, ",");
    show_client_long(out, json, &c->stats);
    fprintf(out, ",\"ops\":%" PRIu64 ",\"errors\":%" PRIu64 ",\"evicted\":%" PRIu64
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
        fprintf(out, "%s", j ? "," : "");
        json_pool(out, &c->pools[j]);
    }
    fprintf(out, "]}");
}

void print_json(FILE *out, const struct reading *r)
{
    const struct tmem_timing *t = r->global.time;

    fprintf(out, "{\"version\":1,\"enabled\":%s,\"frozen\":%s,\"global\":{",
           r->global.enabled ? "true" : "false",
           r->global.frozen ? "true" : "false");
    show_global(out, json, &r->global);
    fprintf(out, ",");
    show_global_long(out, json, &r->global);
    fprintf(out, ",\"persistent\":%" PRIu64 ",\"persistent_most\":%" PRIu64
           ",\"broken_bounds\":%" PRIu64
           "},\"clients\":[", r->global.persistent.now,
           r->global.persistent.most, r->global.broken_bounds);
    for (unsigned int i = 0; i < r->nr_clients; i++) {
        fprintf(out, "%s", i ? "," : "");
        json_client(out, &r->clients[i]);
    }
    fprintf(out, "],\"shared\":[");
    for (unsigned int i = 0; i < r->nr_shared; i++) {
        fprintf(out, "%s", i ? "," : "");
        json_shared(out, &r->shared[i]);
    }
    fprintf(out, "],\"timings\":{");
    for (unsigned int i = 0; i < TMEM_NR_TIMES; i++) {
        fprintf(out, "%s\"%c\":{\"n\":%" PRIu64 ",\"t\":%" PRIu64, i ? "," : "",
               times[i], t[i].count, t[i].total);
        if (t[i].count)
            fprintf(out, ",\"x\":%" PRIu64 ",\"m\":%" PRIu64 "}", t[i].most,
                   t[i].least);
        else
            fprintf(out, ",\"x\":null,\"m\":null}");
    }
    fprintf(out, "}}\n");
}
