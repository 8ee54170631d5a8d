// SPDX-License-Identifier: GPL-2.0
/*
 * mode=fuzz: hostile operations from several threads, with anything in any field, while another
 * thread writes to frames that are under way, unmaps them, gives them back to Xen and takes others.
 *
 * Three things are known whatever happens: which answers an operation can have at all, that
 * frames that are not this guest's to use are refused, and that what nobody else touches is there:
 * every thread has pages of its own in a pool that no other operation names, and gets them back.
 */
#include <linux/atomic.h>
#include <linux/completion.h>
#include <linux/cpumask.h>
#include <linux/delay.h>
#include <linux/errno.h>
#include <linux/kernel.h>
#include <linux/kthread.h>
#include <linux/mm.h>
#include <linux/sched.h>
#include <linux/slab.h>
#include <linux/vmalloc.h>

#include <asm/pgtable.h>
#include <asm/xen/hypercall.h>
#include <asm/xen/page.h>
#include <xen/mem-reservation.h>
#include <xen/xen.h>

#include "fuzz.h"

#define THREADS		3
#define RACING_OBJECT	77

enum frame_kind { FRAME_OWN, FRAME_RACING, FRAME_TABLE, FRAME_FOREIGN, FRAME_BEYOND, FRAME_DEVICE,
	FRAME_KINDS };

static const char * const command_names[] = {
	"control", "new_pool", "destroy", "3", "put", "get", "flush_page", "flush_object", "other",
};
static_assert(ARRAY_SIZE(command_names) == FUZZ_COMMANDS);

struct fuzz_state fuzz;

/* The frame of a page table: of the lowest level, or of the highest. */
static u64 table_frame(struct fuzzer *f)
{
	unsigned int level;
	pte_t *pte = lookup_address((unsigned long)page_address(f->page[0]), &level);

	if (below(f, 2) || !pte || level != PG_LEVEL_4K)
		return fuzz.top_table;
	return virt_to_gfn((void *)((unsigned long)pte & PAGE_MASK));
}

static u64 some_frame(struct fuzzer *f, enum frame_kind *kind)
{
	static const u64 devices[] = { 0xa0, 0xb8, 0xfec00, 0xfee00 };
	u64 last = frames_of_machine(), frame;

	*kind = below(f, 3) ? below(f, 2) : below(f, FRAME_KINDS);
	if (!xen_pv_domain() && *kind > FRAME_RACING)
		*kind = FRAME_BEYOND;
	switch (*kind) {
	case FRAME_OWN:
		return frame_of(f->page[below(f, OWN_PAGES)]);
	case FRAME_RACING:
		return READ_ONCE(fuzz.frame[below(f, RACING)]);
	case FRAME_TABLE:
		return table_frame(f);
	case FRAME_DEVICE:
		return devices[below(f, ARRAY_SIZE(devices))];
	case FRAME_FOREIGN:
		frame = next_random(f) % (last + 1);
		/* A get into any frame of this guest would be the guest's own undoing. */
		if (!frame_is_ours(frame) && !frame_is_shared(frame))
			return frame;
		*kind = FRAME_BEYOND;
		fallthrough;
	default:
		return below(f, 2) ? last + 1 + below(f, 1000) : (last + 1) << below(f, 40);
	}
}

static u32 some_command(struct fuzzer *f)
{
	static const u32 usual[] = {
		TMEM_PUT_PAGE, TMEM_PUT_PAGE, TMEM_PUT_PAGE, TMEM_GET_PAGE, TMEM_GET_PAGE,
		TMEM_FLUSH_PAGE, TMEM_FLUSH_OBJECT, TMEM_NEW_POOL, TMEM_DESTROY_POOL,
	};
	static const u32 unusual[] = {
		0, 3, 8, 9, 10, 101, 102, TMEM_DRAINED, TMEM_DRAINED + 1, 0x80000000, ~0u
	};

	switch (below(f, 16)) {
	case 0:
		return unusual[below(f, ARRAY_SIZE(unusual))];
	case 1:
		return 16 + (next_random(f) >> 33);
	default:
		return usual[below(f, ARRAY_SIZE(usual))];
	}
}

static s32 some_pool(struct fuzzer *f)
{
	static const s32 odd[] = { -1, TMEM_MAX_POOLS, TMEM_MAX_POOLS + 1, S32_MAX, S32_MIN, -17 };
	s32 pool = below(f, 8) ? below(f, 4) : below(f, 2) ? below(f, TMEM_MAX_POOLS)
							   : odd[below(f, ARRAY_SIZE(odd))];

	return pool == fuzz.ledger ? 0xbad : pool;
}

static u32 some_flags(struct fuzzer *f)
{
	u32 flags = TMEM_ABI_VERSION << TMEM_POOL_VERSION_SHIFT;

	if (!below(f, 4))
		return next_random(f);
	if (!below(f, 8))
		return flags | 1u << below(f, 32);
	return flags | below(f, 4);
}

static void make_request(struct fuzzer *f, struct tmem_request *op, enum frame_kind *kind)
{
	unsigned int i;

	for (i = 0; i < sizeof(*op) / sizeof(u64); i++)
		((u64 *)op)[i] = next_random(f);
	op->command = some_command(f);
	op->pool_id = some_pool(f);
	*kind = FRAME_OWN;
	if (op->command == TMEM_NEW_POOL) {
		op->create.flags = some_flags(f);
		return;
	}
	if (below(f, 8)) {
		for (i = 0; i < 3; i++)
			op->page.object.word[i] = below(f, 8) ? 0 : below(f, 3);
		op->page.index = below(f, 8) ? below(f, 200) : ~below(f, 2);
	}
	op->page.frame = some_frame(f, kind);
	if (*kind == FRAME_RACING)
		op->page.object.word[0] = RACING_OBJECT;
}

/* Could any tmem answer that to this command? */
static bool can_answer(u32 command, int rc)
{
	switch (command) {
	case TMEM_NEW_POOL:
		return (rc >= 0 && rc < TMEM_MAX_POOLS) || rc == -EPERM || rc == -ENOMEM;
	case TMEM_DESTROY_POOL:
		return rc == 0 || rc == 1;
	case TMEM_PUT_PAGE:
		return rc == 1 || rc == -ENOMEM || rc == -EFAULT || rc == -ENODEV ||
		       rc == -TMEM_EFROZEN;
	case TMEM_GET_PAGE:
		return rc == 0 || rc == 1 || rc == -TMEM_EEMPTY || rc == -EFAULT || rc == -ENODEV;
	case TMEM_FLUSH_PAGE:
	case TMEM_FLUSH_OBJECT:
		return rc == 1 || rc == -ENODEV;
	case TMEM_DRAINED:
		return rc == 1 || rc == -ENODEV;
	default:
		return rc == -ENOSYS;
	}
}

static void hostile_request(struct fuzzer *f)
{
	/* One operation in four lies across a page's end, and at an odd address. */
	char *place = (char *)page_address(f->page[0]) + (below(f, 4) ? 64 : PAGE_SIZE - below(f, 56));
	struct tmem_request *op = (struct tmem_request *)place, made;
	int changes = atomic_read(&fuzz.changes), rc;
	enum frame_kind kind;

	make_request(f, &made, &kind);
	/* The operation is not in the frame that a get overwrites. */
	if (kind == FRAME_OWN && below(f, 2))
		op = &made;
	else
		memcpy(op, &made, sizeof(made));
	rc = raw_call(op);
	f->calls++;
	f->outcomes[min_t(u32, made.command, ARRAY_SIZE(command_names) - 1)]
		   [rc < 0 ? 2 : rc == 0 && made.command != TMEM_NEW_POOL]++;
	if (!can_answer(made.command, rc))
		note_failure(__LINE__, "command %#x, pool %d: %d", made.command, made.pool_id, rc);
	if (rc != 1 || (made.command != TMEM_PUT_PAGE && made.command != TMEM_GET_PAGE))
		return;
	/* What a page table holds its guest may read, and only that. */
	if (kind == FRAME_DEVICE || kind == FRAME_BEYOND ||
	    (kind == FRAME_TABLE && made.command == TMEM_GET_PAGE) ||
	    (kind == FRAME_FOREIGN && changes == atomic_read(&fuzz.changes)))
		note_failure(__LINE__, "command %u took frame %#llx, of kind %u", made.command,
			     made.page.frame, kind);
}

/* Addresses at which no operation can be read. */
static void hostile_pointer(struct fuzzer *f)
{
	const unsigned long addresses[] = {
		0, 8, 0x7ffffffff000, 0x7fffffffffff,		/* nothing, the end of a process */
		0x0000800000000000, 0x8000000000000000,		/* not canonical */
		0xffff7fffffffffff,
		0xffff800000000000, 0xffff82d080200000,		/* Xen's own */
		0xffff87ffffffffff, 0xffff87fffffffff0,
		-8ul, -56ul,
		(unsigned long)fuzz.fence + PAGE_SIZE,
		(unsigned long)fuzz.fence + PAGE_SIZE - 1 - below(f, 55),
	};
	unsigned long address = addresses[below(f, ARRAY_SIZE(addresses))];
	int rc = raw_call((void *)address);

	f->calls++;
	f->outcomes[ARRAY_SIZE(command_names) - 1][2]++;
	if (rc != -EFAULT)
		note_failure(__LINE__, "an operation at %#lx: %d", address, rc);
}

static int fuzz_thread(void *data)
{
	struct fuzzer *f = data;
	unsigned int i;

	for (i = 0; i < f->operations; i++) {
		unsigned int dice = below(f, 8);

		if (dice == 0)
			hostile_pointer(f);
		else if (dice < 3)
			own_page(f);
		else
			hostile_request(f);
		if (i % 64 == 0)
			cond_resched();
	}
	complete(&f->done);
	return 0;
}

/* Flushed on all vCPUs: nobody goes on writing to, or reading from, a frame that is gone. */
bool unmap_everywhere(struct page *page)
{
	return !HYPERVISOR_update_va_mapping((unsigned long)page_address(page), __pte_ma(0),
					     UVMF_INVLPG | UVMF_ALL);
}

/* Take the page from the guest's address space, and its frame from the guest when @give_up. */
static void take_away(unsigned int i, bool give_up)
{
	unsigned long address = (unsigned long)page_address(fuzz.page[i]);
	xen_pfn_t frame = frame_of(fuzz.page[i]);

	if (!unmap_everywhere(fuzz.page[i])) {
		note_failure(__LINE__, "a page can't be unmapped");
		return;
	}
	if (!give_up) {
		usleep_range(10, 50);
		if (HYPERVISOR_update_va_mapping(address, mfn_pte(frame, PAGE_KERNEL), UVMF_INVLPG))
			note_failure(__LINE__, "a page can't be mapped again");
		return;
	}
	atomic_inc(&fuzz.changes);
	xenmem_reservation_va_mapping_reset(1, &fuzz.page[i]);
	if (xenmem_reservation_decrease(1, &frame) != 1) {
		note_failure(__LINE__, "a frame can't be given up");
		return;
	}
	usleep_range(10, 100);
}

static bool bring_back(unsigned int i)
{
	xen_pfn_t frame = page_to_xen_pfn(fuzz.page[i]);

	if (xenmem_reservation_increase(1, &frame) != 1)
		return false;
	xenmem_reservation_va_mapping_update(1, &fuzz.page[i], &frame);
	WRITE_ONCE(fuzz.frame[i], frame);
	atomic_inc(&fuzz.changes);
	return true;
}

static bool is_away(unsigned int i)
{
	return get_phys_to_machine(page_to_pfn(fuzz.page[i])) == INVALID_P2M_ENTRY;
}

static int racing_thread(void *data)
{
	struct fuzzer *f = data;

	while (!READ_ONCE(fuzz.stop)) {
		unsigned int i = below(f, RACING);

		if (is_away(i))
			bring_back(i);
		else if (!xen_pv_domain() || below(f, 4))
			fill_content(fuzz.page[i], below(f, NR_CONTENTS), below(f, 4));
		else
			take_away(i, below(f, 2));
		cond_resched();
	}
	complete(&f->done);
	return 0;
}

static bool start(struct fuzzer *f, int (*thread)(void *), unsigned int cpu)
{
	struct task_struct *task = kthread_create(thread, f, "tmem_fuzz/%u", f->number);

	if (IS_ERR(task))
		return false;
	kthread_bind(task, cpu % num_online_cpus());
	wake_up_process(task);
	return true;
}

static bool prepare(struct fuzzer *fuzzers)
{
	unsigned int i, j;

	for (i = 0; i <= THREADS; i++) {
		fuzzers[i].number = i;
		fuzzers[i].random = ((u64)fuzz_seed << 8 | i) * 0x2545f4914f6cdd1dull;
		fuzzers[i].operations = fuzz_operations / THREADS;
		init_completion(&fuzzers[i].done);
		for (j = 0; j < OWN_PAGES; j++) {
			/* Physically contiguous, so that an operation may cross a page's end. */
			fuzzers[i].page[j] = j % 2 ? fuzzers[i].page[j - 1] + 1
						   : alloc_pages(GFP_KERNEL, 1);
			if (!fuzzers[i].page[j])
				return false;
		}
	}
	for (i = 0; i < RACING; i++) {
		fuzz.page[i] = alloc_page(GFP_KERNEL);
		if (!fuzz.page[i])
			return false;
		fuzz.frame[i] = frame_of(fuzz.page[i]);
	}
	fuzz.fence = vmalloc(PAGE_SIZE);
	if (!fuzz.fence)
		return false;
	memset(fuzz.fence, 0xff, PAGE_SIZE);
	fuzz.top_table = virt_to_gfn(current->mm->pgd);
	fuzz.ledger = new_pool(TMEM_POOL_PERSIST);
	return fuzz.ledger >= 0;
}

static void tidy(struct fuzzer *fuzzers)
{
	unsigned int i, j, tries;

	/* First, as persistent pages may have all of the guest's allowance. */
	for (i = 0; i < TMEM_MAX_POOLS; i++)
		destroy_pool(i);
	for (i = 0; i < RACING; i++) {
		for (tries = 0; fuzz.page[i] && is_away(i) && tries < 600 && !bring_back(i); tries++)
			msleep(100);
		if (!fuzz.page[i])
			continue;
		if (is_away(i))
			note_failure(__LINE__, "a frame did not come back");
		else
			__free_page(fuzz.page[i]);
	}
	for (i = 0; i <= THREADS; i++)
		for (j = 0; j < OWN_PAGES; j += 2)
			if (fuzzers[i].page[j])
				__free_pages(fuzzers[i].page[j], 1);
	vfree(fuzz.fence);
}

void run_fuzz(void)
{
	struct fuzzer *fuzzers = kcalloc(THREADS + 1, sizeof(*fuzzers), GFP_KERNEL);
	bool started[THREADS + 1] = { };
	unsigned long calls = 0;
	unsigned int i, j;

	memset(&fuzz, 0, sizeof(fuzz));
	if (!fuzzers || xen_initial_domain() || !prepare(fuzzers)) {
		note_failure(__LINE__, "no memory, no pool, or this is dom0, whose commands work");
	} else {
		for (i = 0; i <= THREADS; i++)
			started[i] = start(&fuzzers[i], i < THREADS ? fuzz_thread : racing_thread,
					   i < THREADS ? i : 1);
		for (i = 0; i < THREADS; i++)
			if (started[i])
				wait_for_completion(&fuzzers[i].done);
			else
				note_failure(__LINE__, "thread %u can't be started", i);
		WRITE_ONCE(fuzz.stop, true);
		if (started[THREADS])
			wait_for_completion(&fuzzers[THREADS].done);
		for (i = 0; i < THREADS; i++)
			check_own_pages(&fuzzers[i]);
	}
	for (i = 0; i < ARRAY_SIZE(command_names); i++) {
		unsigned long sum[3] = { };

		for (j = 0; fuzzers && j < THREADS * 3; j++)
			sum[j % 3] += fuzzers[j / 3].outcomes[i][j % 3];
		comment("%s: %lu done, %lu nothing there, %lu refused", command_names[i], sum[0],
			sum[1], sum[2]);
	}
	for (i = 0; fuzzers && i < THREADS; i++)
		calls += fuzzers[i].calls;
	comment("seed %u, %lu hypercalls on %u processors, frames changed %d times", fuzz_seed,
		calls, num_online_cpus(), atomic_read(&fuzz.changes));
	if (fuzzers)
		tidy(fuzzers);
	kfree(fuzzers);
}
