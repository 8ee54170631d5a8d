// SPDX-License-Identifier: GPL-2.0
/*
 * Replacing functions of the kernel, for kernels that have no hooks of cleancache and frontswap.
 *
 * This is what livepatch does: ftrace calls us at the entry of a function, and we have it return to
 * another one (IPMODIFY, which ftrace grants one user of a function only). Calls that come from this
 * module go to the original, which is how a replacement calls it; so files with replacements are
 * compiled without tail calls, after which the caller would look like somebody else.
 *
 * A function is what its name and its prototype promise, or nothing is replaced at all: the name
 * has to be there once, ftrace has to know the function, and its prototype has to be what the
 * kernel's type information (BTF) says. Until all are in place none is diverted, so that what was
 * installed can be taken back when a later one fails, with nobody in a replacement.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/btf.h>
#include <linux/cpufeature.h>
#include <linux/err.h>
#include <linux/errno.h>
#include <linux/kallsyms.h>
#include <linux/kernel.h>
#include <linux/kprobes.h>
#include <linux/module.h>
#include <linux/moduleparam.h>
#include <linux/printk.h>
#include <linux/string.h>
#include <linux/version.h>

#include "hook.h"
#include "tmem.h"

/*
 * Beside prototypes the replacements take for granted what these functions do, and who calls them. The
 * sources of Linux were read for that up to here.
 */
#define NEWEST_READ	KERNEL_VERSION(7, 3, 255)

static bool untested;
module_param(untested, bool, 0444);
MODULE_PARM_DESC(untested, "Replace functions of kernels that are newer than the driver knows, too (default: false)");

#define PROTOTYPE_SIZE	192
#define MOST_NESTED	8	/* of a type's parts */

static bool armed;		/* calls are diverted */

/* What the kernel does not export, by name. */
static unsigned long (*lookup_name)(const char *name);
static int (*on_each_match)(int (*fn)(void *data, unsigned long address), const char *name,
			    void *data);
static int (*lookup_size)(unsigned long address, unsigned long *size, unsigned long *offset);
static unsigned long (*location)(unsigned long address);
static struct btf *(*vmlinux_btf)(void);
static s32 (*btf_find)(const struct btf *btf, const char *name, u8 kind);
static const struct btf_type *(*btf_type)(const struct btf *btf, u32 id);
static const char *(*btf_name)(const struct btf *btf, u32 offset);

static const struct {
	const char *name;
	void *to;
} helpers[] = {
	{ "kallsyms_on_each_match_symbol", &on_each_match },
	{ "kallsyms_lookup_size_offset", &lookup_size },
	{ "ftrace_location", &location },
	{ "bpf_get_btf_vmlinux", &vmlinux_btf },
	{ "btf_find_by_name_kind", &btf_find },
	{ "btf_type_by_id", &btf_type },
	{ "btf_name_by_offset", &btf_name },
};

/*
 * A kprobe is told by name where to go, and this one is never switched on. It may go behind the mark
 * of where indirect calls land, which nobody checks here (see install_all()).
 */
static int find_lookup(void)
{
	struct kprobe probe = {
		.symbol_name = "kallsyms_lookup_name",
		.flags = KPROBE_FLAG_DISABLED,
	};
	unsigned long address;
	int rc = register_kprobe(&probe);

	if (rc < 0)
		return rc;
	address = (unsigned long)probe.addr;
	unregister_kprobe(&probe);
	lookup_name = (void *)address;
	return 0;
}

static int find_helpers(void)
{
	unsigned long address;
	unsigned int i;
	int rc;

	if (lookup_name)
		return 0;
	rc = find_lookup();
	if (rc) {
		pr_err("this kernel does not tell its symbols (%d)\n", rc);
		return rc;
	}
	for (i = 0; i < ARRAY_SIZE(helpers); i++) {
		address = lookup_name(helpers[i].name);
		if (!address) {
			pr_err("this kernel has no %s()\n", helpers[i].name);
			lookup_name = NULL;
			return -EOPNOTSUPP;
		}
		*(unsigned long *)helpers[i].to = address;
	}
	return 0;
}

struct matches {
	unsigned int nr;
	unsigned long address;
};

static int match(void *data, unsigned long address)
{
	struct matches *found = data;

	found->nr++;
	found->address = address;
	return 0;
}

/* The one function of a name. */
static int find_function(const char *name, unsigned long *address)
{
	struct matches found = { 0 };

	on_each_match(match, name, &found);
	if (found.nr == 1) {
		*address = found.address;
		return 0;
	}
	if (found.nr)
		pr_err("%s() is there %u times, and cannot be told apart\n", name, found.nr);
	else
		pr_err("this kernel has no %s(), or it is in line everywhere\n", name);
	return -EOPNOTSUPP;
}

static void add(char *text, const char *more)
{
	strlcat(text, more, PROTOTYPE_SIZE);
}

/* A type as C writes it, as far as parameters of functions go. */
static void describe(const struct btf *btf, u32 id, char *text, unsigned int depth)
{
	const struct btf_type *type = id ? btf_type(btf, id) : NULL;

	if (!id) {
		add(text, "void");
		return;
	}
	if (!type || depth > MOST_NESTED) {
		add(text, "?");
		return;
	}
	switch (BTF_INFO_KIND(type->info)) {
	case BTF_KIND_PTR:
		describe(btf, type->type, text, depth + 1);
		add(text, " *");
		return;
	case BTF_KIND_CONST:
		add(text, "const ");
		describe(btf, type->type, text, depth + 1);
		return;
	case BTF_KIND_STRUCT:
		add(text, "struct ");
		break;
	case BTF_KIND_UNION:
		add(text, "union ");
		break;
	case BTF_KIND_ENUM:
		add(text, "enum ");
		break;
	case BTF_KIND_INT:
	case BTF_KIND_TYPEDEF:
	case BTF_KIND_FWD:
		break;
	default:
		add(text, "?");
		return;
	}
	add(text, btf_name(btf, type->name_off));
}

/* What a function is like: "int (struct page *, bool)". */
static int prototype(const char *name, char *text)
{
	const struct btf *btf = vmlinux_btf();
	const struct btf_param *parameter;
	const struct btf_type *type;
	unsigned int i;
	s32 id;

	*text = '\0';
	if (IS_ERR_OR_NULL(btf))
		return -ENOENT;
	id = btf_find(btf, name, BTF_KIND_FUNC);
	if (id < 0)
		return id;
	type = btf_type(btf, id);
	type = type ? btf_type(btf, type->type) : NULL;
	if (!type)
		return -ENOENT;
	describe(btf, type->type, text, 0);
	add(text, " (");
	parameter = (const struct btf_param *)(type + 1);
	for (i = 0; i < BTF_INFO_VLEN(type->info); i++) {
		if (i)
			add(text, ", ");
		describe(btf, parameter[i].type, text, 0);
	}
	add(text, ")");
	return 0;
}

static int check_prototype(const struct tmem_hook *hook)
{
	char text[PROTOTYPE_SIZE];
	int rc = prototype(hook->name, text);
	unsigned int i;

	if (rc) {
		pr_err("this kernel does not tell what %s() is like (%d)\n", hook->name, rc);
		return -EOPNOTSUPP;
	}
	for (i = 0; i < ARRAY_SIZE(hook->prototypes); i++)
		if (hook->prototypes[i] && !strcmp(text, hook->prototypes[i]))
			return 0;
	pr_err("%s() is %s in this kernel, not %s\n", hook->name, text, hook->prototypes[0]);
	return -EOPNOTSUPP;
}

/*
 * What compilers make of a function beside it, where its callers may go past its entry. There may be
 * several in a name, such as .part.0.constprop.0, where none of the names between is a function.
 */
static const char *const parts[] = { ".part.0", ".isra.0", ".constprop.0" };

static bool find_part(char *name, unsigned int depth)
{
	size_t length = strlen(name);
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(parts); i++) {
		snprintf(name + length, PROTOTYPE_SIZE - length, "%s", parts[i]);
		if (lookup_name(name) || (depth + 1 < ARRAY_SIZE(parts) && find_part(name, depth + 1)))
			return true;
	}
	return false;
}

static int check_whole(const char *function)
{
	char name[PROTOTYPE_SIZE];

	strscpy(name, function, sizeof(name));
	if (!find_part(name, 0))
		return 0;
	pr_err("%s() was compiled in parts: this kernel has %s()\n", function, name);
	return -EOPNOTSUPP;
}

/* Everything that can be known before anything is changed. */
static int resolve(struct tmem_hook *hook)
{
	unsigned long size = 0, offset = 0;
	int rc = find_function(hook->name, &hook->address);

	if (!rc)
		rc = check_prototype(hook);
	if (!rc)
		rc = check_whole(hook->name);
	if (!rc && !location(hook->address)) {
		pr_err("%s() cannot be traced in this kernel, so it cannot be replaced\n", hook->name);
		rc = -EOPNOTSUPP;
	}
	if (!rc && hook->within) {
		rc = find_function(hook->within, &hook->within_start);
		if (!rc && !lookup_size(hook->within_start, &size, &offset))
			rc = -EOPNOTSUPP;
		hook->within_end = hook->within_start + size;
	}
	return rc;
}

static void notrace divert(unsigned long ip, unsigned long caller, struct ftrace_ops *ops,
			   struct ftrace_regs *registers)
{
	struct tmem_hook *hook = container_of(ops, struct tmem_hook, ops);
	void *to = hook->replacement;

	if (!READ_ONCE(armed) || within_module(caller, THIS_MODULE))
		return;
	if (hook->within && caller >= hook->within_start && caller < hook->within_end)
		to = hook->replacement_within;
	ftrace_regs_set_instruction_pointer(registers, (unsigned long)to);
}

static int take_back(struct tmem_hook *hook)
{
	if (hook->installed) {
		unregister_ftrace_function(&hook->ops);
		ftrace_free_filter(&hook->ops);
		hook->installed = false;
	}
	return 0;
}

static int install(struct tmem_hook *hook)
{
	int rc;

	*hook->original = (void *)hook->address;
	hook->ops.func = divert;
	hook->ops.flags = FTRACE_OPS_FL_IPMODIFY | FTRACE_OPS_FL_PERMANENT;
	rc = ftrace_set_filter_ip(&hook->ops, hook->address, 0, 0);
	if (rc) {
		pr_err("%s() cannot be traced (%d)\n", hook->name, rc);
		return rc;
	}
	rc = register_ftrace_function(&hook->ops);
	if (rc) {
		if (rc == -EBUSY)
			pr_err("%s() is replaced by somebody else already, or tracing is off (kernel.ftrace_enabled)\n",
			       hook->name);
		else
			pr_err("%s() cannot be replaced (%d)\n", hook->name, rc);
		ftrace_free_filter(&hook->ops);
		return rc;
	}
	hook->installed = true;
	return 0;
}

static int for_each_hook(const struct tmem_hook_set *const sets[], unsigned int nr,
			 int (*what)(struct tmem_hook *hook))
{
	unsigned int i, j;
	int rc = 0;

	for (i = 0; !rc && i < nr; i++)
		for (j = 0; !rc && j < sets[i]->nr; j++)
			rc = what(&sets[i]->hooks[j]);
	return rc;
}

static int install_all(const struct tmem_hook_set *const sets[], unsigned int nr)
{
	int rc;

	if (LINUX_VERSION_CODE > NEWEST_READ && !untested) {
		pr_err("this kernel is newer than Linux %d.%d, the last one that the driver was written for; untested=1 loads it all the same\n",
		       NEWEST_READ >> 16, NEWEST_READ >> 8 & 0xff);
		return -EOPNOTSUPP;
	}
	if (IS_ENABLED(CONFIG_X86_KERNEL_IBT) && cpu_feature_enabled(X86_FEATURE_IBT)) {
		/* Functions whose address nobody takes have lost their mark at boot. */
		pr_err("this processor checks where calls land (IBT); boot the kernel with ibt=off\n");
		return -EOPNOTSUPP;
	}
	rc = find_helpers();
	if (!rc)
		rc = for_each_hook(sets, nr, resolve);
	if (!rc) {
		rc = for_each_hook(sets, nr, install);
		if (rc)
			for_each_hook(sets, nr, take_back);
	}
	if (!rc)
		WRITE_ONCE(armed, true);
	return rc;
}

/**
 * tmem_hooks_register() - Replace the functions that stand for the hooks, all of them or none.
 * @cleancache: those of the page cache
 * @frontswap: those of swap
 *
 * They stay. The kernel log names what is in the way.
 *
 * Return: 0; -EINVAL: a parameter; -EOPNOTSUPP: this kernel is another; -EBUSY: one is replaced
 * already; or what ftrace says.
 */
int tmem_hooks_register(bool cleancache, bool frontswap)
{
	const struct tmem_hook_set *sets[4];
	unsigned int nr = 0;
	int rc;

	if (cleancache) {
		rc = tmem_mounted_prepare();
		if (rc)
			return rc;
		sets[nr++] = &tmem_mounted_hooks;
		sets[nr++] = &tmem_changes_hooks;
		sets[nr++] = &tmem_pagecache_hooks;
	}
	if (frontswap) {
		tmem_swap_begin();
		sets[nr++] = &tmem_swap_hooks;
	}
	rc = install_all(sets, nr);
	if (!rc && frontswap)
		tmem_swap_wanted();
	return rc;
}
