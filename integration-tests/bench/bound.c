// The least that a server of one object store must do for a PUT or GET, without being one: what decision 6 compares with.
// No HTTP beyond finding the length, no signature, decision, rows or log. Built and run by `bound`, beside this file.
//
//   bound PORT DIR put|get SIZE THREADS SYNCS work...     work: seal, md5 (AVX-512, 16 lanes)
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <immintrin.h>
#include <math.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/evp.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

enum { BLOCK = 4096, SEGMENT = 65536, MOST = 64, OBJECTS = 800 };

struct connection { int fd; long got, length; int head; char header[8192]; unsigned char *body; };

static int listener, syncs, seal, md5, gets;
static long size;
static const char *directory;
static unsigned sines[64];

static void must(int held, const char *what) { if (!held) { perror(what); exit(1); } }

// Sixteen streams of equal length, side by side; lanes without a stream repeat the first.
__attribute__((target("avx512f"))) static unsigned md5_of(unsigned char **streams, int count) {
    __m512i a = _mm512_set1_epi32(0x67452301), b = _mm512_set1_epi32(0xefcdab89);
    __m512i c = _mm512_set1_epi32(0x98badcfe), d = _mm512_set1_epi32(0x10325476);
    for (long at = 0; at < size; at += 64) {
        __m512i row[16], pair[16], word[16], f, a0 = a, b0 = b, c0 = c, d0 = d;
        for (int i = 0; i < 16; i++) row[i] = _mm512_loadu_si512(streams[i < count ? i : 0] + at);
        for (int g = 0; g < 16; g += 4) {
            __m512i l0 = _mm512_unpacklo_epi32(row[g], row[g + 1]), h0 = _mm512_unpackhi_epi32(row[g], row[g + 1]);
            __m512i l1 = _mm512_unpacklo_epi32(row[g + 2], row[g + 3]), h1 = _mm512_unpackhi_epi32(row[g + 2], row[g + 3]);
            pair[g] = _mm512_unpacklo_epi64(l0, l1), pair[g + 1] = _mm512_unpackhi_epi64(l0, l1);
            pair[g + 2] = _mm512_unpacklo_epi64(h0, h1), pair[g + 3] = _mm512_unpackhi_epi64(h0, h1);
        }
        for (int j = 0; j < 4; j++) {
            __m512i e0 = _mm512_shuffle_i32x4(pair[j], pair[4 + j], 0x88), e1 = _mm512_shuffle_i32x4(pair[8 + j], pair[12 + j], 0x88);
            __m512i o0 = _mm512_shuffle_i32x4(pair[j], pair[4 + j], 0xdd), o1 = _mm512_shuffle_i32x4(pair[8 + j], pair[12 + j], 0xdd);
            word[j] = _mm512_shuffle_i32x4(e0, e1, 0x88), word[8 + j] = _mm512_shuffle_i32x4(e0, e1, 0xdd);
            word[4 + j] = _mm512_shuffle_i32x4(o0, o1, 0x88), word[12 + j] = _mm512_shuffle_i32x4(o0, o1, 0xdd);
        }
#define STEP(table, step, w, shift)                                                                                    \
    f = _mm512_add_epi32(_mm512_add_epi32(a, _mm512_add_epi32(word[w], _mm512_set1_epi32(sines[step]))),               \
                         _mm512_ternarylogic_epi32(b, c, d, table)),                                                   \
    a = d, d = c, c = b, b = _mm512_add_epi32(b, _mm512_rol_epi32(f, shift));
#define ROUND(table, first, mul, add, s0, s1, s2, s3)                                                                  \
    for (int i = 0; i < 16; i += 4) {                                                                                  \
        STEP(table, first + i, (mul * i + add) & 15, s0) STEP(table, first + i + 1, (mul * (i + 1) + add) & 15, s1)     \
        STEP(table, first + i + 2, (mul * (i + 2) + add) & 15, s2) STEP(table, first + i + 3, (mul * (i + 3) + add) & 15, s3) \
    }
        ROUND(0xca, 0, 1, 0, 7, 12, 17, 22)
        ROUND(0xe4, 16, 5, 1, 5, 9, 14, 20)
        ROUND(0x96, 32, 3, 5, 4, 11, 16, 23)
        ROUND(0x39, 48, 7, 0, 6, 10, 15, 21)
        a = _mm512_add_epi32(a, a0), b = _mm512_add_epi32(b, b0), c = _mm512_add_epi32(c, c0), d = _mm512_add_epi32(d, d0);
    }
    return _mm512_reduce_add_epi32(_mm512_xor_si512(_mm512_xor_si512(a, b), _mm512_xor_si512(c, d)));
}

static void cipher(EVP_CIPHER_CTX *context, unsigned char *body) {
    static const unsigned char key[32] = {1}, iv[12] = {2};
    int done;
    EVP_EncryptInit_ex(context, EVP_aes_256_gcm(), 0, key, iv);
    for (long at = 0; at < size; at += SEGMENT)
        EVP_EncryptUpdate(context, body + at, &done, body + at, size < SEGMENT ? size : SEGMENT);
}

// Reads what is there; 1 when a request is whole, -1 when the connection is at its end.
static int more(struct connection *c) {
    for (;;) {
        long got;
        if (c->length < 0) {
            got = read(c->fd, c->header + c->head, sizeof c->header - 1 - c->head);
            if (got <= 0) return got < 0 && errno == EAGAIN ? 0 : -1;
            c->header[c->head += got] = 0;
            char *end = strstr(c->header, "\r\n\r\n"), *length = strcasestr(c->header, "content-length:");
            if (!end) continue;
            c->length = length && length < end ? atol(length + 15) : 0;
            c->got = c->header + c->head - (end + 4);
            memcpy(c->body, end + 4, c->got);
        }
        if (c->got == c->length) return 1;
        got = read(c->fd, c->body + c->got, c->length - c->got);
        if (got <= 0) return got < 0 && errno == EAGAIN ? 0 : -1;
        c->got += got;
    }
}

static void answer(struct connection *c) {
    char head[256];
    int length = sprintf(head, "HTTP/1.1 200 OK\r\nContent-Length: %ld\r\nETag: \"d41d8cd98f00b204e9800998ecf8427e\"\r\n\r\n", gets ? size : 0);
    struct iovec parts[2] = {{head, length}, {c->body, gets ? size : 0}};
    long sent = writev(c->fd, parts, 2), whole = length + parts[1].iov_len;
    while (sent >= length && sent < whole) {
        long n = write(c->fd, c->body + sent - length, whole - sent);
        if (n > 0) sent += n;
        else if (errno == EAGAIN) poll(&(struct pollfd){c->fd, POLLOUT, 0}, 1, 1000);
        else break;
    }
    c->length = -1, c->head = 0;
}

static int file(const char *name, long which, int flags) {
    char path[512];
    snprintf(path, sizeof path, "%s/%s%ld", directory, name, which);
    int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | flags, 0600);
    must(fd >= 0, path);
    return fd;
}

static void *serve(void *which) {
    int events = epoll_create1(0), segments = file("segments", (long)which, gets ? 0 : O_DIRECT);
    int log = file("log", (long)which, O_APPEND);
    long room = 1L << 30, at = 0, stride = size + BLOCK;
    EVP_CIPHER_CTX *context = EVP_CIPHER_CTX_new();
    static unsigned char rows[1 << 16];
    volatile unsigned sink = 0;
    must(!fallocate(segments, 0, 0, gets ? OBJECTS * stride : room), "fallocate");
    epoll_ctl(events, EPOLL_CTL_ADD, listener, &(struct epoll_event){.events = EPOLLIN | EPOLLEXCLUSIVE});
    for (;;) {
        struct epoll_event ready[MOST];
        struct connection *whole[MOST];
        int count = epoll_wait(events, ready, MOST, -1), n = 0;
        for (int i = 0; i < count; i++) {
            struct connection *c = ready[i].data.ptr;
            if (!c) {
                int fd = accept4(listener, 0, 0, SOCK_NONBLOCK);
                if (fd < 0) continue;
                setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
                c = calloc(1, sizeof *c), c->fd = fd, c->length = -1, c->body = aligned_alloc(BLOCK, stride);
                epoll_ctl(events, EPOLL_CTL_ADD, fd, &(struct epoll_event){.events = EPOLLIN, .data.ptr = c});
                continue;
            }
            int state = more(c);
            if (state > 0) whole[n++] = c;
            if (state < 0) close(c->fd), free(c->body), free(c);
        }
        if (!n) continue;
        unsigned char *bodies[MOST];
        struct iovec parts[MOST];
        for (int i = 0; i < n; i++) bodies[i] = whole[i]->body, parts[i] = (struct iovec){whole[i]->body, stride};
        for (int i = 0; md5 && i < n; i += 16) sink += md5_of(bodies + i, n - i < 16 ? n - i : 16);
        for (int i = 0; i < n; i++) {
            if (gets) must(pread(segments, bodies[i], size, rand() % OBJECTS * stride) == size, "pread");
            if (seal) cipher(context, bodies[i]);
        }
        int left = syncs;
        if (!gets && left) {
            if (at + n * stride > room) at = 0;
            must(pwritev(segments, parts, n, at) == n * stride && !fdatasync(segments), "write");
            at += n * stride, left--;
        }
        while (left--) must(write(log, rows, n * 500) == n * 500 && !fdatasync(log), "log");
        for (int i = 0; i < n; i++) answer(whole[i]);
    }
}

int main(int count, char **words) {
    must(count >= 7, "usage");
    directory = words[2], gets = !strcmp(words[3], "get"), size = atol(words[4]), syncs = atoi(words[6]);
    for (int i = 7; i < count; i++) seal |= !strcmp(words[i], "seal"), md5 |= !strcmp(words[i], "md5");
    for (int i = 0; i < 64; i++) sines[i] = (unsigned)(long)(fabs(sin(i + 1)) * 4294967296.0);
    struct sockaddr_in here = {.sin_family = AF_INET, .sin_port = htons(atoi(words[1])), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &(int){1}, sizeof(int));
    must(!bind(listener, (struct sockaddr *)&here, sizeof here) && !listen(listener, 128), "listen");
    pthread_t thread;
    for (long i = 1; i < atoi(words[5]); i++) pthread_create(&thread, 0, serve, (void *)i);
    serve(0);
}
