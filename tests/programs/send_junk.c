// The arguments: a file of datagrams, the target, and two addresses to send from. Each datagram has before it from
// which of these it is sent, its port, and its length. It sends as many as it is told, over and over again.
#include <arpa/inet.h>
#include <stdio.h>
#include <sys/socket.h>

struct head { uint16_t from, port, size; };
static char data[1 << 24];

int main(int count, char **argv) {
    FILE *file = fopen(argv[1], "rb");
    size_t whole = fread(data, 1, sizeof data, file), at = 0;
    int from[2];
    for (int i = 0; i < 2; i++) {
        struct sockaddr_in here = {.sin_family = AF_INET};
        inet_pton(AF_INET, argv[3 + i], &here.sin_addr);
        from[i] = socket(AF_INET, SOCK_DGRAM, 0);
        if (bind(from[i], (struct sockaddr *)&here, sizeof here)) return 1;
    }
    struct sockaddr_in to = {.sin_family = AF_INET};
    inet_pton(AF_INET, argv[2], &to.sin_addr);
    for (long wanted; scanf("%ld", &wanted) == 1; puts("sent"), fflush(stdout))
        for (; wanted; wanted--) {
            struct head *head = (struct head *)(data + at);
            to.sin_port = htons(head->port);
            if (sendto(from[head->from], head + 1, head->size, 0, (struct sockaddr *)&to, sizeof to) < 0) return 1;
            at += sizeof *head + (head->size + 1) / 2 * 2;
            if (at >= whole) at = 0;
        }
}
