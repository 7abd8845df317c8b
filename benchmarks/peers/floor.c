/* What the machine allows: a server that does one write() for each delivery, and nothing else.

   floor PORT
   GET    opens a stream: headers, a greeting, then every event.
   PUT    (without a body) writes the next event, as long as a status update of the hub, to each stream; answers 200.

   It keeps no event, knows nobody and drops a client that takes nothing for 5 s: no hub can cost less a write. */

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>
#include <netinet/tcp.h>

enum { MOST = 16384, PAYLOAD = 500, STALL_MS = 5000 };

static const char GREETING[] =
    "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\nevent: stream-open\ndata: \n\n";
static const char DONE[] = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
static int streams[MOST], count;
static long number;
static char payload[PAYLOAD + 1];

/* Returns 0 if the client is gone or takes nothing. */
static int put(int fd, const char *bytes, size_t left) {
    while (left) {
        ssize_t n = write(fd, bytes, left);
        if (n < 0) {
            struct pollfd room = {fd, POLLOUT, 0};
            if (errno != EAGAIN || poll(&room, 1, STALL_MS) < 1) return 0;
            continue;
        }
        bytes += n;
        left -= (size_t)n;
    }
    return 1;
}

static void leave(int fd) {
    for (int i = 0; i < count; i++)
        if (streams[i] == fd) streams[i] = streams[--count];
    close(fd);
}

static void publish(void) {
    char frame[PAYLOAD + 64];
    int length = snprintf(frame, sizeof frame, "id: %ld\ndata: %s\n\n", ++number, payload);
    for (int i = 0; i < count; i++)
        if (!put(streams[i], frame, (size_t)length)) leave(streams[i--]);
}

static void take(int fd) {
    char request[8192];
    ssize_t n = read(fd, request, sizeof request - 1);
    if (n <= 0) {
        leave(fd);
        return;
    }
    request[n] = 0;
    if (!strncmp(request, "GET /stream", 11) && count < MOST) {
        if (put(fd, GREETING, sizeof GREETING - 1)) streams[count++] = fd;
    } else if (!strncmp(request, "PUT", 3)) {
        publish();
        put(fd, DONE, sizeof DONE - 1);
    } else if (!strncmp(request, "GET", 3)) {
        put(fd, DONE, sizeof DONE - 1);
    }
}

int main(int argc, char **argv) {
    if (argc != 2) return 2;
    memset(payload, 'x', PAYLOAD);
    int one = 1, listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), poller = epoll_create1(0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((unsigned short)atoi(argv[1]))};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(listener, (struct sockaddr *)&address, sizeof address) || listen(listener, 4096)) return 1;
    struct epoll_event ready[256], wanted = {.events = EPOLLIN, .data.fd = listener};
    epoll_ctl(poller, EPOLL_CTL_ADD, listener, &wanted);
    for (;;) {
        int n = epoll_wait(poller, ready, 256, -1);
        for (int i = 0; i < n; i++) {
            int fd = ready[i].data.fd;
            if (fd != listener) {
                take(fd);
                continue;
            }
            while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
                setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
                wanted.data.fd = fd;
                epoll_ctl(poller, EPOLL_CTL_ADD, fd, &wanted);
            }
        }
    }
}
