/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Transcendent memory: what older Xen (back to 4.17) calls by other names.
 *
 * Keyed on the feature that is missing, not on a version: distributions
 * backport.
 */

#ifndef __TMEM_COMPAT_H__
#define __TMEM_COMPAT_H__

#include <xen/spinlock.h>

/* Xen 4.19 gave locks that can be taken recursively a type of their own. */
#ifndef nrspin_unlock
#define nrspin_lock(l)      spin_lock(l)
#define nrspin_unlock(l)    spin_unlock(l)
#endif

#endif /* __TMEM_COMPAT_H__ */

/*
 * Local variables:
 * mode: C
 * c-file-style: "BSD"
 * c-basic-offset: 4
 * tab-width: 4
 * indent-tabs-mode: nil
 * End:
 */
