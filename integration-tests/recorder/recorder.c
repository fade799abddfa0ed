/*
 * Runs a program and records, in order, what it does to files under one directory: writes with their
 * bytes, changes of length, syncs, and changes of names. From this the power-loss test builds what a
 * disk may hold when the power goes (integration-tests/src/power.rs reads the events).
 *
 *   recorder LOG DIRECTORY PROGRAM [ARGUMENT...]
 *
 * By ptrace, because a preloaded library would miss system calls that are made without libc.
 * An event is written before the thread that made it goes on, so that whoever got an answer finds in
 * the log everything that came before the answer.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/audit.h>
#include <linux/falloc.h>
#include <linux/filter.h>
#include <linux/ptrace.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

/* <sys/ptrace.h> and <linux/ptrace.h> cannot be had together. */
long ptrace(int request, ...);

enum kind { CREATE = 1, WRITE, LENGTH, SYNC_BEGIN, SYNC_END, RENAME, UNLINK, MKDIR, EXTEND };

/* Followed by `first` and `second` bytes: data, or one or two paths. */
struct event {
    uint32_t kind, thread;
    uint64_t inode, at;
    uint32_t first, second;
};

static const int TRACED[] = {
#ifdef __NR_open
    __NR_open, __NR_creat, __NR_rename, __NR_unlink, __NR_rmdir, __NR_mkdir, __NR_link,
#endif
    __NR_openat, __NR_renameat2, __NR_unlinkat, __NR_mkdirat, __NR_linkat, __NR_write, __NR_writev,
#ifdef __NR_renameat
    __NR_renameat,
#endif
    __NR_pwrite64, __NR_pwritev, __NR_pwritev2, __NR_ftruncate, __NR_truncate, __NR_fallocate, __NR_fsync,
    __NR_fdatasync, __NR_copy_file_range, __NR_io_uring_setup,
};
enum { TRACED_COUNT = sizeof TRACED / sizeof *TRACED };

static int log_fd;
static const char *root;
static pid_t child;

static void die(const char *what) {
    fprintf(stderr, "recorder: %s: %s\n", what, strerror(errno));
    exit(125);
}

static void append(struct event event, const void *first, const void *second) {
    struct iovec parts[] = {
        {&event, sizeof event}, {(void *)first, event.first}, {(void *)second, event.second}};
    size_t whole = sizeof event + event.first + event.second;
    if (writev(log_fd, parts, 3) != (ssize_t)whole) die("the log");
}

static int inside(const char *path) {
    size_t length = strlen(root);
    return strncmp(path, root, length) == 0 && (path[length] == '/' || path[length] == 0);
}

/* What a descriptor of the program is; 0 unless it lies under the root. */
static int behind(pid_t thread, int fd, char *path, uint64_t *inode) {
    char link[64];
    struct stat facts;
    snprintf(link, sizeof link, "/proc/%d/fd/%d", thread, fd);
    ssize_t length = readlink(link, path, PATH_MAX - 1);
    if (length < 0) return 0;
    path[length] = 0;
    if (!inside(path) || stat(link, &facts) != 0) return 0;
    *inode = facts.st_ino;
    return 1;
}

static uint64_t position(pid_t thread, int fd) {
    char name[64], line[128];
    unsigned long long found = 0;
    snprintf(name, sizeof name, "/proc/%d/fdinfo/%d", thread, fd);
    FILE *file = fopen(name, "r");
    if (!file || !fgets(line, sizeof line, file) || sscanf(line, "pos: %llu", &found) != 1) die(name);
    fclose(file);
    return found;
}

static size_t copy(pid_t thread, uint64_t from, void *to, size_t size) {
    struct iovec local = {to, size}, remote = {(void *)(uintptr_t)from, size};
    ssize_t copied = process_vm_readv(thread, &local, 1, &remote, 1, 0);
    return copied < 0 ? 0 : (size_t)copied;
}

/* A path argument, absolute. */
static void name_at(pid_t thread, int directory, uint64_t from, char *out) {
    char text[PATH_MAX], link[64], base[PATH_MAX];
    size_t have = 0;
    /* A copy may not cross into a page that is not there. */
    while (have < sizeof text - 1) {
        size_t step = 256 - (from + have) % 256;
        if (step > sizeof text - 1 - have) step = sizeof text - 1 - have;
        size_t got = copy(thread, from + have, text + have, step);
        if (got == 0 || memchr(text + have, 0, got)) break;
        have += got;
    }
    text[sizeof text - 1] = 0;
    if (text[0] == '/') {
        snprintf(out, PATH_MAX, "%s", text);
        return;
    }
    if (directory == AT_FDCWD) snprintf(link, sizeof link, "/proc/%d/cwd", thread);
    else snprintf(link, sizeof link, "/proc/%d/fd/%d", thread, directory);
    ssize_t length = readlink(link, base, sizeof base - 1);
    base[length < 0 ? 0 : length] = 0;
    if (snprintf(out, PATH_MAX, "%s/%s", base, text) >= PATH_MAX) die("a path is too long");
}

static void event_of_name(enum kind kind, pid_t thread, const char *one, const char *two) {
    if (!inside(one) && !(two && inside(two))) return;
    struct event event = {kind, (uint32_t)thread, 0, 0, (uint32_t)strlen(one), two ? (uint32_t)strlen(two) : 0};
    append(event, one, two ? two : "");
}

static void written(pid_t thread, int fd, uint64_t at, const struct iovec *parts, size_t count, size_t size) {
    char path[PATH_MAX];
    uint64_t inode;
    if (!behind(thread, fd, path, &inode)) return;
    if (at == UINT64_MAX) at = position(thread, fd) - size;
    char *data = malloc(size + 1);
    size_t have = 0;
    for (size_t i = 0; i < count && have < size; i++) {
        size_t want = parts[i].iov_len < size - have ? parts[i].iov_len : size - have;
        if (copy(thread, (uintptr_t)parts[i].iov_base, data + have, want) != want) die("bytes that were written");
        have += want;
    }
    append((struct event){WRITE, (uint32_t)thread, inode, at, (uint32_t)size, 0}, data, "");
    free(data);
}

static void vectors(pid_t thread, const uint64_t *args, uint64_t at, size_t size) {
    struct iovec parts[IOV_MAX];
    size_t count = args[2] < IOV_MAX ? args[2] : IOV_MAX;
    copy(thread, args[1], parts, count * sizeof *parts);
    written(thread, (int)args[0], at, parts, count, size);
}

static void on_descriptor(enum kind kind, pid_t thread, int fd, uint64_t at) {
    char path[PATH_MAX];
    uint64_t inode;
    if (!behind(thread, fd, path, &inode)) return;
    append((struct event){kind, (uint32_t)thread, inode, at, (uint32_t)strlen(path), 0}, path, "");
}

static void opened(pid_t thread, int fd, uint64_t flags) {
    if (flags & O_CREAT) on_descriptor(CREATE, thread, fd, 0);
    if (flags & O_TRUNC) on_descriptor(LENGTH, thread, fd, 0);
}

static void removed_or_made(enum kind kind, pid_t thread, int directory, uint64_t name) {
    char path[PATH_MAX];
    name_at(thread, directory, name, path);
    event_of_name(kind, thread, path, NULL);
}

static void renamed(pid_t thread, int from, uint64_t old, int to, uint64_t new) {
    char one[PATH_MAX], two[PATH_MAX];
    name_at(thread, from, old, one);
    name_at(thread, to, new, two);
    event_of_name(RENAME, thread, one, two);
}

/* A call that succeeded. */
static void returned(pid_t thread, uint64_t number, const uint64_t *args, int64_t result) {
    struct iovec one = {(void *)(uintptr_t)args[1], args[2]};
    int fd = (int)args[0];
    switch (number) {
#ifdef __NR_open
    case __NR_open: opened(thread, (int)result, args[1]); break;
    case __NR_creat: opened(thread, (int)result, O_CREAT | O_TRUNC); break;
    case __NR_rename: renamed(thread, AT_FDCWD, args[0], AT_FDCWD, args[1]); break;
    case __NR_unlink:
    case __NR_rmdir: removed_or_made(UNLINK, thread, AT_FDCWD, args[0]); break;
    case __NR_mkdir: removed_or_made(MKDIR, thread, AT_FDCWD, args[0]); break;
#endif
    case __NR_openat: opened(thread, (int)result, args[2]); break;
#ifdef __NR_renameat
    case __NR_renameat:
#endif
    case __NR_renameat2: renamed(thread, fd, args[1], (int)args[2], args[3]); break;
    case __NR_unlinkat: removed_or_made(UNLINK, thread, fd, args[1]); break;
    case __NR_mkdirat: removed_or_made(MKDIR, thread, fd, args[1]); break;
    case __NR_write: written(thread, fd, UINT64_MAX, &one, 1, (size_t)result); break;
    case __NR_pwrite64: written(thread, fd, args[3], &one, 1, (size_t)result); break;
    case __NR_writev: vectors(thread, args, UINT64_MAX, (size_t)result); break;
    case __NR_pwritev:
    case __NR_pwritev2: vectors(thread, args, args[3], (size_t)result); break;
    case __NR_ftruncate: on_descriptor(LENGTH, thread, fd, args[1]); break;
    case __NR_fallocate:
        if (args[1] == 0) on_descriptor(EXTEND, thread, fd, args[2] + args[3]);
        else if (args[1] != FALLOC_FL_KEEP_SIZE) die("a kind of fallocate that is not known");
        break;
    case __NR_fsync:
    case __NR_fdatasync: on_descriptor(SYNC_END, thread, fd, 0); break;
    /* What is not understood must not go unseen. */
    default: errno = ENOSYS; die("a system call that changes files is not known");
    }
}

struct thread {
    pid_t id;
    uint64_t number, args[6];
    struct thread *next;
};
static struct thread *threads;

static struct thread *known(pid_t id) {
    struct thread *found = threads;
    while (found && found->id != id) found = found->next;
    if (found) return found;
    found = calloc(1, sizeof *found);
    found->id = id;
    found->next = threads;
    return threads = found;
}

static void entered(struct thread *thread) {
    struct ptrace_syscall_info info;
    if (ptrace(PTRACE_GET_SYSCALL_INFO, thread->id, sizeof info, &info) < 0) die("PTRACE_GET_SYSCALL_INFO");
    thread->number = info.seccomp.nr;
    memcpy(thread->args, info.seccomp.args, sizeof thread->args);
    /* Only what was written before a sync begins is covered by it. */
    if (thread->number == __NR_fsync || thread->number == __NR_fdatasync)
        on_descriptor(SYNC_BEGIN, thread->id, (int)thread->args[0], 0);
}

static void left(struct thread *thread) {
    struct ptrace_syscall_info info;
    if (ptrace(PTRACE_GET_SYSCALL_INFO, thread->id, sizeof info, &info) < 0) die("PTRACE_GET_SYSCALL_INFO");
    if (!info.exit.is_error) returned(thread->id, thread->number, thread->args, info.exit.rval);
}

static void run(char **program, int go) {
    struct sock_filter filter[TRACED_COUNT + 3] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr))};
    for (int i = 0; i < TRACED_COUNT; i++)
        filter[1 + i] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)TRACED[i],
                                                     (uint8_t)(TRACED_COUNT - i), 0);
    filter[TRACED_COUNT + 1] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    filter[TRACED_COUNT + 2] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRACE);
    struct sock_fprog traced = {TRACED_COUNT + 3, filter};
    char byte;
    if (read(go, &byte, 1) != 1) die("the pipe");
    close(go);
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &traced)) die("seccomp");
    execv(program[0], program);
    die(program[0]);
}

static void stopped(pid_t id, int status) {
    int event = status >> 16, sig = WSTOPSIG(status);
    int how = PTRACE_CONT, deliver = 0;
    if (event == PTRACE_EVENT_SECCOMP) {
        entered(known(id));
        how = PTRACE_SYSCALL;
    } else if (sig == (SIGTRAP | 0x80)) {
        left(known(id));
    } else if (event == 0) {
        deliver = sig;
    }
    /* It may have been killed meanwhile. */
    if (ptrace(how, id, 0, deliver) < 0 && errno != ESRCH) die("ptrace");
}

static void pass_on(int sig) { kill(child, sig); }

int main(int argc, char **argv) {
    int pipe_ends[2], status;
    if (argc < 4) return 2;
    root = argv[2];
    log_fd = open(argv[1], O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0600);
    if (log_fd < 0 || pipe(pipe_ends)) die(argv[1]);
    child = fork();
    if (child == 0) {
        close(pipe_ends[1]);
        run(argv + 3, pipe_ends[0]);
    }
    long options = PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACECLONE | PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK |
                   PTRACE_O_TRACEEXEC | PTRACE_O_TRACESECCOMP | PTRACE_O_EXITKILL;
    if (ptrace(PTRACE_SEIZE, child, 0, options)) die("ptrace is not allowed here");
    signal(SIGTERM, pass_on);
    if (write(pipe_ends[1], "g", 1) != 1) die("the pipe");
    for (;;) {
        pid_t id = waitpid(-1, &status, __WALL);
        if (id < 0 && errno == EINTR) continue;
        if (id < 0) die("wait");
        if (WIFSTOPPED(status)) stopped(id, status);
        else if (id == child) return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    }
}
