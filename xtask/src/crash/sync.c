/*
 * Ends a process at its Nth fdatasync or fsync: before it, after it, or before it with the loss of all that was written
 * since the last one, as where the power goes. Preloaded (LD_PRELOAD) into the gateway by the crash test.
 *
 * SYNC_KILL=N:before|after|lost
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* A file that was written, with a descriptor that stays open. */
struct file {
    dev_t device;
    ino_t inode;
    int descriptor;
};

/* What a write has covered. */
struct written {
    struct written *before;
    struct file *file;
    off_t offset, size;
    ssize_t kept;
    char old[];
};

enum { FILES = 256 };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct file files[FILES];
static int known;
static struct written *last;
static long limit = -1, count;
static char how;

static void settings(void)
{
    if (limit >= 0)
        return;
    const char *text = getenv("SYNC_KILL");
    const char *colon = text ? strchr(text, ':') : NULL;
    limit = colon ? atol(text) : 0;
    how = colon ? colon[1] : 0;
}

static struct file *file_of(int descriptor, const struct stat *stat)
{
    for (int at = 0; at < known; at++)
        if (files[at].device == stat->st_dev && files[at].inode == stat->st_ino)
            return &files[at];
    if (known == FILES)
        return NULL;
    struct file *file = &files[known++];
    *file = (struct file) { stat->st_dev, stat->st_ino, (int) syscall(SYS_fcntl, descriptor, F_DUPFD_CLOEXEC, 0) };
    return file;
}

/* Keeps what a write is about to cover. */
static void keep(int descriptor, size_t length, off_t offset)
{
    struct stat stat;
    if (how != 'l' || fstat(descriptor, &stat) != 0 || !S_ISREG(stat.st_mode))
        return;
    struct file *file = file_of(descriptor, &stat);
    struct written *written = file ? malloc(sizeof *written + length) : NULL;
    if (!written)
        return;
    written->file = file;
    written->offset = offset;
    written->size = stat.st_size;
    written->kept = syscall(SYS_pread64, descriptor, written->old, length, offset);
    written->before = last;
    last = written;
}

/* A file is on the disk. */
static void forget(int descriptor)
{
    struct stat stat;
    if (how != 'l' || fstat(descriptor, &stat) != 0)
        return;
    for (struct written **at = &last; *at;) {
        struct written *written = *at;
        if (written->file->device == stat.st_dev && written->file->inode == stat.st_ino) {
            *at = written->before;
            free(written);
        } else {
            at = &written->before;
        }
    }
}

static void end(void)
{
    for (struct written *written = last; written; written = written->before) {
        int descriptor = written->file->descriptor;
        if (written->kept > 0)
            syscall(SYS_pwrite64, descriptor, written->old, written->kept, written->offset);
        syscall(SYS_ftruncate, descriptor, written->size);
    }
    kill(getpid(), SIGKILL);
    for (;;)
        pause();
}

static int synced(int descriptor, long number)
{
    pthread_mutex_lock(&lock);
    settings();
    int now = ++count == limit;
    if (now && how != 'a')
        end();
    int result = (int) syscall(number, descriptor);
    if (result == 0)
        forget(descriptor);
    if (now)
        end();
    pthread_mutex_unlock(&lock);
    return result;
}

int fdatasync(int descriptor)
{
    return synced(descriptor, SYS_fdatasync);
}

int fsync(int descriptor)
{
    return synced(descriptor, SYS_fsync);
}

ssize_t pwrite64(int descriptor, const void *bytes, size_t length, off64_t offset)
{
    pthread_mutex_lock(&lock);
    settings();
    keep(descriptor, length, offset);
    ssize_t result = syscall(SYS_pwrite64, descriptor, bytes, length, offset);
    pthread_mutex_unlock(&lock);
    return result;
}

ssize_t pwrite(int descriptor, const void *bytes, size_t length, off_t offset)
{
    return pwrite64(descriptor, bytes, length, offset);
}
