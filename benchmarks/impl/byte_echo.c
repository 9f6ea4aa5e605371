/* Bytes with a number in front and nothing else: the limit that sockets themselves set.
 *
 * The same part in a run as the Python implementations (see role.py), on Unix and TCP sockets. Writes are coalesced,
 * nothing is encoded, and the only check is that the numbers come in order. The server may block in a write, since
 * the client always goes on reading.
 */

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <arpa/inet.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

enum { CHUNK = 1 << 16, EVENTS = 256, PASSES = 2 };

static const char *kind = "echo", *transport = "unix", *path = "", *host = "127.0.0.1", *mode = "burst";
static long messages = 1, warmup, window = 1, connections = 1, port;
static size_t size = 64;

struct lane {
    int fd, wants_out;
    long count, window, sent, received, expected;
    char *out, *in;
    size_t out_length, out_at, in_length;
};

static void fail(const char *reason) {
    printf("{\"error\": \"%s (%s)\"}\n", reason, strerror(errno));
    fflush(stdout);
    _exit(1);
}

static int64_t nanoseconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static void ready(void) {
    puts("{\"ready\": true}");
    fflush(stdout);
}

static void wait_for_line(void) {
    char line[64];
    if (!fgets(line, sizeof line, stdin)) return;
}

static void option(const char *argument) {
    const char *value = strchr(argument, '=');
    if (!value) return;
    size_t length = (size_t)(value++ - argument);
#define IS(name) (strlen(name) == length && !strncmp(argument, name, length))
    if (IS("kind")) kind = value;
    else if (IS("transport")) transport = value;
    else if (IS("path")) path = value;
    else if (IS("host")) host = value;
    else if (IS("mode")) mode = value;
    else if (IS("port")) port = atol(value);
    else if (IS("messages")) messages = atol(value);
    else if (IS("warmup")) warmup = atol(value);
    else if (IS("window")) window = atol(value);
    else if (IS("connections")) connections = atol(value);
    else if (IS("size")) size = (size_t)atol(value);
#undef IS
}

static int is(const char *text, const char *other) { return !strcmp(text, other); }

static size_t room(void) { return size > CHUNK ? size : CHUNK / size * size; }

/* ---- sockets ---- */

static int endpoint(int listening) {
    int unix_socket = is(transport, "unix");
    int fd = socket(unix_socket ? AF_UNIX : AF_INET, SOCK_STREAM, 0);
    struct sockaddr_un local = {.sun_family = AF_UNIX};
    struct sockaddr_in net = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    snprintf(local.sun_path, sizeof local.sun_path, "%s", path);
    inet_pton(AF_INET, host, &net.sin_addr);
    struct sockaddr *address = unix_socket ? (struct sockaddr *)&local : (struct sockaddr *)&net;
    socklen_t length = unix_socket ? sizeof local : sizeof net;
    int on = 1;
    if (!unix_socket) setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (listening) {
        if (bind(fd, address, length) || listen(fd, 4096)) fail("cannot listen");
    } else if (connect(fd, address, length)) {
        fail("cannot connect");
    }
    return fd;
}

static void write_all(int fd, const char *data, size_t length) {
    while (length) {
        ssize_t written = write(fd, data, length);
        if (written < 0) fail("cannot write");
        data += written;
        length -= (size_t)written;
    }
}

static void number(char *message, uint64_t n) {
    memset(message, 'x', size);
    memcpy(message, &n, sizeof n);
}

/* Reads once, checks whole messages, keeps the rest; gives how many there were, or -1 at the end. */
static long take(struct lane *lane) {
    ssize_t got = read(lane->fd, lane->in + lane->in_length, room() + CHUNK - lane->in_length);
    if (got == 0) return -1;
    if (got < 0) {
        if (errno == EAGAIN) return 0;
        return -1;
    }
    lane->in_length += (size_t)got;
    size_t at = 0;
    long whole = 0;
    for (; lane->in_length - at >= size; at += size, whole++) {
        uint64_t n;
        memcpy(&n, lane->in + at, sizeof n);
        if ((long)n != lane->expected++) fail("a message is missing or out of order");
    }
    memmove(lane->in, lane->in + at, lane->in_length - at);
    lane->in_length -= at;
    return whole;
}

/* ---- server ---- */

static void announce(int *peers, long count, long pass_messages) {
    char *all = malloc(size * (size_t)pass_messages);
    for (long n = 0; n < pass_messages; n++) number(all + size * (size_t)n, (uint64_t)n);
    long step = is(mode, "burst") ? pass_messages : 1;
    for (long n = 0; n < pass_messages; n += step)
        for (long i = 0; i < count; i++) write_all(peers[i], all + size * (size_t)n, size * (size_t)step);
    free(all);
}

static int counted(struct lane *lane, long *pass, const long *passes) {
    long whole = take(lane);
    if (whole < 0) return 0;
    if (lane->expected == passes[*pass]) {
        lane->expected = 0;
        *pass += *pass + 1 < PASSES;
        number(lane->out, 0);
        write_all(lane->fd, lane->out, size);
    }
    return 1;
}

static void serve(void) {
    long passes[PASSES] = {warmup ? warmup : messages, messages}, pass = 0, count = 0;
    int listener = endpoint(1), poller = epoll_create1(0);
    int *peers = calloc((size_t)connections + 1, sizeof *peers);
    char *buffer = malloc(CHUNK);
    struct lane lane = {.in = malloc(room() + CHUNK), .out = malloc(room())};
    struct epoll_event events[EVENTS], event = {.events = EPOLLIN, .data.fd = listener};
    epoll_ctl(poller, EPOLL_CTL_ADD, listener, &event);
    fcntl(listener, F_SETFL, O_NONBLOCK);
    ready();
    for (;;) {
        /* With a single peer there is nothing to wait for but its bytes. */
        int single = count == 1 && connections == 1;
        int found = single ? 1 : epoll_wait(poller, events, EVENTS, -1);
        if (single) events[0].data.fd = peers[0];
        for (int i = 0; i < found; i++) {
            int fd = events[i].data.fd, open = 1;
            if (fd == listener) {
                int peer = accept(listener, NULL, NULL);
                if (peer < 0) continue;
                event.data.fd = lane.fd = peers[count++] = peer;
                epoll_ctl(poller, EPOLL_CTL_ADD, peer, &event);
                continue;
            }
            if (is(kind, "oneway")) {
                open = counted(&lane, &pass, passes);
            } else {
                ssize_t got = read(fd, buffer, CHUNK);
                open = got > 0;
                if (open && is(kind, "broadcast")) {
                    while (count < connections)
                        if ((peers[count] = accept(listener, NULL, NULL)) >= 0) count++;
                    announce(peers, count, passes[pass++]);
                } else if (open) write_all(fd, buffer, (size_t)got);
            }
            if (!open) _exit(0);
        }
    }
}

/* ---- client ---- */

static void fill(struct lane *lane) {
    lane->out_at = lane->out_length = 0;
    while (lane->sent < lane->count && lane->sent - lane->received < lane->window && lane->out_length + size <= room()) {
        number(lane->out + lane->out_length, (uint64_t)lane->sent++);
        lane->out_length += size;
    }
}

static void push(struct lane *lane, int poller) {
    int blocked = 0;
    for (;;) {
        if (lane->out_at == lane->out_length) fill(lane);
        if (!lane->out_length) break;
        ssize_t written = write(lane->fd, lane->out + lane->out_at, lane->out_length - lane->out_at);
        if (written < 0) {
            if (errno != EAGAIN) fail("cannot write");
            blocked = 1;
            break;
        }
        lane->out_at += (size_t)written;
    }
    if (blocked == lane->wants_out) return;
    lane->wants_out = blocked;
    struct epoll_event event = {.events = EPOLLIN | (blocked ? EPOLLOUT : 0u), .data.ptr = lane};
    epoll_ctl(poller, EPOLL_CTL_MOD, lane->fd, &event);
}

static void pass(struct lane *lanes, int poller, long count) {
    int one_way = is(kind, "oneway"), listening = is(kind, "broadcast");
    long share = listening || one_way ? count : count / connections, open = connections;
    long most = window / connections;
    for (long i = 0; i < connections; i++) {
        struct lane *lane = &lanes[i];
        lane->sent = lane->received = lane->expected = 0;
        lane->count = listening ? (i == 0) : share;
        lane->window = one_way || most > share ? share : most > 0 ? most : 1;
        push(lane, poller);
    }
    struct epoll_event events[EVENTS];
    while (open) {
        int found = epoll_wait(poller, events, EVENTS, -1);
        for (int i = 0; i < found; i++) {
            struct lane *lane = events[i].data.ptr;
            if (events[i].events & EPOLLIN) {
                long whole = take(lane);
                if (whole < 0) fail("the server closed the connection");
                lane->received += whole;
                if (whole && lane->received == (one_way ? 1 : share)) open--;
            }
            push(lane, poller);
        }
    }
}

static void trips(struct lane *lane, long count, int64_t *latencies) {
    for (long n = 0; n < count; n++) {
        int64_t began = nanoseconds();
        number(lane->out, (uint64_t)n);
        write_all(lane->fd, lane->out, size);
        lane->expected = n;
        for (long whole = 0; whole < 1;)
            if ((whole = take(lane)) < 0) fail("the server closed the connection");
        if (latencies) latencies[n] = nanoseconds() - began;
    }
}

static void drive(void) {
    int poller = epoll_create1(0), timed = is(kind, "roundtrip");
    struct lane *lanes = calloc((size_t)connections, sizeof *lanes);
    int64_t *latencies = timed ? malloc(sizeof *latencies * (size_t)messages) : NULL;
    for (long i = 0; i < connections; i++) {
        lanes[i].fd = endpoint(0);
        lanes[i].out = malloc(room());
        lanes[i].in = malloc(room() + CHUNK);
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = &lanes[i]};
        epoll_ctl(poller, EPOLL_CTL_ADD, lanes[i].fd, &event);
        if (!timed) fcntl(lanes[i].fd, F_SETFL, O_NONBLOCK);
    }
    if (warmup && timed) trips(lanes, warmup, NULL);
    else if (warmup) pass(lanes, poller, warmup);
    if (!is(kind, "first")) {
        ready();
        wait_for_line();
    }
    int64_t began = nanoseconds();
    if (timed) trips(lanes, messages, latencies);
    else if (!is(kind, "idle")) pass(lanes, poller, messages);
    printf("{\"seconds\": %.9f, \"messages\": %ld, \"latencies\": [", (double)(nanoseconds() - began) / 1e9, messages);
    for (long n = 0; timed && n < messages; n++) printf(n ? ",%ld" : "%ld", (long)latencies[n]);
    puts("]}");
    fflush(stdout);
    wait_for_line();
    _exit(0);
}

int main(int count, char **arguments) {
    if (count < 2) return 2;
    for (int i = 2; i < count; i++) option(arguments[i]);
    if (size < sizeof(uint64_t)) size = sizeof(uint64_t);
    if (is(arguments[1], "server")) serve();
    else drive();
    return 0;
}
