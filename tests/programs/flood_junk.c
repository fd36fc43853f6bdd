// Sends as much as it can to ports in turn until it is ended, then says how many datagrams that were, and how many a
// second. They begin as STUN's requests do.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
enum { MANY = 64 };
static volatile sig_atomic_t ends;
static void end(int number) { (void)number; ends = 1; }
static double now(void) {
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    return at.tv_sec + at.tv_nsec / 1e9;
}
int main(int argc, char **argv) {
    if (argc != 4) return 2;
    int first = atoi(argv[2]), last = atoi(argv[3]), port = first, opened = socket(AF_INET, SOCK_DGRAM, 0);
    char junk[100] = "\0\1\0\120\x21\x12\xa4\x42";
    struct iovec data = {junk, sizeof junk};
    struct sockaddr_in to[MANY];
    struct mmsghdr messages[MANY];
    memset(to, 0, sizeof to);
    memset(messages, 0, sizeof messages);
    for (int i = 0; i < MANY; i++) {
        to[i].sin_family = AF_INET;
        inet_pton(AF_INET, argv[1], &to[i].sin_addr);
        messages[i].msg_hdr.msg_name = &to[i];
        messages[i].msg_hdr.msg_namelen = sizeof to[i];
        messages[i].msg_hdr.msg_iov = &data;
        messages[i].msg_hdr.msg_iovlen = 1;
    }
    signal(SIGTERM, end);
    puts("ready");
    fflush(stdout);
    double began = now();
    unsigned long sent = 0;
    while (!ends) {
        for (int i = 0; i < MANY; i++) {
            to[i].sin_port = htons(port);
            port = port < last ? port + 1 : first;
        }
        int taken = sendmmsg(opened, messages, MANY, 0);
        sent += taken > 0 ? taken : 0;
    }
    printf("%lu datagrams, %.0f a second\n", sent, sent / (now() - began));
}
