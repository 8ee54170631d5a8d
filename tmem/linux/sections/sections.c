// SPDX-License-Identifier: GPL-2.0
/*
 * Memory hot-plug for paravirtual Xen guests: what a section of memory that Linux takes offline
 * held is Xen's from then on, and a section that comes online gets its memory from Xen first.
 *
 * Linux does the work: a section is taken offline through /sys/devices/system/memory, which
 * isolates it, migrates what lies in it, and fails when something cannot be moved. This module is
 * told of each (MEM_OFFLINE, MEM_GOING_ONLINE) and gives frames back, or asks for them. Page
 * tables and struct pages of a section stay: they are not removed from a paravirtual guest.
 *
 * A guest that was made with less memory than it may have has its other pages in the balloon.
 * They are taken from it when the module is loaded, so that the sections that they fill can be
 * taken offline, and come online with memory. The balloon must not move from then on: nobody
 * sets the domain's target.
 *
 * /proc/sections tells a script what dom0 wants: a read waits until memory/sections of the
 * domain's part of xenstore has changed, and returns it, in KiB.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/bitmap.h>
#include <linux/errno.h>
#include <linux/highmem.h>
#include <linux/memory.h>
#include <linux/memory_hotplug.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/proc_fs.h>
#include <linux/slab.h>
#include <linux/uaccess.h>
#include <linux/vmalloc.h>
#include <linux/wait.h>

#include <asm/xen/page.h>
#include <xen/balloon.h>
#include <xen/mem-reservation.h>
#include <xen/xen.h>
#include <xen/xenbus.h>

#define BATCH	256
#define NODE	"memory/sections"

/* Frame number -> it has no memory: it was the balloon's, or its section is offline. */
static unsigned long *away;
static unsigned long frames;
static xen_pfn_t batch[BATCH];	/* the memory notifier is called by one at a time */

static unsigned long given, taken, refused;
module_param(given, ulong, 0444);
MODULE_PARM_DESC(given, "Pages that sections gave to Xen");
module_param(taken, ulong, 0444);
MODULE_PARM_DESC(taken, "Pages that sections got from Xen");
module_param(refused, ulong, 0444);
MODULE_PARM_DESC(refused, "Times that Xen had no memory for a section");
static char empty[512];
module_param_string(empty, empty, sizeof(empty), 0444);
MODULE_PARM_DESC(empty, "Sections without any memory when the module was loaded, with commas between them");

/* --- Memory ---------------------------------------------------------------------------------- */

/* Xen flushes what processors may still have of the frames before anybody else gets them. */
static void give_batch(struct page **pages, unsigned int count)
{
	unsigned int i;
	int rc;

	for (i = 0; i < count; i++) {
		clear_highpage(pages[i]);
		batch[i] = pfn_to_gfn(page_to_pfn(pages[i]));
	}
	xenmem_reservation_va_mapping_reset(count, pages);
	rc = xenmem_reservation_decrease(count, batch);
	if (rc != count)
		pr_err("Xen took %d of %u pages\n", rc, count);
	for (i = 0; i < count; i++)
		set_bit(page_to_pfn(pages[i]), away);
	given += count;
}

static void give(unsigned long start, unsigned long count)
{
	struct page *pages[32];
	unsigned int filled = 0;
	unsigned long pfn;

	for (pfn = start; pfn < start + count; pfn++) {
		if (test_bit(pfn, away))
			continue;
		pages[filled++] = pfn_to_page(pfn);
		if (filled == ARRAY_SIZE(pages)) {
			give_batch(pages, filled);
			filled = 0;
		}
	}
	if (filled)
		give_batch(pages, filled);
}

/* Memory for these frames, all of which have none. Returns how many got some. */
static unsigned long take(unsigned long start, unsigned long count)
{
	unsigned long done = 0;

	while (done < count) {
		unsigned int wanted = min_t(unsigned long, count - done, BATCH), i;
		int rc;

		for (i = 0; i < wanted; i++)
			batch[i] = start + done + i;
		rc = xenmem_reservation_increase(wanted, batch);
		if (rc <= 0)
			break;
		for (i = 0; i < rc; i++) {
			struct page *page = pfn_to_page(start + done + i);

			xenmem_reservation_va_mapping_update(1, &page, &batch[i]);
			clear_bit(start + done + i, away);
		}
		done += rc;
		taken += rc;
		if (rc < wanted)
			break;
	}
	return done;
}

/*
 * Pages of the balloon's in a section that is to go offline: an extra reference keeps them from
 * being isolated, and the kernel subtracts the whole section from the managed pages, of which
 * they are none.
 */
static void let_go(unsigned long start, unsigned long count, bool go)
{
	unsigned long pfn = start, found = 0;

	for_each_set_bit_from(pfn, away, start + count) {
		if (go)
			page_ref_dec(pfn_to_page(pfn));
		else
			page_ref_inc(pfn_to_page(pfn));
		found++;
	}
	if (found)
		adjust_managed_page_count(pfn_to_page(start), go ? found : -(long)found);
}

static int changed(struct notifier_block *block, unsigned long action, void *data)
{
	struct memory_notify *what = data;
	unsigned long start = what->start_pfn, count = what->nr_pages, got;

	if (start + count > frames)
		return NOTIFY_OK;
	switch (action) {
	case MEM_GOING_OFFLINE:
		let_go(start, count, true);
		break;
	case MEM_CANCEL_OFFLINE:
		let_go(start, count, false);
		break;
	case MEM_OFFLINE:
		give(start, count);
		break;
	case MEM_GOING_ONLINE:
		got = take(start, count);
		if (got < count) {
			give(start, got);
			refused++;
			return notifier_from_errno(-ENOMEM);
		}
		break;
	case MEM_CANCEL_ONLINE:
		give(start, count);
		break;
	}
	return NOTIFY_OK;
}

static struct notifier_block notifier = { .notifier_call = changed };

/* The pages that the balloon has become ours, marked as what a driver keeps from the kernel. */
static int __init adopt(void)
{
	unsigned long count = balloon_stats.balloon_low + balloon_stats.balloon_high, i;
	struct page **pages;
	int rc;

	if (!count)
		return 0;
	pages = kvmalloc_array(count, sizeof(*pages), GFP_KERNEL);
	if (!pages)
		return -ENOMEM;
	rc = alloc_xenballooned_pages(count, pages);
	for (i = 0; !rc && i < count; i++) {
		ClearPageReserved(pages[i]);
		__SetPageOffline(pages[i]);
		set_bit(page_to_pfn(pages[i]), away);
	}
	kvfree(pages);
	return rc;
}

static void __init name_empty(void)
{
	unsigned long section, start, length = 0;

	empty[0] = 0;
	for (section = 0; section < frames / PAGES_PER_SECTION; section++) {
		start = section * PAGES_PER_SECTION;
		if (find_next_zero_bit(away, start + PAGES_PER_SECTION, start) == start + PAGES_PER_SECTION)
			length += scnprintf(empty + length, sizeof(empty) - length, "%s%lu",
					    length ? "," : "", section);
	}
}

/* --- What dom0 wants ------------------------------------------------------------------------- */

static DECLARE_WAIT_QUEUE_HEAD(readers);
static unsigned long wanted_kib;
static unsigned long told;	/* how often it was said */

struct reader {
	unsigned long heard;
	char line[24];
	int length, at;
};

static int sections_open(struct inode *inode, struct file *file)
{
	struct reader *reader = kzalloc(sizeof(*reader), GFP_KERNEL);

	file->private_data = reader;
	return reader ? 0 : -ENOMEM;
}

static int sections_release(struct inode *inode, struct file *file)
{
	kfree(file->private_data);
	return 0;
}

/* A shell reads a byte at a time, so a line is kept until it was read. */
static ssize_t sections_read(struct file *file, char __user *to, size_t size, loff_t *offset)
{
	struct reader *reader = file->private_data;

	if (reader->at == reader->length) {
		if (wait_event_interruptible(readers, READ_ONCE(told) != reader->heard))
			return -ERESTARTSYS;
		reader->heard = READ_ONCE(told);
		reader->length = scnprintf(reader->line, sizeof(reader->line), "%lu\n",
					   READ_ONCE(wanted_kib));
		reader->at = 0;
	}
	size = min_t(size_t, size, reader->length - reader->at);
	if (copy_to_user(to, reader->line + reader->at, size))
		return -EFAULT;
	reader->at += size;
	return size;
}

static const struct proc_ops operations = {
	.proc_open = sections_open,
	.proc_read = sections_read,
	.proc_release = sections_release,
	.proc_lseek = no_llseek,
};

static void heard(struct xenbus_watch *watch, const char *path, const char *token)
{
	unsigned long kib;

	if (xenbus_scanf(XBT_NIL, NODE, "", "%lu", &kib) != 1)
		return;
	WRITE_ONCE(wanted_kib, kib);
	WRITE_ONCE(told, told + 1);
	wake_up_interruptible(&readers);
}

static struct xenbus_watch watch = { .node = NODE, .callback = heard };

static int __init sections_init(void)
{
	int rc;

	if (!xen_pv_domain())
		return -ENODEV;
	/* Holes below 1 MiB are no memory, and have frame numbers. */
	frames = ALIGN(get_num_physpages(), PAGES_PER_SECTION) + PAGES_PER_SECTION;
	away = vzalloc(BITS_TO_LONGS(frames) * sizeof(long));
	if (!away)
		return -ENOMEM;
	rc = adopt();
	if (rc)
		goto free_bitmap;
	name_empty();
	rc = register_memory_notifier(&notifier);
	if (rc)
		goto free_bitmap;
	if (!proc_create("sections", 0400, NULL, &operations)) {
		rc = -ENOMEM;
		goto unregister;
	}
	rc = register_xenbus_watch(&watch);
	if (rc)
		goto remove;
	/* What was given cannot be had back by a kernel that forgets it. */
	__module_get(THIS_MODULE);
	pr_info("%lu pages of the balloon are away\n", (unsigned long)bitmap_weight(away, frames));
	return 0;

remove:
	remove_proc_entry("sections", NULL);
unregister:
	unregister_memory_notifier(&notifier);
free_bitmap:
	vfree(away);
	return rc;
}
module_init(sections_init);

MODULE_DESCRIPTION("Memory of Xen guests in sections: what is offline is Xen's");
MODULE_LICENSE("GPL");
