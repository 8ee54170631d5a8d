// SPDX-License-Identifier: GPL-2.0
/*
 * Xen transcendent memory for Linux guests: cleancache and frontswap back ends, self-ballooning
 * and self-shrinking.
 *
 * The kernel cannot take a back end back: once one is registered, the module stays. Without one,
 * self-ballooning stops when the module is removed.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/errno.h>
#include <linux/init.h>
#include <linux/kernel.h>
#include <linux/module.h>
#include <linux/printk.h>

#include <xen/xen.h>

#include "tmem.h"

/* A back end that the kernel has no hooks for is off by default, and refused when asked for. */
static bool cleancache = TMEM_HAS_CLEANCACHE;
module_param(cleancache, bool, 0444);
MODULE_PARM_DESC(cleancache, "Keep clean file pages that Linux evicts in Xen (default: true)");

static bool frontswap = TMEM_HAS_FRONTSWAP;
module_param(frontswap, bool, 0444);
MODULE_PARM_DESC(frontswap, "Keep swapped pages in Xen (default: true)");

/* Dom0 is sized by its administrator, unless this is asked for. */
static bool selfballooning = true, selfballooning_asked;

static int set_selfballooning(const char *text, const struct kernel_param *parameter)
{
	selfballooning_asked = true;
	return param_set_bool(text, parameter);
}

static const struct kernel_param_ops selfballooning_ops = {
	.flags = KERNEL_PARAM_OPS_FL_NOARG,
	.set = set_selfballooning,
	.get = param_get_bool,
};
module_param_cb(selfballooning, &selfballooning_ops, &selfballooning, 0444);
__MODULE_PARM_TYPE(selfballooning, "bool");
MODULE_PARM_DESC(selfballooning, "Size the guest by what its processes have committed (default: true; false in dom0)");

#ifdef TMEM_CAN_SHRINK
static const bool can_shrink = true;
#else
static const bool can_shrink;
#endif

static bool selfshrinking = true;
module_param(selfshrinking, bool, 0444);
MODULE_PARM_DESC(selfshrinking, "Bring pages back from frontswap when there is room (default: true)");

static bool resizing;	/* the settings are in sysfs */

static int __init check_kernel(void)
{
	if (cleancache && !TMEM_HAS_CLEANCACHE) {
		pr_err("cleancache=1, but this kernel has no cleancache\n");
		return -EOPNOTSUPP;
	}
	if (frontswap && !TMEM_HAS_FRONTSWAP) {
		pr_err("frontswap=1, but this kernel has no frontswap\n");
		return -EOPNOTSUPP;
	}
	if (selfballooning && !IS_ENABLED(CONFIG_XEN_BALLOON)) {
		pr_err("selfballooning=1, but this kernel has no Xen balloon driver\n");
		return -EOPNOTSUPP;
	}
	return 0;
}

static int __init check_xen(void)
{
	int rc;

	if (!cleancache && !frontswap)
		return 0;
	rc = tmem_probe();
	if (rc) {
		/*
		 * Going on without would be another memory policy than the one that was asked
		 * for.
		 */
		pr_err("%s (%d); for self-ballooning alone, load with cleancache=0 frontswap=0\n",
		       rc == -ENOSYS ? "this Xen has no tmem" :
				       "tmem is off in this Xen (its command line lacks \"tmem\")",
		       rc);
		return -ENODEV;
	}
	return 0;
}

#ifdef TMEM_HOOKS
static int __init register_back_ends(void)
{
	return tmem_hooks_register(cleancache, frontswap);
}
#else
static int __init register_back_ends(void)
{
	int rc = cleancache ? tmem_cleancache_register() : 0;

	if (rc) {
		pr_err("cleancache already has another back end (%d)\n", rc);
		return rc;
	}
	/* Where it can fail, Linux is one without cleancache. */
	rc = frontswap ? tmem_frontswap_register() : 0;
	if (rc)
		pr_err("frontswap already has another back end, such as zswap (%d)\n", rc);
	return rc;
}
#endif

static int __init tmem_init(void)
{
	int rc;

	if (!xen_domain()) {
		pr_err("this is no Xen guest\n");
		return -ENODEV;
	}
	if (xen_initial_domain() && !selfballooning_asked)
		selfballooning = false;
	if (!frontswap && selfshrinking) {
		pr_info("selfshrinking needs frontswap: off\n");
		selfshrinking = false;
	}
	if (!can_shrink && selfshrinking) {
		pr_info("this kernel cannot bring pages back from frontswap: selfshrinking is off\n");
		selfshrinking = false;
	}
	if (!cleancache && !frontswap && !selfballooning) {
		pr_info("everything is switched off\n");
		return 0;
	}
	rc = check_kernel();
	if (rc)
		return rc;
	rc = check_xen();
	if (rc)
		return rc;

	/* Registering comes last, as it is for good; so what can fail is done before. */
	resizing = IS_ENABLED(CONFIG_XEN_BALLOON);
	if (resizing) {
		rc = tmem_selfballoon_prepare(selfballooning, selfshrinking,
					      frontswap && can_shrink);
		if (rc)
			return rc;
	}
	if (cleancache || frontswap) {
		rc = tmem_suspend_init();
		if (rc) {
			pr_err("cannot prepare for being suspended (%d)\n", rc);
			goto stop_resizing;
		}
	}
	rc = register_back_ends();
	if (rc)
		goto exit_suspend;
	if (cleancache || frontswap)
		__module_get(THIS_MODULE);
	if (resizing)
		tmem_selfballoon_start();
	tmem_stats_init();
	pr_info("cleancache %s, frontswap %s, self-ballooning %s, self-shrinking %s\n",
		cleancache ? "on" : "off", frontswap ? "on" : "off",
		selfballooning ? "on" : "off", selfshrinking ? "on" : "off");
	return 0;

exit_suspend:
	tmem_suspend_exit();
stop_resizing:
	if (resizing)
		tmem_selfballoon_stop();
	return rc;
}
module_init(tmem_init);

static void __exit tmem_exit(void)
{
	if (resizing)
		tmem_selfballoon_stop();
	tmem_stats_exit();
}
module_exit(tmem_exit);

MODULE_DESCRIPTION("Xen transcendent memory: cleancache, frontswap, self-ballooning");
MODULE_LICENSE("GPL");
#ifdef TMEM_VERSION
MODULE_VERSION(TMEM_VERSION);
#endif
