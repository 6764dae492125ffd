/* A power cut for one process, by LD_PRELOAD.
 *
 * Follows what the process writes below one folder and remembers what the disk would still hold: the
 * content before each write since the file's last fsync, the lengths, and on request the directory
 * entries since the directory's last fsync. At a given operation it puts the files into a state that a
 * disk without power could have kept, and kills the process. The real fsync is left out: the machine
 * itself keeps its power.
 *
 * POWERCUT_ROOT   the folder, as realpath gives it
 * POWERCUT_AT     the number of the operation (write, truncation, sync, directory change) that never comes
 * POWERCUT_SEED   what is lost is a function of this
 * POWERCUT_LOSES  words: `all` nothing unsynced stays; `some` of each unit any version since the last
 *                 sync stays; `entries` unsynced directory entries go as well; `ranges` sync_file_range
 *                 counts as a sync; `lies` fsync does not
 * POWERCUT_UNIT   bytes that are written as a whole (4096)
 * POWERCUT_DELAY  longest duration of a sync in microseconds
 * POWERCUT_TRASH  a folder of the same file system for what was deleted
 * POWERCUT_REPORT a file that is told what was lost
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#define EXPORT __attribute__((visibility("default")))
/* Versions kept of a unit between two syncs; of more, the first ones. */
#define VERSIONS 16
#define BUCKETS 4096

struct version { uint64_t stamp; char *data; };
struct unit { struct unit *next; off64_t at; int count; struct version versions[VERSIONS]; };
struct length { uint64_t stamp; off64_t size; };
struct file {
    struct file *next;
    dev_t dev;
    ino_t ino;
    int fd; /* keeps the inode from being used again */
    struct unit *units[BUCKETS];
    struct length *lengths;
    size_t lengths_count, lengths_room;
};
enum kind { CREATE, MKDIR, UNLINK, RMDIR, RENAME };
struct entry { struct entry *before; uint64_t stamp; enum kind kind; int dir, old_dir; ino_t dir_ino; char *name, *old; char *kept; };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct file *files;
static struct entry *entries; /* the newest first */
static uint64_t stamp, cut_at, seed, syncs, kept_names;
static const char *root, *trash, *report;
static size_t root_len, unit_size = 4096;
static long delay_us;
static int loses_some, loses_entries, ranges_count, fsync_lies;

#define REAL(ret, name, ...) static ret (*real_##name)(__VA_ARGS__)
REAL(ssize_t, write, int, const void *, size_t);
REAL(ssize_t, pwrite64, int, const void *, size_t, off64_t);
REAL(ssize_t, writev, int, const struct iovec *, int);
REAL(int, ftruncate64, int, off64_t);
REAL(int, fsync, int);
REAL(int, fdatasync, int);
REAL(int, sync_file_range, int, off64_t, off64_t, unsigned);
REAL(int, open64, const char *, int, ...);
REAL(int, openat64, int, const char *, int, ...);
REAL(int, renameat, int, const char *, int, const char *);
REAL(int, unlinkat, int, const char *, int);
REAL(int, mkdirat, int, const char *, mode_t);

static uint64_t draw(void) { /* splitmix64 */
    uint64_t z = (seed += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

static void fail(const char *what) {
    dprintf(2, "powercut: %s: %s\n", what, strerror(errno));
    _exit(99);
}

__attribute__((constructor)) static void begin(void) {
#define FIND(name) if (!(*(void **)&real_##name = dlsym(RTLD_NEXT, #name))) fail(#name)
    FIND(write); FIND(pwrite64); FIND(writev); FIND(ftruncate64); FIND(fsync); FIND(fdatasync);
    FIND(sync_file_range); FIND(open64); FIND(openat64); FIND(renameat); FIND(unlinkat); FIND(mkdirat);
    const char *at = getenv("POWERCUT_AT"), *loses = getenv("POWERCUT_LOSES"), *unit = getenv("POWERCUT_UNIT");
    const char *from = getenv("POWERCUT_SEED"), *delay = getenv("POWERCUT_DELAY");
    root = getenv("POWERCUT_ROOT");
    trash = getenv("POWERCUT_TRASH");
    report = getenv("POWERCUT_REPORT");
    if (!root || !at || !loses || !from || !trash || !report) { root = NULL; return; }
    root_len = strlen(root);
    prctl(PR_SET_PDEATHSIG, SIGKILL); /* a test that is ended leaves nothing behind */
    cut_at = strtoull(at, NULL, 10);
    seed = strtoull(from, NULL, 10);
    if (unit) unit_size = strtoul(unit, NULL, 10);
    if (delay) delay_us = atol(delay);
    loses_some = strstr(loses, "some") != NULL;
    loses_entries = strstr(loses, "entries") != NULL;
    ranges_count = strstr(loses, "ranges") != NULL;
    fsync_lies = strstr(loses, "lies") != NULL;
}

/* Whether an open file or directory lies below the root. */
static int below(int fd) {
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t len = readlink(link, path, sizeof path - 1);
    if (len < (ssize_t)root_len) return 0;
    path[len] = 0;
    return !strncmp(path, root, root_len) && (path[root_len] == 0 || path[root_len] == '/');
}

static struct file *followed(int fd) {
    struct stat about;
    if (!root || fstat(fd, &about) || !S_ISREG(about.st_mode)) return NULL;
    for (struct file *file = files; file; file = file->next)
        if (file->ino == about.st_ino && file->dev == about.st_dev) return file;
    if (!below(fd)) return NULL;
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    struct file *file = calloc(1, sizeof *file);
    file->dev = about.st_dev;
    file->ino = about.st_ino;
    file->fd = real_open64(link, O_RDWR | O_CLOEXEC);
    if (file->fd < 0) fail("open a second time");
    file->next = files;
    return files = file;
}

static off64_t size_of(struct file *file) {
    struct stat about;
    if (fstat(file->fd, &about)) fail("fstat");
    return about.st_size;
}

/* Remembers what stands at these bytes before they change. */
static void keep_units(struct file *file, off64_t from, off64_t to) {
    for (off64_t at = from / unit_size * unit_size; at < to; at += unit_size) {
        struct unit **slot = &file->units[at / unit_size % BUCKETS];
        struct unit *unit = *slot;
        while (unit && unit->at != at) unit = unit->next;
        if (!unit) {
            unit = calloc(1, sizeof *unit);
            unit->at = at;
            unit->next = *slot;
            *slot = unit;
        }
        if (unit->count == VERSIONS) continue;
        char *data = calloc(1, unit_size);
        if (pread64(file->fd, data, unit_size, at) < 0) fail("pread");
        unit->versions[unit->count++] = (struct version){ stamp, data };
    }
}

static void keep_length(struct file *file) {
    if (file->lengths_count == file->lengths_room) {
        file->lengths_room = file->lengths_room * 2 + 16;
        file->lengths = realloc(file->lengths, file->lengths_room * sizeof *file->lengths);
    }
    file->lengths[file->lengths_count++] = (struct length){ stamp, size_of(file) };
}

/* What changed up to `until` is on disk. */
static void settle(struct file *file, uint64_t until) {
    for (size_t bucket = 0; bucket < BUCKETS; bucket++) {
        struct unit **slot = &file->units[bucket];
        while (*slot) {
            struct unit *unit = *slot;
            int gone = 0;
            while (gone < unit->count && unit->versions[gone].stamp <= until) free(unit->versions[gone++].data);
            unit->count -= gone;
            memmove(unit->versions, unit->versions + gone, unit->count * sizeof *unit->versions);
            if (unit->count) slot = &unit->next;
            else { *slot = unit->next; free(unit); }
        }
    }
    size_t gone = 0;
    while (gone < file->lengths_count && file->lengths[gone].stamp <= until) gone++;
    file->lengths_count -= gone;
    if (gone) memmove(file->lengths, file->lengths + gone, file->lengths_count * sizeof *file->lengths);
}

/* Gives a file one of the states that the disk may hold. */
static void revert(struct file *file, unsigned keep, uint64_t *units, uint64_t *lost, uint64_t *cut_off) {
    off64_t size = size_of(file), stays = size;
    if (file->lengths_count) {
        size_t which = loses_some ? (draw() % 2 ? 0 : draw() % (file->lengths_count + 1)) : 0;
        if (which < file->lengths_count) stays = file->lengths[which].size;
    }
    for (size_t bucket = 0; bucket < BUCKETS; bucket++)
        for (struct unit *unit = file->units[bucket]; unit; unit = unit->next) {
            int which = 0; /* the version on disk; `count` is the one just written */
            if (loses_some) which = draw() % 100 < keep ? unit->count : (int)(draw() % (unit->count + 1));
            if (unit->at >= size) which = 0; /* cut off and still there: the old bytes */
            ++*units;
            if (which == unit->count) continue;
            ++*lost;
            if (real_pwrite64(file->fd, unit->versions[which].data, unit_size, unit->at) < 0) fail("revert");
        }
    *cut_off += stays < size ? size - stays : 0;
    if (real_ftruncate64(file->fd, stays)) fail("cut");
}

static void undo(struct entry *entry) {
    char gone[64];
    snprintf(gone, sizeof gone, "undone-%lu-%d", (unsigned long)entry->stamp, getpid());
    int into = real_open64(trash, O_PATH | O_DIRECTORY | O_CLOEXEC), failed = 0;
    switch (entry->kind) {
    case CREATE: failed = real_unlinkat(entry->dir, entry->name, 0); break;
    case MKDIR: failed = real_renameat(entry->dir, entry->name, into, gone); break;
    case UNLINK: failed = linkat(into, entry->kept, entry->dir, entry->name, 0); break;
    case RMDIR: failed = real_mkdirat(entry->dir, entry->name, 0700); break;
    case RENAME:
        failed = real_renameat(entry->dir, entry->name, entry->old_dir, entry->old);
        if (entry->kept) failed |= linkat(into, entry->kept, entry->dir, entry->name, 0);
    }
    if (failed) dprintf(2, "powercut: could not undo %s (%d): %s\n", entry->name, entry->kind, strerror(errno));
    close(into);
}

/* Of each directory's unsynced changes the last few are lost; they reach the disk in their order. */
static void undo_entries(uint64_t *there, uint64_t *undone) {
    struct { ino_t dir; uint64_t from; } chosen[64];
    size_t dirs = 0;
    for (struct entry *entry = entries; entry; entry = entry->before) {
        size_t dir = 0;
        ++*there;
        while (dir < dirs && chosen[dir].dir != entry->dir_ino) dir++;
        if (dir == dirs) {
            if (dirs == 64) continue;
            uint64_t count = 0, lost;
            for (struct entry *other = entry; other; other = other->before) count += other->dir_ino == entry->dir_ino;
            lost = loses_some ? draw() % (count + 1) : count;
            chosen[dirs].dir = entry->dir_ino;
            chosen[dirs++].from = lost;
        }
        if (chosen[dir].from == 0) continue;
        chosen[dir].from--;
        undo(entry);
        ++*undone;
    }
}

static void cut(void) {
    uint64_t units = 0, lost = 0, cut_off = 0, there = 0, undone = 0;
    /* Sometimes nearly all, sometimes nearly nothing reached the disk. */
    unsigned keep = (unsigned[]){ 0, 10, 50, 90, 98 }[draw() % 5];
    for (struct file *file = files; file; file = file->next) revert(file, keep, &units, &lost, &cut_off);
    if (loses_entries) undo_entries(&there, &undone);
    int out = real_open64(report, O_WRONLY | O_CREAT | O_APPEND, 0600);
    dprintf(out, "operation %lu syncs %lu units %lu lost %lu cut_bytes %lu entries %lu undone %lu\n", (unsigned long)stamp,
            (unsigned long)syncs, (unsigned long)units, (unsigned long)lost, (unsigned long)cut_off,
            (unsigned long)there, (unsigned long)undone);
    kill(getpid(), SIGKILL);
    for (;;) pause();
}

/* Counts an operation; the one that never comes ends the process, with the lock held. */
static void count(void) {
    if (++stamp == cut_at) cut();
}

static int sync_with(int (*real)(int), int fd) {
    struct stat about;
    if (!root || fstat(fd, &about)) return real(fd);
    pthread_mutex_lock(&lock);
    int is_dir = S_ISDIR(about.st_mode) && below(fd);
    struct file *file = followed(fd);
    if (!file && !is_dir) { pthread_mutex_unlock(&lock); return real(fd); }
    count();
    syncs++;
    uint64_t until = stamp;
    long wait = delay_us ? (long)(draw() % delay_us) : 0;
    pthread_mutex_unlock(&lock);
    if (wait) usleep(wait);
    pthread_mutex_lock(&lock);
    if (file && !fsync_lies) settle(file, until);
    for (struct entry **slot = &entries; is_dir && *slot;) {
        if ((*slot)->dir_ino == about.st_ino && (*slot)->stamp <= until) *slot = (*slot)->before;
        else slot = &(*slot)->before;
    }
    pthread_mutex_unlock(&lock);
    return 0;
}

EXPORT int fsync(int fd) { return sync_with(real_fsync, fd); }
EXPORT int fdatasync(int fd) { return sync_with(real_fdatasync, fd); }
EXPORT int sync_file_range(int fd, off64_t from, off64_t len, unsigned flags) {
    if (!root) return real_sync_file_range(fd, from, len, flags);
    if (ranges_count) return sync_with(real_fsync, fd);
    return 0;
}

static ssize_t write_at(struct file *file, int fd, const struct iovec *parts, int count_parts, off64_t at, int placed) {
    size_t len = 0;
    for (int part = 0; part < count_parts; part++) len += parts[part].iov_len;
    count();
    keep_units(file, at, at + len);
    if (at + (off64_t)len > size_of(file)) keep_length(file);
    return placed ? real_pwrite64(fd, parts->iov_base, len, at) : real_writev(fd, parts, count_parts);
}

static ssize_t append(int fd, const struct iovec *parts, int count_parts) {
    pthread_mutex_lock(&lock);
    struct file *file = followed(fd);
    if (!file) { pthread_mutex_unlock(&lock); return real_writev(fd, parts, count_parts); }
    off64_t at = fcntl(fd, F_GETFL) & O_APPEND ? size_of(file) : lseek64(fd, 0, SEEK_CUR);
    ssize_t done = write_at(file, fd, parts, count_parts, at, 0);
    pthread_mutex_unlock(&lock);
    return done;
}

EXPORT ssize_t write(int fd, const void *data, size_t len) {
    struct stat about;
    if (!root || fstat(fd, &about) || !S_ISREG(about.st_mode)) return real_write(fd, data, len);
    return append(fd, &(struct iovec){ (void *)data, len }, 1);
}

EXPORT ssize_t writev(int fd, const struct iovec *parts, int count_parts) {
    struct stat about;
    if (!root || fstat(fd, &about) || !S_ISREG(about.st_mode)) return real_writev(fd, parts, count_parts);
    return append(fd, parts, count_parts);
}

EXPORT ssize_t pwrite64(int fd, const void *data, size_t len, off64_t at) {
    if (!root) return real_pwrite64(fd, data, len, at);
    pthread_mutex_lock(&lock);
    struct file *file = followed(fd);
    ssize_t done = file ? write_at(file, fd, &(struct iovec){ (void *)data, len }, 1, at, 1)
                        : real_pwrite64(fd, data, len, at);
    pthread_mutex_unlock(&lock);
    return done;
}

static void keep_cut(struct file *file, off64_t size) {
    off64_t now = size_of(file);
    if (size < now) keep_units(file, size, now);
    keep_length(file);
}

EXPORT int ftruncate64(int fd, off64_t size) {
    if (!root) return real_ftruncate64(fd, size);
    pthread_mutex_lock(&lock);
    struct file *file = followed(fd);
    if (file) { count(); keep_cut(file, size); }
    int failed = real_ftruncate64(fd, size);
    pthread_mutex_unlock(&lock);
    return failed;
}

/* The directory of a path, opened, and the name in it; -1 if it is not below the root. */
static int parent(int at, const char *path, const char **name) {
    const char *slash = strrchr(path, '/');
    char dir[4096];
    snprintf(dir, sizeof dir, "%.*s", slash ? (int)(slash - path + (slash == path)) : 1, slash ? path : ".");
    *name = slash ? slash + 1 : path;
    int fd = real_openat64(at, dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 || below(fd)) return fd;
    close(fd);
    return -1;
}

static struct entry *note(enum kind kind, int dir, const char *name) {
    struct stat about;
    struct entry *entry = calloc(1, sizeof *entry);
    if (fstat(dir, &about)) fail("fstat");
    *entry = (struct entry){ entries, stamp, kind, dir, -1, about.st_ino, strdup(name), NULL, NULL };
    return entries = entry;
}

/* Keeps a file that loses its name; its name in the trash. */
static char *keep_file(int dir, const char *name) {
    char kept[64];
    snprintf(kept, sizeof kept, "kept-%d-%lu", getpid(), (unsigned long)++kept_names);
    int into = real_open64(trash, O_PATH | O_DIRECTORY | O_CLOEXEC);
    int failed = linkat(dir, name, into, kept, 0);
    close(into);
    return failed ? NULL : strdup(kept);
}

static int open_with(int at, const char *path, int flags, mode_t mode) {
    if (!root || !(flags & (O_CREAT | O_TRUNC)) || (flags & O_TMPFILE) == O_TMPFILE)
        return real_openat64(at, path, flags, mode);
    const char *name;
    pthread_mutex_lock(&lock);
    int dir = parent(at, path, &name);
    struct stat about;
    int is_new = dir >= 0 && fstatat(dir, name, &about, AT_SYMLINK_NOFOLLOW);
    if (is_new) count();
    int fd = real_openat64(at, path, dir >= 0 ? flags & ~O_TRUNC : flags, mode);
    int saved = errno;
    if (dir >= 0 && fd >= 0 && is_new) note(CREATE, dir, name);
    else if (dir >= 0) close(dir);
    struct file *file = dir >= 0 && fd >= 0 && flags & O_TRUNC && !is_new ? followed(fd) : NULL;
    if (file) { count(); keep_cut(file, 0); real_ftruncate64(fd, 0); }
    pthread_mutex_unlock(&lock);
    errno = saved;
    return fd;
}

#define MODE mode_t mode = 0; if (flags & (O_CREAT | O_TMPFILE)) { va_list more; va_start(more, flags); mode = va_arg(more, mode_t); va_end(more); }
EXPORT int open64(const char *path, int flags, ...) { MODE return open_with(AT_FDCWD, path, flags, mode); }
EXPORT int open(const char *path, int flags, ...) { MODE return open_with(AT_FDCWD, path, flags, mode); }
EXPORT int openat64(int at, const char *path, int flags, ...) { MODE return open_with(at, path, flags, mode); }

EXPORT int mkdir(const char *path, mode_t mode) {
    if (!root) return real_mkdirat(AT_FDCWD, path, mode);
    const char *name;
    pthread_mutex_lock(&lock);
    int dir = parent(AT_FDCWD, path, &name);
    if (dir >= 0) count();
    int failed = real_mkdirat(AT_FDCWD, path, mode), saved = errno;
    if (dir >= 0 && !failed) note(MKDIR, dir, name);
    pthread_mutex_unlock(&lock);
    errno = saved;
    return failed;
}

EXPORT int unlinkat(int at, const char *path, int flags) {
    if (!root) return real_unlinkat(at, path, flags);
    const char *name;
    pthread_mutex_lock(&lock);
    int dir = parent(at, path, &name);
    char *kept = NULL;
    if (dir >= 0) { count(); kept = flags & AT_REMOVEDIR ? NULL : keep_file(dir, name); }
    int failed = real_unlinkat(at, path, flags), saved = errno;
    if (dir >= 0 && !failed) note(flags & AT_REMOVEDIR ? RMDIR : UNLINK, dir, name)->kept = kept;
    pthread_mutex_unlock(&lock);
    errno = saved;
    return failed;
}
EXPORT int unlink(const char *path) { return unlinkat(AT_FDCWD, path, 0); }

EXPORT int rename(const char *old, const char *new) {
    if (!root) return real_renameat(AT_FDCWD, old, AT_FDCWD, new);
    const char *old_name, *name;
    pthread_mutex_lock(&lock);
    int old_dir = parent(AT_FDCWD, old, &old_name), dir = parent(AT_FDCWD, new, &name);
    char *kept = NULL;
    if (dir >= 0) { count(); kept = keep_file(dir, name); }
    int failed = real_renameat(AT_FDCWD, old, AT_FDCWD, new), saved = errno;
    if (dir >= 0 && !failed) {
        struct entry *entry = note(RENAME, dir, name);
        entry->kept = kept;
        entry->old_dir = old_dir;
        entry->old = strdup(old_name);
    }
    pthread_mutex_unlock(&lock);
    errno = saved;
    return failed;
}
