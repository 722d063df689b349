//  SPDX-License-Identifier: MIT

#include "output.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

//  System calls are made as they are: libc's open, write and close are points at which the program
//  may cancel a thread

//  Descriptors from here on, if there may be so many: programs count on getting the lowest
static const int high_fds[] = {900, 200, 50, 3};

static int s_move_up (int fd)
{
    int moved = -1;
    for (size_t i = 0; moved == -1 && i < sizeof high_fds / sizeof *high_fds; i++)
        moved = (int) syscall (SYS_fcntl, fd, F_DUPFD_CLOEXEC, high_fds[i]);
    if (moved == -1)
        return fd;
    syscall (SYS_close, fd);
    return moved;
}

bool output_take (output_t *self, int fd, uint64_t device, uint64_t inode)
{
    struct stat file;
    if (fstat (fd, &file) == -1 ||
        ((device || inode) && (file.st_dev != device || file.st_ino != inode)))
        return false;
    self->fd = fd;
    self->device = file.st_dev;
    self->inode = file.st_ino;
    self->may_signal = S_ISFIFO (file.st_mode) || S_ISSOCK (file.st_mode);
    return true;
}

int output_open (output_t *self, const char *path)
{
    *self = OUTPUT_NONE;
    self->path = path;
    int flags = O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC;
    int fd = (int) syscall (SYS_openat, AT_FDCWD, path, flags, 0666);
    return fd != -1 && output_take (self, s_move_up (fd), 0, 0) ? 0 : -1;
}

//  True when the descriptor is still our file. If the program has closed it, the file is opened
//  again, or stderr taken if that is still the same.
static bool s_is_there (output_t *self)
{
    output_t now = *self;
    if (output_take (&now, self->fd, self->device, self->inode))
        return true;
    if (self->path)
        return output_open (self, self->path) == 0;
    if (output_take (self, STDERR_FILENO, self->device, self->inode))
        return true;
    errno = EBADF;
    return false;
}

static void s_wait_for_room (int fd)
{
    struct pollfd room = {.fd = fd, .events = POLLOUT};
    syscall (SYS_ppoll, &room, 1, NULL, NULL, 0);
}

//  Half a line is worse than none. But if another process has appended behind it, it must stay.
static void s_take_back (int fd, off_t size)
{
    struct stat file;
    off_t end = lseek (fd, 0, SEEK_CUR);
    bool is_last = end >= size && fstat (fd, &file) == 0 && file.st_size == end;
    if (is_last && ftruncate (fd, end - size) == -1)
        errno = EIO;  //  Then it stays
}

static bool s_write_all (int fd, const char *data, size_t size)
{
    size_t done = 0;
    while (done < size) {
        ssize_t written = syscall (SYS_write, fd, data + done, size - done);
        if (written >= 0)
            done += (size_t) written;
        else if (errno == EAGAIN)
            s_wait_for_room (fd);
        else if (errno != EINTR)
            break;
    }
    if (done == size)
        return true;
    int fault = errno;
    if (done > 0)
        s_take_back (fd, (off_t) done);
    errno = fault;
    return false;
}

//  Writes with SIGPIPE blocked, and takes the one away that this write has caused
static bool s_write_to_pipe (int fd, const char *data, size_t size)
{
    sigset_t pipe, before, pending;
    sigemptyset (&pipe);
    sigaddset (&pipe, SIGPIPE);
    sigpending (&pending);
    bool was_pending = sigismember (&pending, SIGPIPE) == 1;
    pthread_sigmask (SIG_BLOCK, &pipe, &before);
    bool written = s_write_all (fd, data, size);
    int fault = errno;
    if (!written && fault == EPIPE && !was_pending) {
        struct timespec at_once = {0};
        while (syscall (SYS_rt_sigtimedwait, &pipe, NULL, &at_once, _NSIG / 8) == -1 &&
               errno == EINTR)
            continue;
    }
    pthread_sigmask (SIG_SETMASK, &before, NULL);
    errno = fault;
    return written;
}

bool output_write (output_t *self, const char *data, size_t size)
{
    if (self->fd == -1)
        return true;
    bool written = s_is_there (self) && (self->may_signal ? s_write_to_pipe (self->fd, data, size)
                                                          : s_write_all (self->fd, data, size));
    if (!written)
        self->fd = -1;
    return written;
}
