// SPDX-License-Identifier: GPL-2.0
/*
 * mode=map: a PV guest tries to map every frame of the machine by its number. Those that it can
 * map have to be its own, or Xen's that are shared with it: frames that hold tmem's pages, this
 * guest's among them, and tmem's records are neither.
 */
#include <linux/errno.h>
#include <linux/kernel.h>
#include <linux/mm.h>
#include <linux/sched.h>

#include <asm/pgtable.h>
#include <asm/xen/hypercall.h>
#include <asm/xen/page.h>
#include <xen/xen.h>

#include "tmem_test.h"

#define BATCH	64
#define SEED	0x3a9u

static bool map_at(struct page *place, u64 frame, pgprot_t protection)
{
	return !HYPERVISOR_update_va_mapping((unsigned long)page_address(place),
					     mfn_pte(frame, protection), UVMF_INVLPG);
}

/* Read-only, which is the least that can be asked for. How many of them could be mapped. */
static unsigned int map_batch(struct page *place, const u64 *frames, unsigned int nr)
{
	static struct multicall_entry calls[BATCH];
	unsigned int i, mapped = 0;

	for (i = 0; i < nr; i++)
		MULTI_update_va_mapping(&calls[i], (unsigned long)page_address(place),
					mfn_pte(frames[i], PAGE_KERNEL_RO), 0);
	if (HYPERVISOR_multicall(calls, nr)) {
		note_failure(__LINE__, "multicalls are refused");
		return 0;
	}
	for (i = 0; i < nr; i++) {
		if (calls[i].result)
			continue;
		mapped++;
		if (!frame_is_shared(frames[i]))
			note_failure(__LINE__, "frame %#llx can be mapped", frames[i]);
	}
	return mapped;
}

void map_frames(void)
{
	const u64 last = frames_of_machine();
	unsigned int nr = 0, ours = 0, tried = 0, mapped = 0;
	u64 frame, frames[BATCH];
	bool works;

	if (!xen_pv_domain()) {
		note_skip("needs a PV guest, which sees machine frames");
		return;
	}
	/* A frame of its own can be mapped like this, and is what is seen then. */
	fill(source, SEED);
	works = map_at(target, frame_of(source), PAGE_KERNEL_RO) && holds(target, SEED);
	for (frame = 0; frame <= last; frame++) {
		if (frame_is_ours(frame)) {
			ours++;
			continue;
		}
		frames[nr++] = frame;
		if (nr < BATCH && frame < last)
			continue;
		tried += nr;
		mapped += map_batch(target, frames, nr);
		nr = 0;
		cond_resched();
	}
	if (nr) {
		tried += nr;
		mapped += map_batch(target, frames, nr);
	}
	if (!map_at(target, frame_of(target), PAGE_KERNEL))
		note_failure(__LINE__, "the page can't be mapped again");
	comment("map tried=%u ours=%u shared=%u", tried, ours, mapped);
	CHECK(works, "not even a frame of this guest can be mapped");
	CHECK(mapped, "not even what Xen shares can be mapped");
}
