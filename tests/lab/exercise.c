/* SPDX-License-Identifier: GPL-2.0 */
/*
 * exercise FILE SEED OPERATIONS KIB [DIRECT]: change a file in every way that there is, evict it from memory in between, and compare all that is
 * read with what it has to be.
 *
 * A copy in memory follows each operation. Offsets and lengths are any bytes, but where the kernel wants whole blocks. "keep" has all
 * pages read from the disk and evicted, so that the next operation finds none in memory, and what is beneath has them all. In the end the
 * file is compared as it is read, and as it is on the disk. DIRECT is the same file by another path, for what is read and written directly.
 *
 * With an odd seed direct writes are torn, with an even one buffered writes are short, and with one that 3 divides neither is done. With
 * no hook of ours, Linux 6.18 may fail to read from ext4 (EIO) after short ones; 6.12 and 6.18 may fail so with xfs, or read from it what
 * is not there after either.
 *
 * Prints JSON: how often each operation was done ("none": the file system has no such operation), and "wrong": bytes that were others.
 * The first of them is told on standard error. Exit status 1 when an operation failed that must not.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <linux/aio_abi.h>
#include <linux/btrfs.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#define BLOCK 4096UL
#define ENCODED_MOST (128 * 1024UL) /* btrfs takes no more at a time */

enum operation {
	READ, WRITE, MAPPED_READ, MAPPED_WRITE, DIRECT_READ, DIRECT_WRITE, TRUNCATE, PUNCH, ZERO, COLLAPSE, INSERT, APPEND, COPY, CLONE,
	ASYNC_WRITE, TORN_WRITE, SHORT_WRITE, ENCODED_WRITE, REOPEN, EVICT, KEEP, OPERATIONS
};

static const char *const names[OPERATIONS] = {
	"read", "write", "mapped_read", "mapped_write", "direct_read", "direct_write", "truncate", "punch", "zero", "collapse", "insert",
	"append", "copy", "clone", "async_write", "torn_write", "short_write", "encoded_write", "reopen", "evict", "keep"
};

static const char *path, *direct_path;
static int file = -1, direct = -1;
static bool tears, shortens;
static uint8_t *copy, *buffer;
static uint8_t *edge;	/* here memory ends that can be read */
static aio_context_t asynchronous;
static size_t size, most;
static uint64_t state, step, wrong;
static uint64_t done[OPERATIONS], none[OPERATIONS];

static void die(const char *what)
{
	fprintf(stderr, "exercise: step %llu: %s: %s\n", (unsigned long long)step, what, strerror(errno));
	exit(1);
}

static uint64_t any(uint64_t below)
{
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return below ? state % below : 0;
}

static void open_all(void)
{
	if (file >= 0 && (close(file) || close(direct)))
		die("close");
	file = open(path, O_RDWR | O_CREAT, 0600);
	direct = open(direct_path, O_RDWR | O_DIRECT);
	if (file < 0 || direct < 0)
		die("open");
}

static void compare(const uint8_t *seen, size_t from, size_t length, const char *how)
{
	size_t at;

	if (!memcmp(seen, copy + from, length))
		return;
	for (at = 0; at < length; at++) {
		if (seen[at] == copy[from + at])
			continue;
		if (!wrong)
			fprintf(stderr, "exercise: step %llu: %s: byte %zu of %zu is %02x, and has to be %02x\n",
				(unsigned long long)step, how, from + at, size, seen[at], copy[from + at]);
		wrong++;
	}
}

/* What is written is never what was there before. */
static void fill(uint8_t *at, size_t length)
{
	while (length--)
		*at++ = any(256);
}

static void in_file(size_t *from, size_t *length)
{
	*from = any(size);
	*length = size ? 1 + any(size - *from) : 0;
}

static void anywhere(size_t *from, size_t *length)
{
	*from = any(most);
	*length = 1 + any(most - *from);
}

/* Whole blocks within the file; none: false. */
static bool blocks(size_t *from, size_t *length)
{
	size_t number = size / BLOCK;

	if (!number)
		return false;
	*from = any(number) * BLOCK;
	*length = (1 + any(number - *from / BLOCK)) * BLOCK;
	return true;
}

static void grown(size_t to)
{
	if (to > size)
		size = to;
}

/* Short where the file ends. */
static size_t read_all(int descriptor, uint8_t *to, size_t from, size_t length)
{
	ssize_t got = pread(descriptor, to, length, from);

	if (got < 0)
		die("read");
	return got;
}

static void write_all(int descriptor, const uint8_t *what, size_t from, size_t length)
{
	size_t had = 0;

	while (had < length) {
		ssize_t put = pwrite(descriptor, what + had, length - had, from + had);

		if (put <= 0)
			die("write");
		had += put;
	}
}

static void evict(void)
{
	if (fdatasync(file))
		die("fdatasync");
	errno = posix_fadvise(file, 0, 0, POSIX_FADV_DONTNEED);
	if (errno)
		die("posix_fadvise");
}

static void whole(int descriptor, const char *how)
{
	if (read_all(descriptor, buffer, 0, most + BLOCK) != size) {
		fprintf(stderr, "exercise: step %llu: %s: the file is not as long as it has to be\n", (unsigned long long)step, how);
		wrong++;
		return;
	}
	compare(buffer, 0, size, how);
}

/* All of it is beneath, and none in memory. */
static void keep(void)
{
	evict();
	whole(file, "keep");
	evict();
}

/* Whether the file system has the operation, and did it. */
static bool allocate(int mode, size_t from, size_t length)
{
	if (!fallocate(file, mode, from, length))
		return true;
	if (errno != EOPNOTSUPP)
		die("fallocate");
	return false;
}

static void map(bool writes)
{
	size_t from, length, page;
	uint8_t *at;

	in_file(&from, &length);
	page = from / BLOCK * BLOCK;
	at = mmap(NULL, from - page + length, PROT_READ | (writes ? PROT_WRITE : 0), MAP_SHARED, file, page);
	if (at == MAP_FAILED)
		die("mmap");
	if (writes) {
		fill(copy + from, length);
		memcpy(at + from - page, copy + from, length);
		if (any(2) && msync(at, from - page + length, MS_SYNC))
			die("msync");
	} else {
		compare(at + from - page, from, length, "mapped_read");
	}
	if (munmap(at, from - page + length))
		die("munmap");
}

static bool direct_operation(bool writes)
{
	size_t from, length;

	if (!blocks(&from, &length))
		return false;
	if (writes) {
		fill(copy + from, length);
		memcpy(buffer, copy + from, length);
		write_all(direct, buffer, from, length);
	} else {
		if (read_all(direct, buffer, from, length) != length)
			wrong++;
		compare(buffer, from, length, "direct_read");
	}
	return true;
}

/* As direct writes of databases: submitted, and waited for. */
static bool async_write(void)
{
	struct iocb request = { .aio_lio_opcode = IOCB_CMD_PWRITE, .aio_fildes = direct }, *requests = &request;
	struct io_event done;
	size_t from, length;

	if (!blocks(&from, &length))
		return false;
	fill(copy + from, length);
	memcpy(buffer, copy + from, length);
	request.aio_buf = (uintptr_t)buffer;
	request.aio_nbytes = length;
	request.aio_offset = from;
	if (syscall(SYS_io_submit, asynchronous, 1, &requests) != 1)
		die("io_submit");
	if (syscall(SYS_io_getevents, asynchronous, 1, 1, &done, NULL) != 1)
		die("io_getevents");
	if (done.res != (__s64)length)
		die("asynchronous write");
	return true;
}

/* A direct write that fails in the middle: what the disk has then, the file has. */
static bool torn_write(void)
{
	size_t from, length, good;
	ssize_t put;

	if (!blocks(&from, &length) || length < 2 * BLOCK)
		return false;
	keep();
	good = (1 + any(length / BLOCK - 1)) * BLOCK;
	fill(edge - good, good);
	put = pwrite(direct, edge - good, length, from);
	if (put == (ssize_t)length || (put < 0 && errno != EFAULT))
		die("torn write");
	if (read_all(direct, buffer, from, length) != length)
		wrong++;
	memcpy(copy + from, buffer, length);
	return true;
}

/* A write of which only the beginning can be read from memory, of a file that is beneath. */
static bool short_write(void)
{
	size_t from, length, good;
	ssize_t put;

	anywhere(&from, &length);
	keep();
	good = any(length);
	fill(edge - good, good);
	put = pwrite(file, edge - good, length, from);
	if (put == (ssize_t)length || (put < 0 && errno != EFAULT))
		die("short write");
	if (put <= 0)
		return false;
	memcpy(copy + from, edge - good, put);
	grown(from + put);
	/* Written out, and its folio split by a hole after it: what was written is read again. */
	if (fdatasync(file))
		die("fdatasync");
	from = (from + put + BLOCK - 1) / BLOCK * BLOCK;
	if (from + BLOCK <= size && allocate(FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, from, BLOCK))
		memset(copy + from, 0, BLOCK);
	whole(file, "short_write");
	return true;
}

/* Bits of a deflated block, the least significant first. */
static size_t put_bits(uint8_t *to, size_t at, unsigned int bits, unsigned int count)
{
	for (; count--; bits >>= 1, at++)
		to[at / 8] |= (bits & 1) << at % 8;
	return at;
}

/* A code of the fixed alphabet, the most significant bit first. */
static size_t put_code(uint8_t *to, size_t at, unsigned int code, unsigned int count)
{
	while (count--)
		at = put_bits(to, at, code >> count, 1);
	return at;
}

static size_t put_literal(uint8_t *to, size_t at, uint8_t byte)
{
	return byte < 144 ? put_code(to, at, 0x30 + byte, 8) : put_code(to, at, 0x190 + byte - 144, 9);
}

/* So many times the same byte, as zlib has it. */
static size_t compressed(uint8_t *to, uint8_t byte, size_t length)
{
	uint32_t low = 1, high = 0;
	size_t at = 16, each;

	memset(to, 0, BLOCK);
	to[0] = 0x78;
	to[1] = 0x9c;
	at = put_bits(to, at, 3, 3); /* the last block, of fixed codes */
	at = put_literal(to, at, byte);
	for (each = length - 1; each >= 258; each -= 258)
		at = put_code(to, put_code(to, at, 0xc5, 8), 0, 5); /* 258 times what is 1 before */
	while (each--)
		at = put_literal(to, at, byte);
	at = put_code(to, at, 0, 7);
	for (each = 0; each < length; each++) {
		low = (low + byte) % 65521;
		high = (high + low) % 65521;
	}
	at = (at + 7) / 8;
	to[at++] = high >> 8;
	to[at++] = high;
	to[at++] = low >> 8;
	to[at++] = low;
	return at;
}

/* What btrfs receives is compressed already. */
static bool encoded_write(void)
{
	struct btrfs_ioctl_encoded_io_args arguments = { .iovcnt = 1, .compression = BTRFS_ENCODED_IO_COMPRESSION_ZLIB };
	uint8_t byte = any(256);
	size_t from, length;
	struct iovec part;

	if (!blocks(&from, &length) || length < 2 * BLOCK)
		return false;
	if (length > ENCODED_MOST)
		length = ENCODED_MOST;
	part = (struct iovec){ buffer, compressed(buffer, byte, length) };
	arguments.iov = &part;
	arguments.offset = from;
	arguments.len = length;
	arguments.unencoded_len = length;
	if (ioctl(file, BTRFS_IOC_ENCODED_WRITE, &arguments) < 0) {
		if (errno != ENOTTY && errno != EOPNOTSUPP)
			die("encoded write");
		return false;
	}
	memset(copy + from, byte, length);
	return true;
}

static bool move_blocks(bool inserts)
{
	size_t from, length;

	if (!blocks(&from, &length))
		return false;
	if (inserts) {
		if (size + length > most || !allocate(FALLOC_FL_INSERT_RANGE, from, length))
			return false;
		memmove(copy + from + length, copy + from, size - from);
		memset(copy + from, 0, length);
		size += length;
	} else {
		if (from + length >= size || !allocate(FALLOC_FL_COLLAPSE_RANGE, from, length))
			return false;
		memmove(copy + from, copy + from + length, size - from - length);
		memset(copy + size - length, 0, length);
		size -= length;
	}
	return true;
}

/* Within the file, from one place to another that does not overlap it. */
static bool copy_range(void)
{
	size_t from, length, to;
	off_t in, out;

	in_file(&from, &length);
	to = any(most - length + 1);
	if (to < from + length && from < to + length)
		return false;
	for (in = from, out = to; (size_t)in < from + length; ) {
		ssize_t moved = copy_file_range(file, &in, file, &out, from + length - in, 0);

		if (moved < 0 && (errno == EOPNOTSUPP || errno == EINVAL) && (size_t)in == from)
			return false;
		if (moved <= 0)
			die("copy_file_range");
	}
	memcpy(copy + to, copy + from, length);
	grown(to + length);
	return true;
}

/* Blocks of the file are shared with another place in it that does not overlap them. */
static bool clone_range(void)
{
	struct file_clone_range range = { .src_fd = file };
	size_t from, length, to;

	if (!blocks(&from, &length))
		return false;
	to = any(most / BLOCK - length / BLOCK + 1) * BLOCK;
	if (to < from + length && from < to + length)
		return false;
	range.src_offset = from;
	range.src_length = length;
	range.dest_offset = to;
	if (ioctl(file, FICLONERANGE, &range)) {
		if (errno != EOPNOTSUPP && errno != ENOTTY)
			die("clone");
		return false;
	}
	memcpy(copy + to, copy + from, length);
	grown(to + length);
	return true;
}

static bool change(enum operation what)
{
	size_t from, length;

	switch (what) {
	case WRITE:
		anywhere(&from, &length);
		fill(copy + from, length);
		write_all(file, copy + from, from, length);
		grown(from + length);
		return true;
	case APPEND:
		length = size < most ? 1 + any(most - size) : 0;
		fill(copy + size, length);
		write_all(file, copy + size, size, length);
		size += length;
		return length;
	case TRUNCATE:
		length = any(most + 1);
		if (ftruncate(file, length))
			die("ftruncate");
		if (length < size)
			memset(copy + length, 0, size - length);
		size = length;
		return true;
	case PUNCH:
	case ZERO:
		anywhere(&from, &length);
		if (!allocate((what == PUNCH ? FALLOC_FL_PUNCH_HOLE : FALLOC_FL_ZERO_RANGE) | FALLOC_FL_KEEP_SIZE, from, length))
			return false;
		if (from < size)
			memset(copy + from, 0, (from + length < size ? from + length : size) - from);
		return true;
	default:
		return false;
	}
}

static bool perform(enum operation what)
{
	size_t from, length;

	switch (what) {
	case READ:
		in_file(&from, &length);
		if (read_all(file, buffer, from, length) != length)
			wrong++;
		compare(buffer, from, length, "read");
		return true;
	case MAPPED_READ:
	case MAPPED_WRITE:
		if (!size)
			return false;
		map(what == MAPPED_WRITE);
		return true;
	case DIRECT_READ:
	case DIRECT_WRITE:
		return direct_operation(what == DIRECT_WRITE);
	case COLLAPSE:
	case INSERT:
		return move_blocks(what == INSERT);
	case COPY:
		return size && copy_range();
	case CLONE:
		return clone_range();
	case ASYNC_WRITE:
		return async_write();
	case TORN_WRITE:
		return tears && torn_write();
	case SHORT_WRITE:
		return shortens && short_write();
	case ENCODED_WRITE:
		return encoded_write();
	case REOPEN:
		open_all();
		return true;
	case EVICT:
		evict();
		return true;
	case KEEP:
		keep();
		return true;
	default:
		return change(what);
	}
}

int main(int count, char **arguments)
{
	uint64_t seed, steps;
	int each;

	if (count != 5 && count != 6) {
		fprintf(stderr, "usage: exercise FILE SEED OPERATIONS KIB [DIRECT]\n");
		return 2;
	}
	path = arguments[1];
	direct_path = count == 6 ? arguments[5] : path;
	seed = strtoull(arguments[2], NULL, 10);
	tears = seed % 3 && seed % 2;
	shortens = seed % 3 && !(seed % 2);
	state = seed * 0x9e3779b97f4a7c15ULL | 1;
	steps = strtoull(arguments[3], NULL, 10);
	most = strtoull(arguments[4], NULL, 10) * 1024 / BLOCK * BLOCK;
	copy = calloc(1, most + BLOCK);
	if (!most || !copy || posix_memalign((void **)&buffer, BLOCK, most + BLOCK)) {
		fprintf(stderr, "exercise: no memory\n");
		return 1;
	}
	edge = mmap(NULL, most + 2 * BLOCK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (edge == MAP_FAILED)
		die("mmap");
	edge += most + BLOCK;
	if (mprotect(edge, BLOCK, PROT_NONE))
		die("mprotect");
	if (syscall(SYS_io_setup, 1, &asynchronous))
		die("io_setup");
	unlink(path);
	open_all();
	for (step = 0; step < steps; step++) {
		/* Every third time nothing of the file is in memory, and all of it beneath. */
		enum operation what = any(3) ? any(EVICT + 1) : KEEP;

		if (perform(what))
			done[what]++;
		else
			none[what]++;
	}
	evict();
	whole(file, "the end");
	whole(direct, "the disk");
	if (unlink(path))
		die("unlink");
	printf("{\"wrong\": %llu", (unsigned long long)wrong);
	for (each = 0; each < OPERATIONS; each++)
		printf(", \"%s\": {\"done\": %llu, \"none\": %llu}", names[each], (unsigned long long)done[each], (unsigned long long)none[each]);
	printf("}\n");
	return 0;
}
