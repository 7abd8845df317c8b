/* The floor of a fan-out: one write() for each delivery, on one thread with epoll. Nothing is checked, kept or retried.
 *
 * GET /ready answers 200. GET /stream opens a stream. PUT /publish sends an event to every stream, and
 * PUT /publish?count=N sends N of them, each with a write() of its own. Usage: floor PORT
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#define MOST 20000
#define PAYLOAD 500
#define OK "HTTP/1.1 200 OK\r\n"

static int streams[MOST], places[MOST], count;
static long number;

static void send_all(int fd, const char *bytes, size_t size)
{
    if (write(fd, bytes, size) < 0)
        return; /* a stream that takes nothing, or is gone, loses its event */
}

static void open_stream(int fd)
{
    static const char head[] = OK "content-type: text/event-stream; charset=utf-8\r\ncache-control: no-cache\r\n"
                                  "transfer-encoding: chunked\r\n\r\n";
    static const char greeting[] = "1b\r\nevent: stream-open\ndata: \n\n\r\n";
    send_all(fd, head, sizeof head - 1);
    send_all(fd, greeting, sizeof greeting - 1);
    places[fd] = count;
    streams[count++] = fd;
}

static void publish(void)
{
    char frame[PAYLOAD + 64], chunk[PAYLOAD + 96];
    char payload[PAYLOAD + 1];
    memset(payload, 'x', PAYLOAD);
    payload[PAYLOAD] = 0;
    int length = snprintf(frame, sizeof frame, "id: %ld\ndata: %s\n\n", ++number, payload);
    int size = snprintf(chunk, sizeof chunk, "%x\r\n%s\r\n", length, frame);
    for (int i = 0; i < count; i++)
        send_all(streams[i], chunk, size);
}

static void leave(int fd)
{
    if (count && places[fd] < count && streams[places[fd]] == fd) {
        streams[places[fd]] = streams[--count];
        places[streams[places[fd]]] = places[fd];
    }
    close(fd);
}

static void answer(int fd)
{
    static const char empty[] = OK "content-length: 0\r\n\r\n";
    char request[65536];
    ssize_t size = read(fd, request, sizeof request - 1);
    if (size <= 0) {
        leave(fd);
        return;
    }
    request[size] = 0;
    if (!strncmp(request, "GET /stream", 11)) {
        open_stream(fd);
        return;
    }
    /* The body is not looked at; it may come by itself, or before the next request. */
    const char *put = strstr(request, "PUT /publish");
    if (put) {
        const char *asked = strstr(put, "?count=");
        for (int times = asked ? atoi(asked + 7) : 1; times > 0; times--)
            publish();
    } else if (strncmp(request, "GET /ready", 10)) {
        return;
    }
    send_all(fd, empty, sizeof empty - 1);
}

int main(int argc, char **argv)
{
    struct rlimit files;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(argc > 1 ? atoi(argv[1]) : 0)};
    struct epoll_event events[256], event = {.events = EPOLLIN};
    int yes = 1, listener = socket(AF_INET, SOCK_STREAM, 0), poll = epoll_create1(0);
    signal(SIGPIPE, SIG_IGN);
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    inet_pton(AF_INET, "127.0.0.1", &address.sin_addr);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    if (bind(listener, (struct sockaddr *)&address, sizeof address) || listen(listener, 1024)) {
        perror("floor");
        return 1;
    }
    event.data.fd = listener;
    epoll_ctl(poll, EPOLL_CTL_ADD, listener, &event);
    for (;;) {
        int ready = epoll_wait(poll, events, 256, -1);
        for (int i = 0; i < ready; i++) {
            int fd = events[i].data.fd;
            if (fd != listener) {
                answer(fd);
                continue;
            }
            event.data.fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK);
            if (event.data.fd < 0 || event.data.fd >= MOST) {
                close(event.data.fd);
                continue;
            }
            setsockopt(event.data.fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
            places[event.data.fd] = MOST;
            epoll_ctl(poll, EPOLL_CTL_ADD, event.data.fd, &event);
        }
    }
}
