/* A disk that fails when it is told to, and that writes down everything it is asked to do.
 *
 * Preloaded into a process, this stands between it and the C library, for the files of one directory:
 *   FAULTS_DIRECTORY  the directory, without symbolic links in its path
 *   FAULTS_TRACE      the file to which every change is appended, in its order, with its data (see trace.rs)
 *   FAULTS_PLAN       "write|sync N ERRNO once|while": from the N-th write or sync on, fail with ERRNO
 *   FAULTS_FULL       with "while": fail as long as this file exists
 *
 * A change and its record are made under one lock, so the order of the records is the order of the changes.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

#define FILES 4096

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static char *paths[FILES]; /* of the descriptors that are watched; "" is the directory itself */
static const char *directory;
static size_t directory_length;
static int trace = -1;

static struct {
    char kind; /* 'w', 's', or 0 for none */
    long number;
    int error;
    int persists;
    const char *full;
} plan;
static long writes, syncs;

static int (*real_open)(const char *, int, ...);
static int (*real_openat)(int, const char *, int, ...);
static int (*real_close)(int);
static ssize_t (*real_write)(int, const void *, size_t);
static ssize_t (*real_writev)(int, const struct iovec *, int);
static ssize_t (*real_pwrite)(int, const void *, size_t, off_t);
static int (*real_ftruncate)(int, off_t);
static int (*real_fsync)(int);
static int (*real_fdatasync)(int);
static int (*real_unlink)(const char *);
static int (*real_rename)(const char *, const char *);

#define FIND(name) (real_##name = (__typeof__(real_##name))dlsym(RTLD_NEXT, #name))

__attribute__((constructor)) static void begin(void) {
    if (real_rename != NULL) {
        return;
    }
    FIND(open), FIND(openat), FIND(close), FIND(write), FIND(writev), FIND(pwrite), FIND(ftruncate);
    FIND(fsync), FIND(fdatasync), FIND(unlink), FIND(rename);
    const char *file = getenv("FAULTS_TRACE"), *text = getenv("FAULTS_PLAN");
    directory = getenv("FAULTS_DIRECTORY");
    if (directory == NULL || file == NULL) {
        directory = NULL;
        return;
    }
    directory_length = strlen(directory);
    trace = real_open(file, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
    char kind[8], how[8];
    if (text != NULL && sscanf(text, "%7s %ld %d %7s", kind, &plan.number, &plan.error, how) == 4) {
        plan.kind = kind[0];
        plan.persists = strcmp(how, "while") == 0;
        plan.full = getenv("FAULTS_FULL");
    }
}

/* -- the trace: kind, length of the path, a number, length of the data, path, data */

static void record(char kind, const char *path, uint64_t number, const void *data, uint32_t length) {
    int kept = errno;
    unsigned char head[15];
    uint16_t path_length = (uint16_t)strlen(path);
    head[0] = (unsigned char)kind;
    memcpy(head + 1, &path_length, 2);
    memcpy(head + 3, &number, 8);
    memcpy(head + 11, &length, 4);
    struct iovec parts[3] = {{head, sizeof head}, {(void *)path, path_length}, {(void *)data, length}};
    if (real_writev(trace, parts, 3) != (ssize_t)(sizeof head + path_length + length)) {
        abort();
    }
    errno = kept;
}

/* -- which files are watched */

/* The path below the directory, NULL if it is elsewhere. */
static const char *below(const char *path) {
    if (directory == NULL || strncmp(path, directory, directory_length) != 0) {
        return NULL;
    }
    if (path[directory_length] == 0) {
        return "";
    }
    return path[directory_length] == '/' ? path + directory_length + 1 : NULL;
}

/* The same for a path as a program gives it; `buffer` has room for PATH_MAX. */
static const char *named(const char *path, char *buffer) {
    if (directory == NULL) {
        return NULL;
    }
    if (path[0] == '/') {
        return below(path);
    }
    if (getcwd(buffer, PATH_MAX / 2) == NULL || strlen(path) >= PATH_MAX / 2) {
        return NULL;
    }
    strcat(strcat(buffer, "/"), path);
    return below(buffer);
}

static const char *watched(int file) {
    return file >= 0 && file < FILES ? paths[file] : NULL;
}

/* -- which call fails */

/* How the next call of this kind ends: 0 if it may go on, else an error. With the lock held. */
static int fails(char kind, const char *path) {
    long number = kind == 'w' ? ++writes : ++syncs;
    if (plan.kind != kind || number < plan.number || (!plan.persists && number > plan.number)) {
        return 0;
    }
    if (plan.persists && access(plan.full, F_OK) != 0) {
        return 0;
    }
    record('E', path, (uint64_t)number, NULL, 0);
    return plan.error;
}

/* -- opening and closing */

static int opened(int file, int existed, int flags) {
    if (file < 0 || file >= FILES) {
        return file;
    }
    char link[64], path[PATH_MAX];
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length > 0) {
        path[length] = 0;
        const char *rest = below(path);
        if (rest != NULL) {
            paths[file] = strdup(rest);
            if ((flags & O_CREAT) && !existed) {
                record('C', rest, 0, NULL, 0);
            }
        }
    }
    return file;
}

static int open_any(int at, const char *path, int flags, mode_t mode) {
    /* Others may begin before this library does. */
    begin();
    if (directory == NULL) {
        return at == AT_FDCWD ? real_open(path, flags, mode) : real_openat(at, path, flags, mode);
    }
    pthread_mutex_lock(&lock);
    char buffer[PATH_MAX];
    int existed = faccessat(at, path, F_OK, 0) == 0;
    const char *rest = at == AT_FDCWD ? named(path, buffer) : NULL;
    int error = rest != NULL && (flags & O_CREAT) && !existed ? fails('w', rest) : 0;
    int file = -1;
    if (error != 0) {
        errno = error;
    } else {
        file = at == AT_FDCWD ? real_open(path, flags, mode) : real_openat(at, path, flags, mode);
        if ((flags & O_PATH) == 0) {
            opened(file, existed, flags);
        }
    }
    pthread_mutex_unlock(&lock);
    return file;
}

#define MODE(flags, mode)                                                                                              \
    mode_t mode = 0;                                                                                                   \
    if ((flags) & (O_CREAT | O_TMPFILE)) {                                                                             \
        va_list arguments;                                                                                             \
        va_start(arguments, flags);                                                                                    \
        mode = va_arg(arguments, mode_t);                                                                              \
        va_end(arguments);                                                                                             \
    }

int open(const char *path, int flags, ...) {
    MODE(flags, mode)
    return open_any(AT_FDCWD, path, flags, mode);
}

int open64(const char *path, int flags, ...) {
    MODE(flags, mode)
    return open_any(AT_FDCWD, path, flags, mode);
}

int openat(int at, const char *path, int flags, ...) {
    MODE(flags, mode)
    return open_any(at, path, flags, mode);
}

int openat64(int at, const char *path, int flags, ...) {
    MODE(flags, mode)
    return open_any(at, path, flags, mode);
}

int close(int file) {
    begin();
    if (watched(file) != NULL) {
        pthread_mutex_lock(&lock);
        free(paths[file]);
        paths[file] = NULL;
        int result = real_close(file);
        pthread_mutex_unlock(&lock);
        return result;
    }
    return real_close(file);
}

/* -- changing what is in a file */

/* Writes at `offset`, or where the file stands if that is negative. With the lock held. */
static ssize_t put(int file, const char *path, const void *data, size_t length, off_t offset) {
    int error = fails('w', path);
    if (error == ENOSPC && writes == plan.number && writes % 2 == 1 && length > 1) {
        /* There is room for a part of it: the kernel writes that, and fails with the next call. */
        length /= 2;
        error = 0;
    }
    if (error != 0) {
        errno = error;
        return -1;
    }
    off_t at = offset;
    if (at < 0) {
        at = lseek(file, 0, fcntl(file, F_GETFL) & O_APPEND ? SEEK_END : SEEK_CUR);
    }
    ssize_t written = offset < 0 ? real_write(file, data, length) : real_pwrite(file, data, length, offset);
    if (written > 0) {
        record('W', path, (uint64_t)at, data, (uint32_t)written);
    }
    return written;
}

static ssize_t put_watched(int file, const void *data, size_t length, off_t offset) {
    pthread_mutex_lock(&lock);
    ssize_t written = put(file, paths[file], data, length, offset);
    pthread_mutex_unlock(&lock);
    return written;
}

ssize_t write(int file, const void *data, size_t length) {
    begin();
    return watched(file) == NULL ? real_write(file, data, length) : put_watched(file, data, length, -1);
}

ssize_t pwrite(int file, const void *data, size_t length, off_t offset) {
    return watched(file) == NULL ? real_pwrite(file, data, length, offset) : put_watched(file, data, length, offset);
}

ssize_t pwrite64(int file, const void *data, size_t length, off64_t offset) {
    return pwrite(file, data, length, offset);
}

ssize_t writev(int file, const struct iovec *parts, int count) {
    if (watched(file) == NULL) {
        return real_writev(file, parts, count);
    }
    ssize_t written = 0;
    for (int part = 0; part < count; part++) {
        ssize_t some = put_watched(file, parts[part].iov_base, parts[part].iov_len, -1);
        if (some < 0) {
            return written > 0 ? written : some;
        }
        written += some;
        if ((size_t)some < parts[part].iov_len) {
            break;
        }
    }
    return written;
}

int ftruncate(int file, off_t size) {
    if (watched(file) == NULL) {
        return real_ftruncate(file, size);
    }
    pthread_mutex_lock(&lock);
    /* That needs no space. */
    int error = plan.error == ENOSPC ? 0 : fails('w', paths[file]), result = -1;
    if (error != 0) {
        errno = error;
    } else if ((result = real_ftruncate(file, size)) == 0) {
        record('T', paths[file], (uint64_t)size, NULL, 0);
    }
    pthread_mutex_unlock(&lock);
    return result;
}

int ftruncate64(int file, off64_t size) {
    return ftruncate(file, size);
}

/* What would change a file unseen: nobody does that today, and whoever begins to gets to know. */
int fallocate(int file, int mode, off_t offset, off_t length) {
    (void)mode, (void)offset, (void)length;
    if (watched(file) != NULL) {
        abort();
    }
    errno = EOPNOTSUPP;
    return -1;
}

int posix_fallocate(int file, off_t offset, off_t length) {
    (void)offset, (void)length;
    if (watched(file) != NULL) {
        abort();
    }
    return EOPNOTSUPP;
}

static int sync_any(int file, int (*real)(int)) {
    if (watched(file) == NULL) {
        return real(file);
    }
    pthread_mutex_lock(&lock);
    int error = fails('s', paths[file]), result = -1;
    if (error != 0) {
        record('F', paths[file], 0, NULL, 0);
        errno = error;
    } else {
        /* What is real is only the trace; the test does not wait for a disk. */
        record('S', paths[file], 0, NULL, 0);
        result = 0;
    }
    pthread_mutex_unlock(&lock);
    return result;
}

int fsync(int file) {
    return sync_any(file, real_fsync);
}

int fdatasync(int file) {
    return sync_any(file, real_fdatasync);
}

/* -- changing names */

int unlink(const char *path) {
    char buffer[PATH_MAX];
    const char *rest = named(path, buffer);
    if (rest == NULL) {
        return real_unlink(path);
    }
    pthread_mutex_lock(&lock);
    int result = real_unlink(path);
    if (result == 0) {
        record('U', rest, 0, NULL, 0);
    }
    pthread_mutex_unlock(&lock);
    return result;
}

int rename(const char *from, const char *to) {
    char first[PATH_MAX], second[PATH_MAX];
    const char *rest = named(from, first), *target = named(to, second);
    if (rest == NULL || target == NULL) {
        return real_rename(from, to);
    }
    pthread_mutex_lock(&lock);
    int result = real_rename(from, to);
    if (result == 0) {
        record('R', rest, 0, target, (uint32_t)strlen(target));
    }
    pthread_mutex_unlock(&lock);
    return result;
}
