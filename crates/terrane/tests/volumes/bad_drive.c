/* Preloaded into a member of a cluster: makes one directory lie on a bad drive, and the wall clock jump.
 *
 * BAD_DRIVE_CONTROL is a file of a page that the test writes: byte 0 says what is wrong (see below), bytes 8 to 15 by how
 * many seconds the wall clock is off. BAD_DRIVE_DIR is the directory.
 *
 *   F  syncs fail          R  the file system is read-only      S  everything takes long
 *   L  whole blocks are taken and not written                   H  what waits for the drive does not return
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

static volatile char *control;
static const char *dir;

__attribute__((constructor)) static void start(void)
{
    const char *path = getenv("BAD_DRIVE_CONTROL");
    int fd = path ? open(path, O_RDONLY) : -1;
    void *page = fd < 0 ? MAP_FAILED : mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0);
    dir = getenv("BAD_DRIVE_DIR");
    if (page == MAP_FAILED || !dir) {
        fprintf(stderr, "bad_drive: no control\n");
        abort();
    }
    close(fd);
    control = page;
}

/* What the program would have called without us. */
#define REAL(name) \
    static __typeof__(name) *real; \
    if (!real) real = (__typeof__(name) *)dlsym(RTLD_NEXT, #name)

/* What is wrong with the file's drive. */
static char fault_of(int fd)
{
    char link[64], path[PATH_MAX];
    if (!control || control[0] == 0) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t len = readlink(link, path, sizeof path - 1);
    size_t prefix = strlen(dir);
    return len > (ssize_t)prefix && memcmp(path, dir, prefix) == 0 ? control[0] : 0;
}

static int past_the_cache(int fd)
{
    return (fcntl(fd, F_GETFL) & O_DIRECT) != 0;
}

static void wait_while(char fault)
{
    while (control[0] == fault) usleep(2000);
}

static ssize_t write_to(int fd, const void *buf, size_t count, off_t at, ssize_t (*real)(int, const void *, size_t, off_t))
{
    switch (fault_of(fd)) {
    case 'R':
        errno = EROFS;
        return -1;
    case 'S':
        usleep(20000);
        break;
    case 'L':
        if (count >= 4096) return (ssize_t)count;
        break;
    case 'H':
        if (past_the_cache(fd)) wait_while('H');
        break;
    }
    return real(fd, buf, count, at);
}

ssize_t pwrite(int fd, const void *buf, size_t count, off_t at)
{
    REAL(pwrite);
    return write_to(fd, buf, count, at, real);
}

ssize_t pwrite64(int fd, const void *buf, size_t count, off_t at)
{
    REAL(pwrite64);
    return write_to(fd, buf, count, at, real);
}

static ssize_t read_from(int fd, void *buf, size_t count, off_t at, ssize_t (*real)(int, void *, size_t, off_t))
{
    char fault = fault_of(fd);
    if (fault == 'S') usleep(20000);
    if (fault == 'H') wait_while('H');
    return real(fd, buf, count, at);
}

ssize_t pread(int fd, void *buf, size_t count, off_t at)
{
    REAL(pread);
    return read_from(fd, buf, count, at, real);
}

ssize_t pread64(int fd, void *buf, size_t count, off_t at)
{
    REAL(pread64);
    return read_from(fd, buf, count, at, real);
}

static int sync_of(int fd, int (*real)(int))
{
    switch (fault_of(fd)) {
    case 'F':
        errno = EIO;
        return -1;
    case 'S':
        usleep(300000);
        break;
    case 'H':
        wait_while('H');
        break;
    }
    return real(fd);
}

int fsync(int fd)
{
    REAL(fsync);
    return sync_of(fd, real);
}

int fdatasync(int fd)
{
    REAL(fdatasync);
    return sync_of(fd, real);
}

int ftruncate64(int fd, off_t len)
{
    REAL(ftruncate64);
    if (fault_of(fd) == 'R') {
        errno = EROFS;
        return -1;
    }
    return real(fd, len);
}

int clock_gettime(clockid_t clock, struct timespec *now)
{
    REAL(clock_gettime);
    int result = real(clock, now);
    if (result == 0 && clock == CLOCK_REALTIME && control) now->tv_sec += *(volatile int64_t *)(control + 8);
    return result;
}
