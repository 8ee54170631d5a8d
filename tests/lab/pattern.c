/* SPDX-License-Identifier: GPL-2.0 */
/*
 * pattern MIB SEED RESULT: hold anonymous memory with a known content, and say on SIGUSR1 whether every page of it is right.
 *
 * Each word of the memory depends on the seed, its page and its place in the page. RESULT is replaced by one line each time:
 * "ready PAGES", then for every signal "checked PAGES wrong WRONG first PAGE". A page that is wrong stays wrong.
 */
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

#define PAGE_WORDS 512UL

static uint64_t word(uint64_t seed, uint64_t page, uint64_t place)
{
	uint64_t value = seed ^ page << 20 ^ place;

	value = (value ^ value >> 30) * 0xbf58476d1ce4e5b9ULL;
	value = (value ^ value >> 27) * 0x94d049bb133111ebULL;
	return value ^ value >> 31;
}

static void say(const char *path, const char *text)
{
	char temporary[256];
	FILE *file;

	snprintf(temporary, sizeof(temporary), "%s.new", path);
	file = fopen(temporary, "w");
	if (!file || fputs(text, file) < 0 || fclose(file) || rename(temporary, path))
		exit(1);
}

int main(int count, char **arguments)
{
	uint64_t seed, pages, page, place, wrong, first;
	const char *result;
	uint64_t *memory;
	char text[128];
	sigset_t signals;
	int signal;

	if (count != 4)
		return 2;
	pages = strtoull(arguments[1], NULL, 10) << 8;
	seed = strtoull(arguments[2], NULL, 10);
	result = arguments[3];
	sigemptyset(&signals);
	sigaddset(&signals, SIGUSR1);
	sigprocmask(SIG_BLOCK, &signals, NULL);
	memory = mmap(NULL, pages << 12, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (memory == MAP_FAILED)
		return 1;
	for (page = 0; page < pages; page++)
		for (place = 0; place < PAGE_WORDS; place++)
			memory[page * PAGE_WORDS + place] = word(seed, page, place);
	snprintf(text, sizeof(text), "ready %llu\n", (unsigned long long)pages);
	say(result, text);
	while (!sigwait(&signals, &signal)) {
		for (wrong = 0, first = 0, page = 0; page < pages; page++) {
			for (place = 0; place < PAGE_WORDS; place++)
				if (memory[page * PAGE_WORDS + place] != word(seed, page, place))
					break;
			if (place < PAGE_WORDS && !wrong++)
				first = page;
		}
		snprintf(text, sizeof(text), "checked %llu wrong %llu first %llu\n", (unsigned long long)pages,
			 (unsigned long long)wrong, (unsigned long long)first);
		say(result, text);
	}
	return 1;
}
