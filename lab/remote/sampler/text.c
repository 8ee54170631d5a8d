/* SPDX-License-Identifier: MIT */
/* Text that grows, and files that are kept open. */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "sampler.h"

static void make_room(struct text *text, size_t more)
{
    size_t room = text->room ? text->room : 4096;

    if (text->length + more <= text->room)
        return;
    while (room < text->length + more)
        room += room / 2;
    text->at = realloc(text->at, room);
    if (!text->at)
        die("no memory for %zu bytes of readings", room);
    text->room = room;
}

void text_add(struct text *text, const char *bytes, size_t length)
{
    if (!length)
        return;
    make_room(text, length);
    memcpy(text->at + text->length, bytes, length);
    text->length += length;
}

void text_print(struct text *text, const char *format, ...)
{
    va_list args;
    int length;

    make_room(text, 256);
    va_start(args, format);
    length = vsnprintf(text->at + text->length, text->room - text->length, format, args);
    va_end(args);
    if (length < 0)
        die("printing a reading");
    if ((size_t)length >= text->room - text->length) {
        make_room(text, length + 1);
        va_start(args, format);
        vsnprintf(text->at + text->length, length + 1, format, args);
        va_end(args);
    }
    text->length += length;
}

void file_name(struct file *file, const char *format, ...)
{
    va_list args;
    int length;

    va_start(args, format);
    length = vsnprintf(file->path, sizeof(file->path), format, args);
    va_end(args);
    errno = 0;
    if (length < 0 || (size_t)length >= sizeof(file->path))
        die("%s...: longer than %d bytes", file->path, PATH_BYTES);
    file->fd = -1;
}

/*
 * /proc gives its longer files a page at a time. Files of debugfs cannot be read at a place
 * (ESPIPE): *once is set then, as they have to be opened for each reading. -1: it cannot be read.
 */
static ssize_t read_whole(int fd, char *to, size_t room, bool *once)
{
    size_t length = 0;

    while (length < room) {
        ssize_t got = *once ? read(fd, to + length, room - length) : pread(fd, to + length, room - length, length);

        if (got < 0 && errno == ESPIPE && !*once) {
            *once = true;
            continue;
        }

        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return -1;
        if (!got)
            break;
        length += got;
    }

    return length;
}

const char *file_read(struct file *file)
{
    static char content[65536];
    bool fresh = file->fd < 0;
    bool once = false;
    ssize_t length;

    for (;;) {
        if (file->fd < 0)
            file->fd = open(file->path, O_RDONLY | O_CLOEXEC);
        if (file->fd < 0)
            return NULL;
        length = read_whole(file->fd, content, sizeof(content) - 1, &once);
        if (length >= 0)
            break;
        file_close(file);
        if (fresh)
            return NULL;
        fresh = true;
    }
    content[length] = '\0';
    if (once)
        file_close(file);

    return content;
}

void file_close(struct file *file)
{
    if (file->fd >= 0)
        close(file->fd);
    file->fd = -1;
}
