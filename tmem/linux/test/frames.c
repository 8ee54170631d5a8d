// SPDX-License-Identifier: GPL-2.0
/*
 * Hostile frames: numbers beyond all memory, Xen's own frames, other domains' frames, and the
 * guest's page tables, which it must not be able to write but through Xen. None may be read
 * from or written to, and a page that was to go there stays.
 */
#include <linux/errno.h>
#include <linux/kernel.h>
#include <linux/mm.h>
#include <linux/sched.h>

#include <asm/pgtable.h>
#include <asm/xen/hypercall.h>
#include <asm/xen/page.h>
#include <xen/grant_table.h>
#include <xen/interface/grant_table.h>
#include <xen/interface/memory.h>
#include <xen/xen.h>

#include "tmem_test.h"

#define GRANT_FRAMES_MAX	256

unsigned long frames_of_machine(void)
{
	long last = HYPERVISOR_memory_op(XENMEM_maximum_ram_page, NULL);

	return last > 0 ? last : machine_to_phys_nr;
}

/* Put from and get into @frame, in a persistent and an ephemeral pool: all of it has to fail. */
static bool refused(int persistent, int ephemeral, u64 frame)
{
	const struct handle handles[] = { HANDLE(persistent, 1, 1), HANDLE(ephemeral, 1, 1) };
	unsigned int i;
	int rc;

	for (i = 0; i < ARRAY_SIZE(handles); i++) {
		const char *kind = i ? "ephemeral" : "persistent";

		rc = put_frame(&(struct handle){ .pool = handles[i].pool, .index = 2 }, frame);
		if (rc != -EFAULT) {
			note_failure(__LINE__, "put of frame %#llx to the %s pool: %d", frame,
				     kind, rc);
			return false;
		}
		rc = get_frame(&handles[i], frame);
		if (rc != -EFAULT) {
			note_failure(__LINE__, "get from the %s pool into frame %#llx: %d", kind,
				     frame, rc);
			return false;
		}
	}
	return true;
}

/* The pages that all those gets were for. */
static bool pages_are_left(int persistent, int ephemeral)
{
	int rc = get_seed(&HANDLE(persistent, 1, 1), 1);

	if (rc != 1) {
		note_failure(__LINE__, "the persistent page after refused gets: %d", rc);
		return false;
	}
	rc = get_seed(&HANDLE(ephemeral, 1, 1), 2);
	if (rc != 1) {
		note_failure(__LINE__, "the ephemeral page after refused gets: %d", rc);
		return false;
	}
	return true;
}

#define TWO_POOLS(_persistent, _ephemeral)				\
	int _persistent = new_pool(TMEM_POOL_PERSIST), _ephemeral = new_pool(0); \
									\
	CHECK(_persistent >= 0 && _ephemeral >= 0, "new pools: %d %d", _persistent, _ephemeral); \
	EXPECT(put_seed(&HANDLE(_persistent, 1, 1), 1), 1);		\
	EXPECT(put_seed(&HANDLE(_ephemeral, 1, 1), 2), 1)

static void frames_beyond_memory(void)
{
	const u64 last = frames_of_machine();
	const u64 frames[] = {
		last + 1, last + 2, last + 0x10000, 1ull << 40, (1ull << 40) - 1, 1ull << 52,
		1ull << 63, ~0ull >> 12, ~0ull - 1, ~0ull,
	};
	unsigned int i;

	TWO_POOLS(persistent, ephemeral);
	for (i = 0; i < ARRAY_SIZE(frames); i++)
		if (!refused(persistent, ephemeral, frames[i]))
			return;
	pages_are_left(persistent, ephemeral);
}

/* Frames that are the guest's although no page of Linux has them: Xen shares them with it. */
bool frame_is_shared(u64 frame)
{
	static xen_pfn_t grant_frames[GRANT_FRAMES_MAX];
	static int known = -1;
	int i;

	if (known < 0) {
		struct gnttab_query_size size = { .dom = DOMID_SELF };
		struct gnttab_setup_table setup = { .dom = DOMID_SELF };

		known = 0;
		if (!HYPERVISOR_grant_table_op(GNTTABOP_query_size, &size, 1) &&
		    size.status == GNTST_okay && size.nr_frames <= GRANT_FRAMES_MAX) {
			setup.nr_frames = size.nr_frames;
			set_xen_guest_handle(setup.frame_list, grant_frames);
			if (!HYPERVISOR_grant_table_op(GNTTABOP_setup_table, &setup, 1) &&
			    setup.status == GNTST_okay)
				known = size.nr_frames;
		}
	}
	if (frame == PFN_DOWN(xen_start_info->shared_info))
		return true;
	for (i = 0; i < known; i++)
		if (grant_frames[i] == frame)
			return true;
	return false;
}

/* By the table that every PV guest can read, and by the guest's own, which has to agree. */
bool frame_is_ours(u64 frame)
{
	unsigned long pfn;

	if (frame >= machine_to_phys_nr)
		return false;
	if (xen_safe_read_ulong(&machine_to_phys_mapping[frame], &pfn) < 0)
		return false;
	return pfn < xen_max_p2m_pfn && pfn_to_mfn(pfn) == frame;
}

static void frames_of_others(void)
{
	const u64 last = frames_of_machine();
	/* Some 2000 frames all over the machine; at guest_loglvl=info Xen prints a line for each. */
	const u64 step = last / 2003 + 1;
	unsigned int tried = 0;
	u64 frame;

	if (!xen_pv_domain()) {
		note_skip("needs a PV guest, which sees machine frames");
		return;
	}
	{
		TWO_POOLS(persistent, ephemeral);
		/* The first megabyte whole, with its holes and its BIOS. */
		for (frame = 0; frame <= last; frame += frame < 256 ? 1 : step) {
			if (frame_is_ours(frame) || frame_is_shared(frame))
				continue;
			if (!refused(persistent, ephemeral, frame))
				return;
			if (++tried % 256 == 0)
				cond_resched();
		}
		if (!pages_are_left(persistent, ephemeral))
			return;
	}
	comment("%s: %u frames of %llu tried", __func__, tried, last + 1);
	CHECK(tried >= 256, "only %u frames were tried", tried);
}

/* Devices' registers are not memory, whoever may map them. */
static void frames_of_devices(void)
{
	static const u64 frames[] = {
		0xa0,		/* VGA */
		0xfec00,	/* I/O APIC */
		0xfee00,	/* local APIC */
	};
	unsigned int i;

	if (!xen_pv_domain()) {
		note_skip("needs a PV guest, which sees machine frames");
		return;
	}
	{
		TWO_POOLS(persistent, ephemeral);
		for (i = 0; i < ARRAY_SIZE(frames); i++)
			if (!refused(persistent, ephemeral, frames[i]))
				return;
		pages_are_left(persistent, ephemeral);
	}
}

/*
 * A page table is the guest's own memory, but a get into one would forge mappings. (A put only
 * reads what the guest can read anyway; either answer will do.)
 */
static void frames_of_page_tables(void)
{
	unsigned long address = (unsigned long)page_address(source);
	u64 frames[2];
	unsigned int i, level;
	pte_t *pte;
	int rc;

	if (!xen_pv_domain()) {
		note_skip("only a PV guest's page tables are Xen's business");
		return;
	}
	pte = lookup_address(address, &level);
	CHECK(pte && level == PG_LEVEL_4K, "no page table for the linear map: level %u", level);
	frames[0] = virt_to_gfn((void *)((unsigned long)pte & PAGE_MASK));	/* lowest level */
	frames[1] = virt_to_gfn(current->mm->pgd);			/* highest level */
	{
		TWO_POOLS(persistent, ephemeral);
		for (i = 0; i < ARRAY_SIZE(frames); i++) {
			EXPECT(get_frame(&HANDLE(persistent, 1, 1), frames[i]), -EFAULT);
			EXPECT(get_frame(&HANDLE(ephemeral, 1, 1), frames[i]), -EFAULT);
			rc = put_frame(&HANDLE(persistent, 1, 2), frames[i]);
			CHECK(rc == 1 || rc == -EFAULT, "put of a page table: %d", rc);
		}
		pages_are_left(persistent, ephemeral);
	}
}

/* A duplicate put that fails drops the old page: it never is got as if it were the new one. */
static void refused_duplicate_put_drops_the_page(void)
{
	TWO_POOLS(persistent, ephemeral);
	EXPECT(put_frame(&HANDLE(persistent, 1, 1), FRAME_NONE), -EFAULT);
	EXPECT(put_frame(&HANDLE(ephemeral, 1, 1), FRAME_NONE), -EFAULT);
	EXPECT(get_seed(&HANDLE(persistent, 1, 1), 1), 0);
	EXPECT(get_seed(&HANDLE(ephemeral, 1, 1), 2), 0);
}

const struct test_case frame_cases[] = {
	CASE(frames_beyond_memory),
	CASE(frames_of_others),
	CASE(frames_of_devices),
	CASE(frames_of_page_tables),
	CASE(refused_duplicate_put_drops_the_page),
	END_OF_CASES
};
