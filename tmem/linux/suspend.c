// SPDX-License-Identifier: GPL-2.0
/*
 * Suspension: a guest is suspended to be saved, migrated or checkpointed, and the stream that its
 * toolstack writes has no place for what tmem holds of it. So before, frontswap is drained into
 * the guest's own memory and swap, and cleancache's pools are given up; when the guest goes on,
 * there are pools again.
 *
 * Xen's suspend code (drivers/xen/manage.c) calls no notifier that could refuse. But it freezes
 * all processes and then prepares all devices, each of which may refuse. So there is a device
 * here that stands for the pools, prepared while every disk still works.
 *
 * The way back goes over a freezable workqueue rather than the device's ->complete(): it comes
 * whatever happens in between, also when another device refuses, and not before processes are
 * thawed.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/err.h>
#include <linux/platform_device.h>
#include <linux/pm.h>
#include <linux/printk.h>
#include <linux/version.h>
#include <linux/workqueue.h>

#include <xen/xen.h>
#include <xen/xenbus.h>

#include "tmem.h"

/*
 * The toolstack waits a minute for a guest to suspend itself, and then takes it for dead; part
 * of that is gone when we are called, and other devices come after us.
 */
#define DRAIN_SECONDS	40

static struct platform_device *device;
static struct workqueue_struct *queue;
static bool refused;		/* by us; written while the work cannot run */

static void resume(struct work_struct *work);
static DECLARE_DELAYED_WORK(resume_work, resume);

/*
 * For the toolstack, which is not told by Xen's protocol why a guest does not suspend: the guest
 * writes it to its part of XenStore.
 */
static void tell_toolstack(const char *text)
{
	int rc = xenbus_printf(XBT_NIL, "data", "tmem-suspend", "%s", text);

	if (rc)
		pr_warn("cannot write data/tmem-suspend to XenStore: %d\n", rc);
}

static void resume(struct work_struct *work)
{
	unsigned long again;

	if (refused) {
		refused = false;
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 1, 0)
		/*
		 * Xen's suspend code in Linux 5.10 forgets the devices that were prepared before
		 * one refused, and no driver is bound to a new device until they are told.
		 */
		dpm_resume_end(PMSG_THAW);
#endif
	}
	/* Frontswap first: it has to see which pools there are before there are new ones. */
	again = tmem_swap_resume();
	tmem_fs_resume();
	if (again)
		queue_delayed_work(queue, &resume_work, again);
}

static const char *reason(int rc)
{
	switch (rc) {
	case -ENOMEM:
	case -ENOSPC:
		return "no room in memory and swap; give it more memory (xl mem-set) or swap";
	case -ETIME:
		return "the swap device is too slow; give the guest more memory (xl mem-set)";
	case -EBUSY:
		return "its tmem is frozen; thaw it (tmemctl thaw)";
	default:
		return "Xen has lost a page";
	}
}

static int prepare(struct device *dev)
{
	unsigned long pages;
	char text[160];
	int rc = tmem_swap_drain(DRAIN_SECONDS, &pages);

	if (rc) {
		snprintf(text, sizeof(text),
			 "refused: %lu pages cannot be drained from frontswap: %s", pages,
			 reason(rc));
		pr_err("suspending is %s (%d)\n", text, rc);
		refused = true;
		/* Not -EAGAIN, which the kernel takes for "again at once". */
		rc = -EBUSY;
	} else {
		tmem_fs_suspend();
		snprintf(text, sizeof(text), "drained: %lu pages of frontswap", pages);
		pr_info("%s, may suspend\n", text);
	}
	tell_toolstack(text);
	/* Frozen now, it starts when the guest goes on. */
	mod_delayed_work(queue, &resume_work, 0);
	return rc;
}

static const struct dev_pm_ops pm_ops = {
	.prepare = prepare,
};

static struct platform_driver driver = {
	.driver = {
		.name = "xen-tmem",
		.pm = &pm_ops,
	},
};

/*
 * Can fail, so it comes before back ends are registered. Dom0 suspends itself with the host, and
 * keeps its pools; and XenStore, which a toolstack is told by, is one of the processes that are
 * frozen then.
 */
int tmem_suspend_init(void)
{
	int rc = tmem_stash_init();

	if (rc || xen_initial_domain())
		return rc;
	queue = alloc_workqueue("tmem_suspend", WQ_FREEZABLE | WQ_UNBOUND | WQ_MEM_RECLAIM, 1);
	if (!queue) {
		rc = -ENOMEM;
		goto release_stash;
	}
	rc = platform_driver_register(&driver);
	if (rc)
		goto destroy_queue;
	device = platform_device_register_simple("xen-tmem", PLATFORM_DEVID_NONE, NULL, 0);
	if (IS_ERR(device)) {
		rc = PTR_ERR(device);
		goto unregister_driver;
	}
	return 0;

unregister_driver:
	platform_driver_unregister(&driver);
destroy_queue:
	destroy_workqueue(queue);
release_stash:
	tmem_stash_exit();
	return rc;
}

/* Only while no back end is registered. */
void tmem_suspend_exit(void)
{
	if (!xen_initial_domain()) {
		platform_device_unregister(device);
		platform_driver_unregister(&driver);
		cancel_delayed_work_sync(&resume_work);
		destroy_workqueue(queue);
	}
	tmem_stash_exit();
}
