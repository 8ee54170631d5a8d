// SPDX-License-Identifier: GPL-2.0
/*
 * debugfs tmem/counters: what was asked of Xen and how it was answered, one count a line.
 *
 * Cycles are not counted here. Xen counts them per guest, and where it emulates the time stamp
 * counter a reading costs a trap, which is more than some of the operations.
 */
#include <linux/debugfs.h>
#include <linux/kernel.h>
#include <linux/module.h>
#include <linux/percpu.h>
#include <linux/seq_file.h>

#include "tmem.h"

static const char * const kinds[TMEM_KINDS] = {
	[TMEM_EPHEMERAL] = "ephemeral",
	[TMEM_PERSISTENT] = "persistent",
};

static const char * const verbs[TMEM_VERBS] = {
	[TMEM_VERB_PUT] = "put",
	[TMEM_VERB_GET] = "get",
	[TMEM_VERB_FLUSH_PAGE] = "flush_page",
	[TMEM_VERB_FLUSH_OBJECT] = "flush_object",
};

static const char * const outcomes[TMEM_OUTCOMES] = {
	[TMEM_DONE] = "done",
	[TMEM_MISSED] = "missed",
	[TMEM_NO_MEMORY] = "no_memory",
	[TMEM_FROZEN] = "frozen",
	[TMEM_FAILED] = "failed",
};

static bool possible(unsigned int verb, unsigned int outcome)
{
	switch (outcome) {
	case TMEM_MISSED:
		return verb == TMEM_VERB_GET;
	case TMEM_NO_MEMORY:
		return verb != TMEM_VERB_GET;
	default:
		return true;
	}
}

static int counters_show(struct seq_file *file, void *unused)
{
	unsigned int kind, verb, outcome;

	for (kind = 0; kind < TMEM_KINDS; kind++)
		for (verb = 0; verb < TMEM_VERBS; verb++)
			for (outcome = 0; outcome < TMEM_OUTCOMES; outcome++)
				if (possible(verb, outcome))
					seq_printf(file, "%s.%s.%s %llu\n", kinds[kind],
						   verbs[verb], outcomes[outcome],
						   tmem_count(kind, verb, outcome));
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(counters);

#ifdef TMEM_HOOKS
/* Of folios that have more than one page. */
static int folios_show(struct seq_file *file, void *unused)
{
	struct tmem_folio_counts sum = { 0 };
	unsigned int cpu;

	for_each_possible_cpu(cpu) {
		const struct tmem_folio_counts *counts = per_cpu_ptr(&tmem_folio_counts, cpu);

		sum.puts += counts->puts;
		sum.hits += counts->hits;
		sum.partial += counts->partial;
		sum.swap_puts += counts->swap_puts;
		sum.swap_hits += counts->swap_hits;
		sum.swap_undone += counts->swap_undone;
	}
	seq_printf(file, "puts %lu\nhits %lu\npartial %lu\n", sum.puts, sum.hits, sum.partial);
	seq_printf(file, "swap_puts %lu\nswap_hits %lu\nswap_undone %lu\n",
		   sum.swap_puts, sum.swap_hits, sum.swap_undone);
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(folios);
#endif

static struct dentry *directory;

void tmem_stats_init(void)
{
	directory = debugfs_create_dir("tmem", NULL);
	debugfs_create_file("counters", 0444, directory, NULL, &counters_fops);
#ifdef TMEM_HOOKS
	debugfs_create_file("folios", 0444, directory, NULL, &folios_fops);
#endif
}

void tmem_stats_exit(void)
{
	debugfs_remove_recursive(directory);
}
