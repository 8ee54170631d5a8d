/* SPDX-License-Identifier: GPL-2.0 */
/*
 * race FILE SECONDS [DIRECT]: direct writes of a file's pages against buffered reads and evictions of them. Nobody may read what was
 * overwritten before the read began.
 *
 * Each page is full of pairs: its number, and how often it was written. DIRECT is the same file by another path, for the direct writes.
 *
 * Prints JSON: "writes", "reads", and "stale": reads that found a page, or a part of one, that is another or of before. The first of
 * them is told on standard error. Exit status 1 when an operation failed.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PAGE	4096UL
#define PAGES	256
#define PAIRS	(PAGE / sizeof(struct pair))
#define READERS	2
#define PAUSE_US 3000

struct pair {
	uint64_t page, writes;
};

static const char *path, *direct;
static _Atomic uint64_t written[PAGES], reads, stale;
static atomic_bool over;

static void die(const char *what)
{
	fprintf(stderr, "race: %s: %s\n", what, strerror(errno));
	exit(1);
}

static unsigned int any(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state % PAGES;
}

static int opened(const char *of, int flags)
{
	int file = open(of, flags, 0600);

	if (file < 0)
		die(of);
	return file;
}

static struct pair *new_page(void)
{
	void *page;

	if (posix_memalign(&page, PAGE, PAGE))
		die("posix_memalign");
	return page;
}

static void put(int file, struct pair *pairs, uint64_t page, uint64_t writes)
{
	size_t each;

	for (each = 0; each < PAIRS; each++)
		pairs[each] = (struct pair){ page, writes };
	if (pwrite(file, pairs, PAGE, page * PAGE) != (ssize_t)PAGE)
		die("write");
}

static void *write_all(void *unused)
{
	struct pair *pairs = new_page();
	int file = opened(direct, O_RDWR | O_DIRECT);
	uint64_t state = 1;

	while (!over) {
		unsigned int page = any(&state);

		put(file, pairs, page, written[page] + 1);
		written[page]++; /* from now on, nobody may read an older one */
		usleep(PAUSE_US); /* nothing of the file is kept while it is written directly */
	}
	close(file);
	free(pairs);
	return unused;
}

static void *evict(void *unused)
{
	int file = opened(path, O_RDONLY);

	while (!over) {
		errno = posix_fadvise(file, 0, 0, POSIX_FADV_DONTNEED);
		if (errno)
			die("posix_fadvise");
		usleep(500);
	}
	close(file);
	return unused;
}

static void *read_all(void *seed)
{
	struct pair *pairs = new_page();
	int file = opened(path, O_RDONLY);
	uint64_t state = *(uint64_t *)seed;
	size_t each;

	/* One reads ahead, so that several pages are asked for at a time; the other by single pages. */
	if (state % 2 && posix_fadvise(file, 0, 0, POSIX_FADV_RANDOM))
		die("posix_fadvise");
	while (!over) {
		unsigned int page = any(&state);
		uint64_t least = written[page];

		if (pread(file, pairs, PAGE, page * PAGE) != (ssize_t)PAGE)
			die("read");
		reads++;
		for (each = 0; each < PAIRS; each++)
			if (pairs[each].page != page || pairs[each].writes < least)
				break;
		if (each == PAIRS)
			continue;
		if (!stale++)
			fprintf(stderr, "race: page %u, pair %zu: page %llu after %llu writes, and %llu were done\n", page, each,
				(unsigned long long)pairs[each].page, (unsigned long long)pairs[each].writes,
				(unsigned long long)least);
	}
	close(file);
	free(pairs);
	return NULL;
}

static void start(pthread_t *thread, void *(*act)(void *), void *with)
{
	errno = pthread_create(thread, NULL, act, with);
	if (errno)
		die("pthread_create");
}

int main(int count, char **arguments)
{
	static uint64_t seeds[READERS] = { 3, 4 };
	pthread_t threads[READERS + 2];
	struct pair *pairs = new_page();
	unsigned long long writes = 0;
	unsigned int each;
	int file;

	if (count != 3 && count != 4) {
		fprintf(stderr, "usage: race FILE SECONDS [DIRECT]\n");
		return 2;
	}
	path = arguments[1];
	direct = count == 4 ? arguments[3] : path;
	file = opened(path, O_RDWR | O_CREAT | O_TRUNC);
	for (each = 0; each < PAGES; each++)
		put(file, pairs, each, 0);
	if (fsync(file))
		die("fsync");
	start(&threads[0], write_all, NULL);
	start(&threads[1], evict, NULL);
	for (each = 0; each < READERS; each++)
		start(&threads[2 + each], read_all, &seeds[each]);
	sleep(atoi(arguments[2]));
	over = true;
	for (each = 0; each < READERS + 2; each++)
		if (pthread_join(threads[each], NULL))
			die("pthread_join");
	if (unlink(path))
		die("unlink");
	for (each = 0; each < PAGES; each++)
		writes += written[each];
	printf("{\"writes\": %llu, \"reads\": %llu, \"stale\": %llu}\n", writes, (unsigned long long)reads, (unsigned long long)stale);
	free(pairs);
	close(file);
	return 0;
}
