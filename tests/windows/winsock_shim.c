/* Two behaviours of Windows' sockets that Wine lacks. Preloaded into Wine's programs and so into wineserver.
 *
 * UDP: after an ICMP port unreachable, select() calls the socket readable and the next receive fails with
 *      WSAECONNRESET, once for each of them; a send never fails so.
 * TCP: a receive after the peer's RST fails with WSAECONNRESET. Wine reads an end of file there, since
 *      wineserver has taken the error off the socket before the program sees it.
 *
 * wineserver and the program hold one socket under descriptors of their own. What either of them sees is
 * therefore noted in a table that they share, by the socket's inode.
 * The real calls are made as system calls, for x86-64, the only processor that the Windows builds run on.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/errqueue.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define NOTES 65536 /* more than the sockets that live at one time; a newer socket takes over an older one's note */

struct note {
    ino_t socket;
    int unreachable; /* UDP: port unreachables that no receive has reported yet */
    int reset;       /* TCP: the peer's RST was seen */
};

static struct note *table(void)
{
    static struct note *shared;
    const char *path = getenv("WINSOCK_SHIM_TABLE");
    if (shared || !path)
        return shared;
    int file = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (file < 0)
        return NULL;
    if (ftruncate(file, NOTES * sizeof(struct note)) == 0) {
        void *map = mmap(NULL, NOTES * sizeof(struct note), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
        if (map != MAP_FAILED)
            shared = map;
    }
    close(file);
    return shared;
}

static struct note *note_of(int fd, bool make)
{
    struct stat is;
    struct note *notes = table();
    if (!notes || fstat(fd, &is) != 0 || !S_ISSOCK(is.st_mode))
        return NULL;
    struct note *note = &notes[is.st_ino % NOTES];
    if (note->socket == is.st_ino)
        return note;
    if (!make)
        return NULL;
    *note = (struct note){.socket = is.st_ino};
    return note;
}

static int option(int fd, int name)
{
    int value = -1;
    socklen_t size = sizeof value;
    syscall(SYS_getsockopt, fd, SOL_SOCKET, name, &value, &size);
    return value;
}

static bool is_internet(int fd, int type)
{
    int domain = option(fd, SO_DOMAIN);
    return (domain == AF_INET || domain == AF_INET6) && option(fd, SO_TYPE) == type;
}

static bool is_port_unreachable(const struct cmsghdr *head)
{
    bool ipv4 = head->cmsg_level == IPPROTO_IP && head->cmsg_type == IP_RECVERR;
    bool ipv6 = head->cmsg_level == IPPROTO_IPV6 && head->cmsg_type == IPV6_RECVERR;
    if (!ipv4 && !ipv6)
        return false;
    const struct sock_extended_err *error = (const void *)CMSG_DATA(head);
    return error->ee_errno == ECONNREFUSED && error->ee_origin != SO_EE_ORIGIN_LOCAL;
}

/* Moves the UDP socket's ICMP errors from its error queue to its note. */
static void collect(int fd)
{
    for (;;) {
        char control[512], byte;
        struct iovec data = {&byte, 1};
        struct msghdr message = {.msg_iov = &data, .msg_iovlen = 1};
        message.msg_control = control;
        message.msg_controllen = sizeof control;
        if (syscall(SYS_recvmsg, fd, &message, MSG_ERRQUEUE | MSG_DONTWAIT) < 0)
            return;
        for (struct cmsghdr *head = CMSG_FIRSTHDR(&message); head; head = CMSG_NXTHDR(&message, head)) {
            struct note *note = is_port_unreachable(head) ? note_of(fd, true) : NULL;
            if (note)
                __atomic_add_fetch(&note->unreachable, 1, __ATOMIC_RELAXED);
        }
    }
}

/* What poll and epoll should say of the socket, given what the kernel says; POLLERR is EPOLLERR, POLLIN EPOLLIN. */
static unsigned settled(int fd, unsigned events)
{
    struct note *note = note_of(fd, false);
    bool pending = note && note->unreachable > 0;
    if ((!(events & POLLERR) && !pending) || !is_internet(fd, SOCK_DGRAM))
        return events;
    collect(fd);
    note = note_of(fd, false);
    return (events & ~(unsigned)POLLERR) | (note && note->unreachable > 0 ? POLLIN : 0);
}

static void note_reset(int fd)
{
    struct note *note = is_internet(fd, SOCK_STREAM) ? note_of(fd, true) : NULL;
    if (note)
        note->reset = 1;
}

static ssize_t refuse(void)
{
    errno = ECONNRESET;
    return -1;
}

static ssize_t receive_datagram(int fd, struct msghdr *message, int flags)
{
    for (;;) {
        collect(fd);
        struct note *note = note_of(fd, false);
        if (note && note->unreachable > 0) {
            if (!(flags & MSG_PEEK))
                __atomic_sub_fetch(&note->unreachable, 1, __ATOMIC_RELAXED);
            return refuse();
        }
        ssize_t got = syscall(SYS_recvmsg, fd, message, flags);
        if (got >= 0 || errno != ECONNREFUSED) /* another error came in between: collect it first */
            return got;
    }
}

int socket(int domain, int type, int protocol)
{
    int fd = (int)syscall(SYS_socket, domain, type, protocol), on = 1;
    if (fd >= 0 && is_internet(fd, SOCK_DGRAM)) {
        setsockopt(fd, IPPROTO_IP, IP_RECVERR, &on, sizeof on);
        if (domain == AF_INET6)
            setsockopt(fd, IPPROTO_IPV6, IPV6_RECVERR, &on, sizeof on);
    }
    return fd;
}

int getsockopt(int fd, int level, int name, void *value, socklen_t *size)
{
    int result = (int)syscall(SYS_getsockopt, fd, level, name, value, size);
    if (result == 0 && level == SOL_SOCKET && name == SO_ERROR && *(int *)value == ECONNRESET)
        note_reset(fd);
    return result;
}

ssize_t recv(int fd, void *data, size_t size, int flags)
{
    ssize_t got = syscall(SYS_recvfrom, fd, data, size, flags, NULL, NULL);
    if (got < 0 && errno == ECONNRESET) {
        note_reset(fd);
        return refuse();
    }
    return got;
}

ssize_t __recv_chk(int fd, void *data, size_t size, size_t room, int flags)
{
    return recv(fd, data, size < room ? size : room, flags);
}

ssize_t recvmsg(int fd, struct msghdr *message, int flags)
{
    if (flags & MSG_ERRQUEUE)
        return syscall(SYS_recvmsg, fd, message, flags);
    if (is_internet(fd, SOCK_DGRAM))
        return receive_datagram(fd, message, flags);
    ssize_t got = syscall(SYS_recvmsg, fd, message, flags);
    if (got < 0 && errno == ECONNRESET) {
        note_reset(fd);
        return refuse();
    }
    struct note *note = got == 0 ? note_of(fd, false) : NULL;
    return note && note->reset ? refuse() : got;
}

ssize_t sendmsg(int fd, const struct msghdr *message, int flags)
{
    bool datagram = is_internet(fd, SOCK_DGRAM);
    for (;;) {
        if (datagram)
            collect(fd);
        ssize_t sent = syscall(SYS_sendmsg, fd, message, flags);
        if (!datagram || sent >= 0 || errno != ECONNREFUSED)
            return sent;
    }
}

int poll(struct pollfd *list, nfds_t size, int timeout)
{
    int ready = (int)syscall(SYS_poll, list, size, timeout);
    if (ready < 0)
        return ready;
    ready = 0;
    for (struct pollfd *one = list; one < list + size; one++) {
        if (one->fd >= 0)
            one->revents = (short)settled(one->fd, (unsigned)one->revents);
        ready += one->revents != 0;
    }
    return ready;
}

int __poll_chk(struct pollfd *list, nfds_t size, int timeout, size_t room)
{
    (void)room;
    return poll(list, size, timeout);
}

/* The data that wineserver gives to epoll is an index of its own, so the descriptor behind it is kept here, plus one. */
static int behind[1 << 20];

int epoll_ctl(int epoll, int what, int fd, struct epoll_event *event)
{
    int result = (int)syscall(SYS_epoll_ctl, epoll, what, fd, event);
    if (result == 0 && event && what != EPOLL_CTL_DEL && event->data.u32 < sizeof behind / sizeof *behind)
        behind[event->data.u32] = fd + 1;
    return result;
}

int epoll_wait(int epoll, struct epoll_event *events, int size, int timeout)
{
    int ready = (int)syscall(SYS_epoll_wait, epoll, events, size, timeout);
    for (int i = 0; i < ready; i++) {
        unsigned index = events[i].data.u32;
        if ((events[i].events & EPOLLERR) && index < sizeof behind / sizeof *behind && behind[index])
            events[i].events = settled(behind[index] - 1, events[i].events);
    }
    return ready;
}
