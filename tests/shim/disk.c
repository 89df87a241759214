/* Stands between a program and the files below one folder: writes down what the program does to them, and lets
 * chosen operations fail.
 *
 * Loaded with LD_PRELOAD. DISK_ROOT names the folder; DISK_LOG the file, outside of it, that gets one record for
 * each operation in the order in which they happened:
 *
 *     u8 operation, u8 failed, u16 length of the name, u32 length of the bytes, u64 inode, u64 offset, name, bytes
 *
 * A rename's name holds both, with a zero byte between; a mark is what the program itself has to say. Without DISK_LOG
 * nothing is written down. What is mapped into memory is not seen: SQLite maps its -shm, which no crash survives.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

enum { CREATE = 1, WRITE, TRUNCATE, SYNC, UNLINK, RENAME, MKDIR, RMDIR, MARK, OPEN, READ };

#define DESCRIPTORS 65536
#define EXPORT __attribute__((visibility("default")))

static char root[PATH_MAX];
static size_t root_length;
static int log_fd = -1;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static ino_t watched[DESCRIPTORS];

/* The fault: the operation after `fail_after` others that `fail_mask` names fails, and `fail_times` - 1 after it. */
static long fail_after, fail_times, seen, hits, counts[16];
static unsigned fail_mask;
static int fail_errno, cut_short;

#define REAL(name) ((__typeof__(&name))real(#name))

static void *real(const char *name) { return dlsym(RTLD_NEXT, name); }

__attribute__((constructor)) static void begin(void) {
    const char *folder = getenv("DISK_ROOT"), *log = getenv("DISK_LOG");
    if (folder != NULL && realpath(folder, root) != NULL) root_length = strlen(root);
    if (log != NULL) log_fd = REAL(open)(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
}

static int below(const char *path) {
    return root_length && strncmp(path, root, root_length) == 0 && (path[root_length] == '/' || path[root_length] == 0);
}

static int is_watched(int fd) { return fd >= 0 && fd < DESCRIPTORS && watched[fd] != 0; }

static void note(int what, int failed, ino_t inode, uint64_t at, const char *name, size_t named, const void *data,
                 size_t size) {
    struct __attribute__((packed)) {
        uint8_t what, failed;
        uint16_t named;
        uint32_t size;
        uint64_t inode, at;
    } head = {what, failed, named, size, inode, at};
    struct iovec parts[] = {{&head, sizeof head}, {(void *)name, named}, {(void *)data, size}};
    if (log_fd >= 0 && writev(log_fd, parts, 3) != (ssize_t)(sizeof head + named + size)) abort();
}

/* Whether this operation is one that is to fail. */
static int fails(int what) {
    counts[what]++;
    if (!(fail_mask & (1u << what))) return 0;
    if (seen++ < fail_after || hits >= fail_times) return 0;
    hits++;
    return 1;
}

/* -- what the program itself asks for ------------------------------------------------------------------------------ */

EXPORT void disk_mark(const void *data, size_t size) {
    pthread_mutex_lock(&mutex);
    note(MARK, 0, 0, 0, "", 0, data, size);
    pthread_mutex_unlock(&mutex);
}

EXPORT void disk_fail(unsigned mask, long after, long times, int error) {
    pthread_mutex_lock(&mutex);
    fail_mask = mask, fail_after = after, fail_times = times, fail_errno = error;
    seen = hits = cut_short = 0;
    memset(counts, 0, sizeof counts);
    pthread_mutex_unlock(&mutex);
}

/* How many operations have failed since disk_fail. */
EXPORT long disk_hits(void) { return hits; }

/* How many operations of this kind there were since disk_fail, whether they failed or not. */
EXPORT long disk_count(int what) { return counts[what]; }

/* -- names --------------------------------------------------------------------------------------------------------- */

static int open_one(int folder, const char *path, int flags, mode_t mode) {
    if (!below(path)) return REAL(openat)(folder, path, flags, mode);
    struct stat status;
    pthread_mutex_lock(&mutex);
    int is_new = (flags & O_CREAT) && stat(path, &status) != 0, fd = -1;
    if (fails(is_new ? CREATE : OPEN)) {
        errno = fail_errno;
    } else if ((fd = REAL(openat)(folder, path, flags, mode)) >= 0 && fd < DESCRIPTORS && fstat(fd, &status) == 0) {
        watched[fd] = status.st_ino;
        if (is_new || S_ISREG(status.st_mode))
            note(is_new ? CREATE : OPEN, 0, status.st_ino, 0, path, strlen(path), "", 0);
        if (!is_new && (flags & O_TRUNC)) note(TRUNCATE, 0, status.st_ino, 0, "", 0, "", 0);
    }
    int error = errno;
    pthread_mutex_unlock(&mutex);
    errno = error;
    return fd;
}

#define MODE(mode, flags)                                          \
    mode_t mode = 0;                                               \
    if ((flags) & O_CREAT || ((flags) & O_TMPFILE) == O_TMPFILE) { \
        va_list list;                                              \
        va_start(list, flags);                                     \
        mode = va_arg(list, mode_t);                               \
        va_end(list);                                              \
    }

EXPORT int open(const char *path, int flags, ...) {
    MODE(mode, flags)
    return open_one(AT_FDCWD, path, flags, mode);
}

#ifdef __GLIBC__
EXPORT int open64(const char *path, int flags, ...) {
    MODE(mode, flags)
    return open_one(AT_FDCWD, path, flags, mode);
}
#endif

EXPORT int openat(int folder, const char *path, int flags, ...) {
    MODE(mode, flags)
    return open_one(folder, path, flags, mode);
}

#ifdef __GLIBC__
EXPORT int openat64(int folder, const char *path, int flags, ...) {
    MODE(mode, flags)
    return open_one(folder, path, flags, mode);
}
#endif

EXPORT int close(int fd) {
    if (!is_watched(fd)) return REAL(close)(fd);
    pthread_mutex_lock(&mutex);
    watched[fd] = 0;
    int result = REAL(close)(fd);
    pthread_mutex_unlock(&mutex);
    return result;
}

/* A change of names: `call` is made unless it is to fail, and noted where it was made. */
#define NAMES(what, path, size, call)                      \
    int result = -1;                                       \
    pthread_mutex_lock(&mutex);                            \
    if (fails(what)) {                                     \
        errno = what == UNLINK ? EIO : fail_errno;         \
    } else if ((result = (call)) == 0) {                   \
        note(what, 0, 0, 0, path, size, "", 0);            \
    }                                                      \
    int error = errno;                                     \
    pthread_mutex_unlock(&mutex);                          \
    errno = error;                                         \
    return result;

EXPORT int unlink(const char *path) {
    if (!below(path)) return REAL(unlink)(path);
    NAMES(UNLINK, path, strlen(path), REAL(unlink)(path))
}

EXPORT int mkdir(const char *path, mode_t mode) {
    if (!below(path)) return REAL(mkdir)(path, mode);
    struct stat status;
    int result = -1;
    pthread_mutex_lock(&mutex);
    if (fails(MKDIR)) {
        errno = fail_errno;
    } else if ((result = REAL(mkdir)(path, mode)) == 0 && stat(path, &status) == 0) {
        note(MKDIR, 0, status.st_ino, 0, path, strlen(path), "", 0);
    }
    int error = errno;
    pthread_mutex_unlock(&mutex);
    errno = error;
    return result;
}

EXPORT int rmdir(const char *path) {
    if (!below(path)) return REAL(rmdir)(path);
    NAMES(RMDIR, path, strlen(path), REAL(rmdir)(path))
}

EXPORT int rename(const char *from, const char *to) {
    if (!below(from)) return REAL(rename)(from, to);
    char both[2 * PATH_MAX];
    size_t first = strlen(from) + 1, second = strlen(to);
    memcpy(both, from, first);
    memcpy(both + first, to, second);
    NAMES(RENAME, both, first + second, REAL(rename)(from, to))
}

/* -- bytes --------------------------------------------------------------------------------------------------------- */

static ssize_t write_at(int fd, const void *data, size_t size, off_t at, int moves) {
    ssize_t result = -1;
    pthread_mutex_lock(&mutex);
    if (cut_short || fails(WRITE)) {
        errno = fail_errno;
        /* A disk that fills up takes a part first. */
        if (!cut_short && fail_errno == ENOSPC && size >= 1024) {
            size /= 2;
            cut_short = 1;
            goto go;
        }
        cut_short = 0;
    } else {
    go:
        if (moves) at = lseek(fd, 0, SEEK_CUR);
        result = moves ? REAL(write)(fd, data, size) : REAL(pwrite)(fd, data, size, at);
        if (result > 0) note(WRITE, 0, watched[fd], at, "", 0, data, result);
    }
    int error = errno;
    pthread_mutex_unlock(&mutex);
    errno = error;
    return result;
}

EXPORT ssize_t write(int fd, const void *data, size_t size) {
    return is_watched(fd) ? write_at(fd, data, size, 0, 1) : REAL(write)(fd, data, size);
}

EXPORT ssize_t pwrite(int fd, const void *data, size_t size, off_t at) {
    return is_watched(fd) ? write_at(fd, data, size, at, 0) : REAL(pwrite)(fd, data, size, at);
}

#ifdef __GLIBC__
EXPORT ssize_t pwrite64(int fd, const void *data, size_t size, off_t at) { return pwrite(fd, data, size, at); }
#endif

EXPORT int ftruncate(int fd, off_t size) {
    if (!is_watched(fd)) return REAL(ftruncate)(fd, size);
    int result = -1;
    pthread_mutex_lock(&mutex);
    if (fails(TRUNCATE)) errno = EIO;
    else if ((result = REAL(ftruncate)(fd, size)) == 0) note(TRUNCATE, 0, watched[fd], size, "", 0, "", 0);
    int error = errno;
    pthread_mutex_unlock(&mutex);
    errno = error;
    return result;
}

#ifdef __GLIBC__
EXPORT int ftruncate64(int fd, off_t size) { return ftruncate(fd, size); }
#endif

static int sync_one(int fd, int (*call)(int)) {
    int result = -1;
    pthread_mutex_lock(&mutex);
    int failed = fails(SYNC);
    if (failed) errno = fail_errno;
    else result = call(fd);
    /* One that fails is noted too: the kernel may drop what it could not write, and say so only once. */
    if (failed || result == 0) note(SYNC, failed, watched[fd], 0, "", 0, "", 0);
    int error = errno;
    pthread_mutex_unlock(&mutex);
    errno = error;
    return result;
}

EXPORT int fsync(int fd) { return is_watched(fd) ? sync_one(fd, REAL(fsync)) : REAL(fsync)(fd); }

EXPORT int fdatasync(int fd) { return is_watched(fd) ? sync_one(fd, REAL(fdatasync)) : REAL(fdatasync)(fd); }

static int read_fails(int fd) {
    if (!is_watched(fd)) return 0;
    pthread_mutex_lock(&mutex);
    int failed = fails(READ);
    pthread_mutex_unlock(&mutex);
    if (failed) errno = EIO;
    return failed;
}

EXPORT ssize_t read(int fd, void *data, size_t size) { return read_fails(fd) ? -1 : REAL(read)(fd, data, size); }

EXPORT ssize_t pread(int fd, void *data, size_t size, off_t at) {
    return read_fails(fd) ? -1 : REAL(pread)(fd, data, size, at);
}

#ifdef __GLIBC__
EXPORT ssize_t pread64(int fd, void *data, size_t size, off_t at) { return pread(fd, data, size, at); }
#endif
