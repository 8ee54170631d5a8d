// SPDX-License-Identifier: GPL-2.0
/*
 * Self-ballooning: the guest hands back to Xen what it has no use for, and asks for it again
 * when it has.
 *
 * Every selfballoon_interval seconds the balloon's target is moved from the present size
 * towards the goal
 *
 *	Committed_AS + the kernel's own reserve + selfballoon_reserved_mb + pages in frontswap
 *
 * by 1/selfballoon_downhysteresis or 1/selfballoon_uphysteresis of the difference. Neither the
 * page cache nor free memory is in the goal: they are what is given up. Three things bound it
 * from below. The target leaves the page allocator a least amount of memory; a step down takes
 * no more than what the kernel calls available, so that it is never paid for by swapping; and
 * the step down is small by default.
 *
 * Self-shrinking, in the same rhythm: pages that lie in frontswap though the guest has memory
 * again are brought back, a part at a time, once their number has rested for frontswap_inertia
 * intervals. A falling number needs no help, and a rising one means that there is no room.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/capability.h>
#include <linux/cpu.h>
#include <linux/device.h>
#include <linux/jiffies.h>
#include <linux/kobject.h>
#include <linux/math64.h>
#include <linux/mm.h>
#include <linux/mman.h>
#include <linux/mmzone.h>
#include <linux/mutex.h>
#include <linux/nodemask.h>
#include <linux/printk.h>
#include <linux/string.h>
#include <linux/sysfs.h>
#include <linux/workqueue.h>

#include <xen/balloon.h>

#include "tmem.h"

#undef MB_TO_PAGES	/* that of newer kernels has the type of what it is given */
#define MB_TO_PAGES(mb)	((unsigned long)(mb) << (20 - PAGE_SHIFT))
#define PAGES_TO_MB(pages)	((pages) >> (20 - PAGE_SHIFT))

/* The most that can be set: far beyond what makes sense, and nothing computed from it wraps. */
#define MOST_SECONDS	(24 * 3600)
#define MOST_PARTS	1000000		/* of a difference, and intervals */
#define MOST_MB		(1u << 24)	/* 16 TiB */

/* The settings, by their names in sysfs; written under settings_lock, read at any time. */
static unsigned int selfballooning;
static unsigned int frontswap_selfshrinking;
static unsigned int selfballoon_interval = 5;		/* seconds */
static unsigned int selfballoon_downhysteresis = 8;
static unsigned int selfballoon_uphysteresis = 1;
static unsigned int selfballoon_min_usable_mb;		/* 0: by the guest's size */
static unsigned int selfballoon_reserved_mb;		/* set when the module is loaded */
static unsigned int frontswap_hysteresis = 20;
static unsigned int frontswap_inertia = 3;		/* intervals */

static DEFINE_MUTEX(settings_lock);
static bool with_frontswap;
static struct device *balloon_device;
static struct workqueue_struct *queue;

static void selfballoon_tick(struct work_struct *work);
static DECLARE_DELAYED_WORK(ticker, selfballoon_tick);

/* What the page allocator keeps back. The kernel's total is not exported; its summands are. */
static unsigned long reserve_pages(void)
{
	unsigned long pages = 0;
	int node;

	for_each_online_node(node)
		pages += NODE_DATA(node)->totalreserve_pages;
	return pages;
}

static unsigned long goal_pages(void)
{
	return vm_memory_committed() + reserve_pages() +
		MB_TO_PAGES(READ_ONCE(selfballoon_reserved_mb)) + tmem_swap_pages();
}

/*
 * The least usable memory for a guest that can have @pages of it: all of 16 MB, then half of
 * what it has beyond that, from 64 MB an eighth and from 512 MB a thirty-second.
 */
static unsigned long default_min_usable(unsigned long pages)
{
	if (pages < MB_TO_PAGES(16))
		return pages;
	if (pages < MB_TO_PAGES(64))
		return MB_TO_PAGES(16) + (pages - MB_TO_PAGES(16)) / 2;
	if (pages < MB_TO_PAGES(512))
		return MB_TO_PAGES(40) + (pages - MB_TO_PAGES(64)) / 8;
	return MB_TO_PAGES(99) + (pages - MB_TO_PAGES(512)) / 32;
}

/*
 * The lowest target. "Usable" is what the page allocator manages; the rest of the guest's
 * memory (kernel image, struct pages, early allocations) is there whatever the balloon does and
 * comes on top.
 */
static unsigned long floor_pages(unsigned long current_pages, unsigned long most)
{
	unsigned long managed = totalram_pages();
	unsigned long unusable = current_pages > managed ? current_pages - managed : 0;
	unsigned long usable = MB_TO_PAGES(READ_ONCE(selfballoon_min_usable_mb));

	if (!usable)
		usable = default_min_usable(most > unusable ? most - unusable : 0);
	return min(unusable + usable, most);
}

static void balloon_tick(void)
{
	unsigned long current_pages = READ_ONCE(balloon_stats.current_pages);
	/*
	 * As much as there are struct pages for: the kernel starts with those up to the guest's
	 * maxmem.
	 */
	unsigned long most = max(READ_ONCE(balloon_stats.total_pages), current_pages);
	unsigned long goal = goal_pages();
	unsigned long target = current_pages;

	if (goal < current_pages) {
		unsigned long available = max(si_mem_available(), 0L);
		unsigned long step = (current_pages - goal) / READ_ONCE(selfballoon_downhysteresis);

		target -= min(step, available);
	} else {
		target += DIV_ROUND_UP(goal - current_pages, READ_ONCE(selfballoon_uphysteresis));
	}
	target = clamp(target, floor_pages(current_pages, most), most);

	/*
	 * When Xen refuses memory a few times, the balloon thread rests until the difference
	 * between size and target changes, be it for an hour. One page less makes it try again,
	 * one tick later the page is back.
	 */
	if (target > current_pages && target == READ_ONCE(balloon_stats.target_pages))
		target--;
	if (target != READ_ONCE(balloon_stats.target_pages))
		balloon_set_new_target(target);
}

static void shrink_tick(bool restart)
{
	static unsigned long last_pages, futile_pages;
	static unsigned int rested;	/* intervals */
	unsigned long pages = tmem_swap_pages();
	unsigned long excess = DIV_ROUND_UP(pages, READ_ONCE(frontswap_hysteresis));

	if (restart || pages != last_pages)
		rested = 0;
	else
		rested = min(rested + 1, READ_ONCE(frontswap_inertia));
	last_pages = pages;
	if (pages != futile_pages)
		futile_pages = 0;
	if (!pages || pages == futile_pages || rested < READ_ONCE(frontswap_inertia))
		return;
	/* Without room to spare, what comes back would push other pages out. */
	if (si_mem_available() <= (long)(excess + MB_TO_PAGES(READ_ONCE(selfballoon_reserved_mb))))
		return;
	/* When none came back, nobody has those that are left: see shrink.c. */
	if (!tmem_frontswap_shrink(pages - excess))
		futile_pages = pages;
	/* The fall that this made is no reason to wait again. */
	last_pages = tmem_swap_pages();
}

static unsigned long interval(void)
{
	return (unsigned long)READ_ONCE(selfballoon_interval) * HZ;
}

static void schedule_tick(void)
{
	queue_delayed_work(queue, &ticker, interval());
}

static void selfballoon_tick(struct work_struct *work)
{
	static bool shrinking;

	if (READ_ONCE(selfballooning))
		balloon_tick();
	if (READ_ONCE(frontswap_selfshrinking)) {
		shrink_tick(!shrinking);
		shrinking = true;
	} else {
		shrinking = false;
	}
	if (READ_ONCE(selfballooning) || READ_ONCE(frontswap_selfshrinking))
		schedule_tick();
}

/* One setting: where it is kept and what is refused. Of a switch, every number but 0 is on. */
struct setting {
	struct device_attribute attribute;
	unsigned int *value;
	unsigned int least, most;
	bool is_switch;
	bool of_frontswap;
};

static struct setting *to_setting(struct device_attribute *attribute)
{
	return container_of(attribute, struct setting, attribute);
}

static ssize_t setting_show(struct device *dev, struct device_attribute *attribute, char *buf)
{
	return sysfs_emit(buf, "%u\n", READ_ONCE(*to_setting(attribute)->value));
}

static ssize_t setting_store(struct device *dev, struct device_attribute *attribute,
			     const char *buf, size_t size)
{
	struct setting *setting = to_setting(attribute);
	unsigned int value;
	int rc;

	if (!capable(CAP_SYS_ADMIN))
		return -EPERM;
	rc = kstrtouint(buf, 0, &value);
	if (rc)
		return rc;
	if (!setting->is_switch && (value < setting->least || value > setting->most))
		return -EINVAL;

	mutex_lock(&settings_lock);
	WRITE_ONCE(*setting->value, setting->is_switch ? !!value : value);
	/* Once more from now: a tick that waits was timed by the interval of old, or none waits. */
	if (setting->is_switch || setting->value == &selfballoon_interval)
		mod_delayed_work(queue, &ticker, interval());
	mutex_unlock(&settings_lock);
	return size;
}

#define SETTING(_name, ...)						\
	static struct setting setting_##_name = {			\
		.attribute = __ATTR(_name, 0644, setting_show, setting_store), \
		.value = &_name,					\
		__VA_ARGS__						\
	}

SETTING(selfballooning, .is_switch = true);
SETTING(selfballoon_interval, .least = 1, .most = MOST_SECONDS);
SETTING(selfballoon_downhysteresis, .least = 1, .most = MOST_PARTS);
SETTING(selfballoon_uphysteresis, .least = 1, .most = MOST_PARTS);
SETTING(selfballoon_min_usable_mb, .most = MOST_MB);
SETTING(selfballoon_reserved_mb, .most = MOST_MB);
SETTING(frontswap_selfshrinking, .is_switch = true, .of_frontswap = true);
SETTING(frontswap_hysteresis, .least = 1, .most = MOST_PARTS, .of_frontswap = true);
SETTING(frontswap_inertia, .least = 1, .most = MOST_PARTS, .of_frontswap = true);

static struct attribute *settings[] = {
	&setting_selfballooning.attribute.attr,
	&setting_selfballoon_interval.attribute.attr,
	&setting_selfballoon_downhysteresis.attribute.attr,
	&setting_selfballoon_uphysteresis.attribute.attr,
	&setting_selfballoon_min_usable_mb.attribute.attr,
	&setting_selfballoon_reserved_mb.attribute.attr,
	&setting_frontswap_selfshrinking.attribute.attr,
	&setting_frontswap_hysteresis.attribute.attr,
	&setting_frontswap_inertia.attribute.attr,
	NULL
};

static umode_t setting_is_visible(struct kobject *kobj, struct attribute *attribute, int index)
{
	struct device_attribute *device_attribute =
		container_of(attribute, struct device_attribute, attr);

	return to_setting(device_attribute)->of_frontswap && !with_frontswap ? 0 : attribute->mode;
}

static const struct attribute_group settings_group = {
	.name = "selfballoon",
	.attrs = settings,
	.is_visible = setting_is_visible,
};

/*
 * The balloon driver keeps its device, xen_memory0, to itself. But every device is on one list,
 * and any device, such as the first processor, leads to that list. A reference is held on what
 * is returned.
 */
static struct device *find_balloon_device(void)
{
	struct device *cpu = get_cpu_device(cpumask_first(cpu_possible_mask));
	struct kobject *found;

	if (!cpu || !cpu->kobj.kset)
		return NULL;
	found = kset_find_obj(cpu->kobj.kset, "xen_memory0");
	if (!found)
		return NULL;
	if (!found->parent || strcmp(kobject_name(found->parent), "xen_memory")) {
		kobject_put(found);
		return NULL;
	}
	return kobj_to_dev(found);
}

/**
 * tmem_selfballoon_prepare() - Do what can fail: find the balloon, show the settings.
 * @ballooning: begin with self-ballooning on
 * @shrinking: begin with self-shrinking on
 * @have_frontswap: whether frontswap will be served, so that there's something to shrink
 */
int tmem_selfballoon_prepare(bool ballooning, bool shrinking, bool have_frontswap)
{
	int rc;

	balloon_device = find_balloon_device();
	if (!balloon_device) {
		pr_err("no xen_memory0 device: is the balloon driver (CONFIG_XEN_BALLOON) running?\n");
		return -ENODEV;
	}
	/* A rescuer thread, as this is what brings memory when there is none. */
	queue = alloc_workqueue("tmem_selfballoon", WQ_FREEZABLE | WQ_UNBOUND | WQ_MEM_RECLAIM, 1);
	if (!queue) {
		rc = -ENOMEM;
		goto put_device;
	}
	with_frontswap = have_frontswap;
	selfballooning = ballooning;
	frontswap_selfshrinking = shrinking;
	selfballoon_reserved_mb = PAGES_TO_MB(totalram_pages() / 10);

	rc = sysfs_create_group(&balloon_device->kobj, &settings_group);
	if (rc) {
		pr_err("sysfs group selfballoon: %d\n", rc);
		goto destroy_queue;
	}
	return 0;

destroy_queue:
	destroy_workqueue(queue);
put_device:
	put_device(balloon_device);
	return rc;
}

void tmem_selfballoon_stop(void)
{
	sysfs_remove_group(&balloon_device->kobj, &settings_group);
	/* A step that runs now must not order the next. */
	WRITE_ONCE(selfballooning, 0);
	WRITE_ONCE(frontswap_selfshrinking, 0);
	cancel_delayed_work_sync(&ticker);
	destroy_workqueue(queue);
	put_device(balloon_device);
}

void tmem_selfballoon_start(void)
{
	schedule_tick();
}
