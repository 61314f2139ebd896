/* Steps the wall clock of one process: preloaded, it adds the seconds in the file that CLOCK_STEP names. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

int clock_gettime(clockid_t clock, struct timespec *now) {
    int failed = syscall(SYS_clock_gettime, clock, now);
    const char *path = getenv("CLOCK_STEP");
    if (failed || clock != CLOCK_REALTIME || !path)
        return failed;
    char seconds[32] = {0};
    int file = open(path, O_RDONLY | O_CLOEXEC);
    if (file >= 0) {
        if (read(file, seconds, sizeof seconds - 1) > 0)
            now->tv_sec += atoll(seconds);
        close(file);
    }
    return 0;
}
