/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * kvload: fills a memcached or a Valkey with values, and asks for them.
 *
 *     kvload PROTOCOL PORT fill KEYS BYTES
 *     kvload PROTOCOL PORT run SEED KEYS BYTES SKEW READS CONNECTIONS RATE REQUESTS
 *
 * PROTOCOL: memcached or valkey, at PORT of the loopback. SKEW: exponent of Zipf's law
 * below 1, 0 for none. READS: percent of requests that read; the others write. RATE:
 * requests a second that arrive whatever became of those before (an open loop): each is
 * late from its moment on. 0: each connection asks again when it has its answer.
 *
 * Every value tells its key, and is checked. workloads/kvload_output.py reads what is
 * printed.
 */
#define PROGRAM "kvload"

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdbool.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "latency.h"

#define MOST_CONNECTIONS 1024
#define MOST_VALUE (1UL << 20)
#define SERVER_STARTS 120000000000UL    /* ns */

struct connection {
    int socket;
    char *in, *out;
    size_t have, in_size, left, out_size, out_at;
    uint64_t next, answered;    /* the first request to send, and the first without answer */
    uint64_t sent_at;
};

static bool valkey;
static uint64_t seed, keys, connections, requests, reads, first_began;
static size_t bytes;
static double rate, skew, zeta, eta, alpha, zeta2;
static struct connection all[MOST_CONNECTIONS];
static struct latencies get_latencies, set_latencies;
static uint64_t gets, sets, hits;
static char *value;

static double unit(uint64_t number)
{
    return (double)(mixed(number) >> 11) * 0x1p-53;
}

/* Gray et al., Quickly generating billion-record synthetic databases, 1994. */
static void prepare_skew(void)
{
    for (uint64_t i = 1; i <= keys; i++)
        zeta += 1 / pow((double)i, skew);
    zeta2 = 1 + pow(0.5, skew);
    alpha = 1 / (1 - skew);
    eta = (1 - pow(2.0 / (double)keys, 1 - skew)) / (1 - zeta2 / zeta);
}

static uint64_t key_of(uint64_t request)
{
    double u = unit(seed + 2 * request), uz = u * zeta;
    uint64_t rank;

    if (skew == 0)
        rank = (uint64_t)(u * (double)keys);
    else if (uz < 1)
        rank = 0;
    else if (uz < zeta2)
        rank = 1;
    else
        rank = (uint64_t)((double)keys * pow(eta * u - eta + 1, alpha));
    if (rank >= keys)
        rank = keys - 1;
    /* hot keys are not neighbours: they would share pages */
    return (uint64_t)((unsigned __int128)rank * 2654435761UL % keys);
}

static bool is_read(uint64_t request)
{
    return unit(seed + 2 * request + 1) * 100 < (double)reads;
}

static void make_value(uint64_t key)
{
    snprintf(value, 17, "%016lx", mixed(key));
    for (size_t i = 16; i + 8 <= bytes; i += 8) {
        uint64_t word = mixed(key + i) | 0x2020202020202020UL;

        memcpy(value + i, &word, 8);
    }
    for (size_t i = bytes & ~7UL; i < bytes; i++)
        value[i] = '.';
}

/* A server that has just been started is waited for. */
static void open_connection(struct connection *each, uint16_t port)
{
    struct sockaddr_in at = { .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    uint64_t last = now() + SERVER_STARTS;
    int one = 1;

    for (;;) {
        each->socket = socket(AF_INET, SOCK_STREAM, 0);
        if (each->socket >= 0 && !connect(each->socket, (struct sockaddr *)&at, sizeof(at)))
            break;
        if (each->socket < 0 || errno != ECONNREFUSED || now() > last)
            die("cannot connect to port %u: %s", port, strerror(errno));
        close(each->socket);
        sleep_until(now() + 100000000UL);
    }
    setsockopt(each->socket, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    fcntl(each->socket, F_SETFL, O_NONBLOCK);
    each->in_size = bytes + 4096;
    each->in = malloc(each->in_size);
    if (!each->in)
        die("no memory for a connection");
}

static void append(struct connection *each, const char *text, size_t length)
{
    if (each->out_at + each->left + length > each->out_size) {
        memmove(each->out, each->out + each->out_at, each->left);
        each->out_at = 0;
        if (each->left + length > each->out_size) {
            each->out_size = 2 * (each->left + length);
            each->out = realloc(each->out, each->out_size);
            if (!each->out)
                die("no memory for requests that wait");
        }
    }
    memcpy(each->out + each->out_at + each->left, text, length);
    each->left += length;
}

static void ask(struct connection *each, bool read, uint64_t key)
{
    char line[160];
    int length;

    if (valkey && read)
        length = snprintf(line, sizeof(line), "*2\r\n$3\r\nGET\r\n$20\r\nkey:%016lx\r\n", key);
    else if (valkey)
        length = snprintf(line, sizeof(line), "*3\r\n$3\r\nSET\r\n$20\r\nkey:%016lx\r\n$%zu\r\n", key, bytes);
    else if (read)
        length = snprintf(line, sizeof(line), "get key:%016lx\r\n", key);
    else
        length = snprintf(line, sizeof(line), "set key:%016lx 0 0 %zu\r\n", key, bytes);
    append(each, line, (size_t)length);
    if (!read) {
        make_value(key);
        append(each, value, bytes);
        append(each, "\r\n", 2);
    }
}

static void push(struct connection *each)
{
    while (each->left) {
        ssize_t sent = send(each->socket, each->out + each->out_at, each->left, MSG_NOSIGNAL);

        if (sent < 0 && (errno == EAGAIN || errno == EINTR))
            return;
        if (sent < 0)
            die("cannot send: %s", strerror(errno));
        each->out_at += (size_t)sent;
        each->left -= (size_t)sent;
    }
    each->out_at = 0;
}

static void check_value(const char *at, size_t length, uint64_t key)
{
    char wanted[17];

    snprintf(wanted, sizeof(wanted), "%016lx", mixed(key));
    if (length != bytes || memcmp(at, wanted, 16))
        die("key %lu has a value that was not written", key);
}

/* Bytes of a whole answer at the beginning of what has arrived; 0 while it is not whole. */
static size_t answer(struct connection *each, bool read, uint64_t key, bool *hit)
{
    char *end = memmem(each->in, each->have, "\r\n", 2);
    size_t line, length, whole_length;

    *hit = false;
    if (!end)
        return 0;
    line = (size_t)(end - each->in) + 2;
    if (!read) {
        if (strncmp(each->in, valkey ? "+OK\r\n" : "STORED\r\n", line))
            die("a write was answered by: %.*s", (int)line - 2, each->in);
        return line;
    }
    if (!strncmp(each->in, valkey ? "$-1\r\n" : "END\r\n", line))
        return line;
    *end = '\0';
    if (sscanf(each->in, valkey ? "$%zu" : "VALUE %*s %*s %zu", &length) != 1 || length > MOST_VALUE)
        die("a read was answered by: %s", each->in);
    *end = '\r';
    whole_length = line + length + (valkey ? 2 : 7);    /* "\r\n", and "END\r\n" of memcached's */
    if (each->have < whole_length)
        return 0;
    check_value(each->in + line, length, key);
    *hit = true;
    return whole_length;
}

static void pull(struct connection *each)
{
    ssize_t got = recv(each->socket, each->in + each->have, each->in_size - each->have, 0);

    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (got <= 0)
        die("the server has closed a connection");
    each->have += (size_t)got;
}

static uint64_t planned(uint64_t request)
{
    return first_began + (uint64_t)((double)request * 1e9 / rate);
}

static void send_due(struct connection *each, uint64_t at)
{
    while (each->next < requests && (rate > 0 ? planned(each->next) <= at : each->next == each->answered)) {
        each->sent_at = at;
        ask(each, is_read(each->next), key_of(each->next));
        each->next += connections;
    }
    push(each);
}

static uint64_t take_answers(struct connection *each)
{
    uint64_t taken = 0;
    size_t used = 0, length;
    bool hit;

    pull(each);
    while (each->answered < each->next) {
        uint64_t request = each->answered, key = key_of(request);
        bool read = is_read(request);
        char *buffer = each->in;

        each->in += used;
        each->have -= used;
        length = answer(each, read, key, &hit);
        each->in = buffer;
        each->have += used;
        if (!length)
            break;
        took(read ? &get_latencies : &set_latencies, now() - (rate > 0 ? planned(request) : each->sent_at));
        *(read ? &gets : &sets) += 1;
        hits += hit;
        used += length;
        each->answered += connections;
        taken++;
    }
    memmove(each->in, each->in + used, each->have - used);
    each->have -= used;
    return taken;
}

static void run(uint16_t port)
{
    struct pollfd polled[MOST_CONNECTIONS];
    uint64_t done = 0;

    if (skew > 0)
        prepare_skew();
    for (uint64_t i = 0; i < connections; i++) {
        open_connection(&all[i], port);
        all[i].next = all[i].answered = i;
        polled[i].fd = all[i].socket;
    }
    prctl(PR_SET_TIMERSLACK, 1UL);
    first_began = now();
    while (done < requests) {
        uint64_t at = now(), due = UINT64_MAX;
        struct timespec wait = { .tv_sec = 60 };

        for (uint64_t i = 0; i < connections; i++) {
            send_due(&all[i], at);
            polled[i].events = POLLIN | (all[i].left ? POLLOUT : 0);
            if (rate > 0 && all[i].next < requests && planned(all[i].next) < due)
                due = planned(all[i].next);
        }
        if (due != UINT64_MAX) {
            at = now();
            due = due > at ? due - at : 0;
            wait.tv_sec = (time_t)(due / 1000000000UL);
            wait.tv_nsec = (long)(due % 1000000000UL);
        }
        if (ppoll(polled, connections, &wait, NULL) < 0 && errno != EINTR)
            die("cannot wait: %s", strerror(errno));
        for (uint64_t i = 0; i < connections; i++)
            if (polled[i].revents)
                done += take_answers(&all[i]);
    }
    printf("requests %lu %.6f\n", done, (double)(now() - first_began) / 1e9);
    printf("get %lu %lu %lu\n", gets, hits, get_latencies.longest);
    printf("set %lu %lu\n", sets, set_latencies.longest);
    print_latencies(&get_latencies, "get");
    print_latencies(&set_latencies, "set");
}

static void fill(uint16_t port)
{
    struct connection *each = &all[0];
    uint64_t asked = 0, stored = 0;
    bool hit;

    open_connection(each, port);
    while (stored < keys) {
        struct pollfd polled = { .fd = each->socket };
        size_t length;

        while (asked < keys && asked - stored < 64)
            ask(each, false, asked++);
        push(each);
        polled.events = POLLIN | (each->left ? POLLOUT : 0);
        if (poll(&polled, 1, -1) < 0 && errno != EINTR)
            die("cannot wait: %s", strerror(errno));
        pull(each);
        while (stored < asked && (length = answer(each, false, stored, &hit))) {
            each->have -= length;
            memmove(each->in, each->in + length, each->have);
            stored++;
        }
    }
    printf("stored %lu\n", stored);
}

int main(int argc, char **argv)
{
    uint64_t port;

    if (argc < 6 || (strcmp(argv[1], "memcached") && strcmp(argv[1], "valkey")))
        die("usage: kvload memcached|valkey PORT fill KEYS BYTES | run SEED KEYS BYTES SKEW READS CONNECTIONS RATE REQUESTS");
    valkey = !strcmp(argv[1], "valkey");
    port = whole(argv[2], '\0', NULL);
    puts("kvload 1");
    if (argc == 6 && !strcmp(argv[3], "fill")) {
        keys = whole(argv[4], '\0', NULL);
        bytes = whole(argv[5], '\0', NULL);
    } else if (argc == 12 && !strcmp(argv[3], "run")) {
        seed = mixed(whole(argv[4], '\0', NULL));
        keys = whole(argv[5], '\0', NULL);
        bytes = whole(argv[6], '\0', NULL);
        skew = fraction(argv[7]);
        reads = whole(argv[8], '\0', NULL);
        connections = whole(argv[9], '\0', NULL);
        rate = fraction(argv[10]);
        requests = whole(argv[11], '\0', NULL);
        if (skew >= 1 || reads > 100 || !connections || connections > MOST_CONNECTIONS || requests < connections)
            die("arguments are out of range");
    } else {
        die("%s: neither fill nor run, or other arguments than it takes", argv[3]);
    }
    if (!port || port > 65535 || !keys || bytes < 16 || bytes > MOST_VALUE)
        die("arguments are out of range");
    value = malloc(bytes + 1);
    if (!value)
        die("no memory for a value");
    if (connections)
        run((uint16_t)port);
    else
        fill((uint16_t)port);
    puts("end");
    if (fflush(stdout) || ferror(stdout))
        die("cannot write: %s", strerror(errno));

    return 0;
}
