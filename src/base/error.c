/* SPDX-License-Identifier: MIT */
/*
 * Owns the names and texts of errors, the detail text of each thread, and the reaction to misuse.
 * Process-local; nothing here is shared.
 */
#include <stdio.h>

#include "base/base.h"

typedef struct error_entry {
    int code;
    const char *name, *text;
} error_entry;

static const error_entry table[] = {
    {0, "OK", "success"},
    {MP_EOF, "MP_EOF", "the other end was closed, or all its holders are dead"},
    {MP_ECLOSED, "MP_ECLOSED", "the handle was closed by this program"},
    {MP_EREMOTE, "MP_EREMOTE", "the call failed on the other side"},
    {MP_EFOREIGN, "MP_EFOREIGN", "the handle belongs to another process or family"},
    {MP_ETYPE, "MP_ETYPE", "the value is not of the kind asked for"},
    {MP_EUNSAFE, "MP_EUNSAFE", "the message asks to import or call something"},
    {MP_ELIMIT, "MP_ELIMIT", "nested too deep or larger than the limit"},
    {MP_ESTARTED, "MP_ESTARTED", "the process was started before"},
    {MP_ENOTSTARTED, "MP_ENOTSTARTED", "the process was not started"},
    {MP_ERUNNING, "MP_ERUNNING", "the process is still running"},
    {MP_ENOTARGET, "MP_ENOTARGET", "no target of that name is registered in this program"},
    {MP_ENOMAIN, "MP_ENOMAIN", "mp_main() was not called at the top of main()"},
    {MP_EDAEMON, "MP_EDAEMON", "daemon processes may not have children"},
    {MP_ECONTEXT, "MP_ECONTEXT", "the start method was set before, or is not known"},
    {MP_ESTARTUP, "MP_ESTARTUP", "the child ended before it could run its target"},
    {MP_ECHANGED, "MP_ECHANGED", "the child runs another program or library than its parent"},
    {MP_EDIRECTION, "MP_EDIRECTION", "this end of the pipe does not go in that direction"},
    {MP_EBROKEN, "MP_EBROKEN", "the barrier or the pool is broken"},
    {MP_EWORKER, "MP_EWORKER", "the worker that ran the task has died"},
    {-EAGAIN, "EAGAIN", "the system has no room for more at the moment"},
    {-EBADF, "EBADF", "not an open file descriptor"},
    {-EBADMSG, "EBADMSG", "the message is damaged"},
    {-ECANCELED, "ECANCELED", "the task was cancelled"},
    {-EBUSY, "EBUSY", "in use"},
    {-ECHILD, "ECHILD", "not a child of this process"},
    {-ECONNRESET, "ECONNRESET", "the connection was reset by the other end"},
    {-EDEADLK, "EDEADLK", "waiting for this would never end"},
    {-EDOM, "EDOM", "the numbers have no order"},
    {-EEXIST, "EEXIST", "there is one of that name already"},
    {-EFAULT, "EFAULT", "bad address"},
    {-EILSEQ, "EILSEQ", "not valid UTF-8"},
    {-EFBIG, "EFBIG", "larger than the limit on file sizes"},
    {-EINTR, "EINTR", "interrupted by a signal"},
    {-EINVAL, "EINVAL", "invalid argument"},
    {-EIO, "EIO", "input or output error"},
    {-EMFILE, "EMFILE", "too many open file descriptors in this process"},
    {-EMSGSIZE, "EMSGSIZE", "the message does not fit"},
    {-ENFILE, "ENFILE", "too many open file descriptors in the system"},
    {-ENOENT, "ENOENT", "no such file or object"},
    {-ENOMEM, "ENOMEM", "out of memory"},
    {-ENOMSG, "ENOMSG", "there is no such message"},
    {-ENOSPC, "ENOSPC", "no space left"},
    {-ENOSYS, "ENOSYS", "the system does not know this call"},
    {-EOPNOTSUPP, "EOPNOTSUPP", "not possible with this kind of object"},
    {-EOWNERDEAD, "EOWNERDEAD", "the holder died; the lock is held now, its data are suspect"},
    {-EPERM, "EPERM", "not permitted"},
    {-EPIPE, "EPIPE", "the other end is closed or dead"},
    {-ERANGE, "ERANGE", "out of range"},
    {-ESRCH, "ESRCH", "no such process"},
    {-ETOOMANYREFS, "ETOOMANYREFS", "too many descriptors on their way"},
    {-ETIMEDOUT, "ETIMEDOUT", "the time was up"},
    {-E2BIG, "E2BIG", "too many descriptors or arguments"},
    {-EACCES, "EACCES", "permission denied"},
};

static const error_entry *find(int code)
{
    if (code == -EWOULDBLOCK)
        code = -EAGAIN;
    for (size_t i = 0; i < MP__COUNT_OF(table); i++)
        if (table[i].code == code)
            return &table[i];
    return NULL;
}

const char *mp_error_name(int error)
{
    const error_entry *entry = find(error < 0 ? error : -error);
    return entry ? entry->name : "unknown";
}

const char *mp_error_text(int error)
{
    const error_entry *entry = find(error < 0 ? error : -error);
    return entry ? entry->text : "unknown error";
}

static _Thread_local char detail[512];

const char *mp_error_detail(void)
{
    return detail;
}

int mp_error_code(void)
{
    return errno ? -errno : -EINVAL;
}

void mp__clear_detail(void)
{
    detail[0] = 0;
}

int mp__fail(int code, const char *fmt, ...)
{
    char text[sizeof detail]; /* an argument may be the old detail */
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    memcpy(detail, text, sizeof text);
    return code;
}

void *mp__null(int code)
{
    errno = code < 0 ? -code : code;
    return NULL;
}

int mp__misuse(const char *function, const char *what)
{
    mp__fail(-EINVAL, "%s: called wrongly: %s does not hold", function, what);
#ifdef MULTIPROC_DEBUG
    fprintf(stderr, "multiproc: %s\n", detail); /* about to abort: the one time it prints */
    abort();
#endif
    return -EINVAL;
}

#define STRING_(x) #x
#define STRING(x) STRING_(x)

const char *mp_version(void)
{
    return STRING(MULTIPROC_VERSION_MAJOR) "." STRING(MULTIPROC_VERSION_MINOR) "." STRING(
        MULTIPROC_VERSION_PATCH);
}
