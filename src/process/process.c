/* SPDX-License-Identifier: MIT */
/*
 * Owns process handles: making, starting, joining, signalling, closing.
 *
 * A started process holds a reference to itself, until it has ended, and stands in the family's
 * list of children.  It has ended when its pidfd is readable; then whoever looks first, under the
 * handle's lock, asks for its exit code, and gives back its slot and life pipe.  Signals go through
 * the pidfd, so they can never hit a stranger who got the same pid.
 */
#include <signal.h>
#include <stdio.h>

#include "process/process.h"

#define NAME_MAX_SIZE 127
#define TARGET_MAX_SIZE 255
#define STATUS_SLICE MP_MS(20)
#define ORPHAN_TRIES 10
#define SERVER_GRACE MP_SECONDS(2)

/* ---- whose it is ---- */

static bool is_foreign(const mp_process *p)
{
    return p->relation == MP__RELATION_CHILD && p->fork_count != atomic_load(&mp__fork_count);
}

/* Locks a handle of this process.  A copy that a forked child has inherited is never locked: its lock
 * may have been held at the fork. */
static int lock_own(mp_process *p)
{
    if (is_foreign(p))
        return mp__fail(MP_EFOREIGN, "process '%s' is not a child of this process", p->name);
    pthread_mutex_lock(&p->lock);
    return 0;
}

/* ---- making ---- */

/* A name stays until the handle goes, also when it was replaced: another thread may be reading it. */
struct mp__name {
    struct mp__name *older;
    char text[NAME_MAX_SIZE + 1];
};

static int add_name(mp_process *p, const char *name)
{
    if (strlen(name) > NAME_MAX_SIZE || !mp__utf8_valid(name, strlen(name)))
        return mp__fail(-EINVAL, "the name of a process has at most %d bytes of UTF-8",
                        NAME_MAX_SIZE);
    struct mp__name *n = mp__alloc(sizeof *n);
    if (!n)
        return -ENOMEM;
    memcpy(n->text, name, strlen(name) + 1);
    n->older = p->names;
    p->names = n;
    atomic_store(&p->name, n->text);
    return 0;
}

static int give_name(mp_process *p, const char *name)
{
    const mp_process *self = mp__self();
    pthread_mutex_lock(&mp__family_state.lock);
    uint32_t number = ++mp__family_state.next_child;
    pthread_mutex_unlock(&mp__family_state.lock);
    int n =
        snprintf(p->path, sizeof p->path, "%s%s%u", self->path, self->path[0] ? ":" : "", number);
    if (n < 0 || (size_t)n >= sizeof p->path - 8)
        return mp__fail(MP_ELIMIT, "processes are nested too deep");
    char made[NAME_MAX_SIZE + 1];
    if (!name) {
        snprintf(made, sizeof made, "Process-%.100s", p->path);
        name = made;
    }
    return add_name(p, name);
}

static int set_up(mp_process *p, const char *target, const mp_process_options *options)
{
    const mp_process *self = mp__self();
    if (strlen(target) > TARGET_MAX_SIZE)
        return mp__fail(-EINVAL, "the name of a target has at most %d bytes", TARGET_MAX_SIZE);
    if (!mp__host()->run && !mp__target_find(target))
        return mp__fail(MP_ENOTARGET, "target '%s' is not registered in %s", target,
                        mp__program_name());
    int r = give_name(p, options->name);
    if (r < 0)
        return r;
    p->target = mp__strdup(target);
    if (!p->target)
        return -ENOMEM;
    p->context = options->context;
    if (p->context && !p->context->is_static)
        mp__head_ref(&p->context->head);
    p->daemon = options->daemon < 0 ? self->daemon : options->daemon != 0;
    p->orphan = options->orphan;
    pthread_mutex_lock(&mp__self()->lock);
    memcpy(p->authkey, self->authkey, self->authkey_size);
    p->authkey_size = self->authkey_size;
    pthread_mutex_unlock(&mp__self()->lock);
    return 0;
}

mp_process *mp_process_new(const char *target, mp_value *args, const mp_process_options *options)
{
    static const mp_process_options defaults = MP_PROCESS_OPTIONS_INIT;
    if (!options)
        options = &defaults;
    if (!args)
        return NULL; /* errno is the failed constructor's */
    mp__clear_detail();
    int r = 0;
    mp_process *p = NULL;
    if (!target || options->size < sizeof *options || options->orphan > MP_ORPHAN_STAY ||
        (options->context && !mp__is(options->context, MP__MAGIC_CONTEXT)))
        r = mp__misuse(__func__, "target and options");
    else if (mp_value_kind(args) != MP_KIND_TUPLE)
        r = mp__fail(MP_ETYPE, "the arguments of '%s' are a %s, not a tuple", target,
                     mp_value_type_name(args));
    else if (!(p = mp__alloc_zero(sizeof *p)))
        r = -ENOMEM;
    if (r < 0) {
        mp_value_free(args);
        return mp__null(r);
    }
    mp__head_init(&p->head, MP__MAGIC_PROCESS);
    p->relation = MP__RELATION_CHILD;
    p->fork_count = atomic_load(&mp__fork_count);
    p->pidfd = p->life[0] = p->life[1] = -1;
    p->exit_code = MP_EXIT_UNKNOWN;
    p->args = args;
    mp__list_reset(&p->node);
    pthread_mutex_init(&p->lock, NULL);
    r = set_up(p, target, options);
    if (r < 0) {
        mp_process_free(p);
        return mp__null(r);
    }
    return p;
}

mp_process *mp_process_new_target(const mp_target *target, mp_value *args,
                                  const mp_process_options *options)
{
    MP__CHECK_NULL(target && target->name);
    if (args && !mp__host()->run && mp__target_find(target->name) != target) {
        mp_value_free(args);
        return mp__null(mp__fail(-EEXIST, "another target is named '%s'", target->name));
    }
    return mp_process_new(target->name, args, options);
}

mp_process *mp_process_ref(mp_process *process)
{
    MP__CHECK_NULL(mp__is(process, MP__MAGIC_PROCESS));
    if (process->relation == MP__RELATION_CHILD)
        mp__head_ref(&process->head);
    return process;
}

void mp_process_free(mp_process *process)
{
    if (!mp__is(process, MP__MAGIC_PROCESS) || process->relation != MP__RELATION_CHILD ||
        !mp__head_unref(&process->head))
        return;
    mp__os_close(process->pidfd); /* in a forked child: its copy, if it had ended at the fork */
    pthread_mutex_destroy(&process->lock);
    mp_value_free(process->args);
    for (struct mp__name *n = process->names, *older; n; n = older) {
        older = n->older;
        free(n);
    }
    if (process->context)
        mp__context_unref(process->context);
    free(process->target);
    free(process->failure);
    free(process);
}

/* ---- starting ---- */

/* The life pipe and the place in the list, together: see self.c about forks of other threads. */
static int enlist(mp_process *p)
{
    pthread_mutex_lock(&mp__family_state.lock);
    int r = mp__os_pipe(p->life);
    if (r == 0)
        mp__list_append(&mp__family_state.children, &p->node);
    pthread_mutex_unlock(&mp__family_state.lock);
    return r < 0 ? mp__fail(r, "cannot make the life pipe of process '%s'", p->name) : 0;
}

static void close_life(mp_process *p, int end)
{
    mp__os_close(p->life[end]);
    p->life[end] = -1;
}

static void delist(mp_process *p)
{
    pthread_mutex_lock(&mp__family_state.lock);
    mp__list_remove(&p->node);
    close_life(p, 0);
    close_life(p, 1);
    pthread_mutex_unlock(&mp__family_state.lock);
}

static int check_start(mp_process *p)
{
    if (p->relation != MP__RELATION_CHILD)
        return mp__fail(MP_ESTARTED, "process '%s' runs already", p->name);
    if (p->state == MP__STATE_CLOSED)
        return mp__fail(MP_ECLOSED, "process '%s' is closed", p->name);
    if (p->state != MP__STATE_NEW)
        return mp__fail(MP_ESTARTED, "process '%s' was started before", p->name);
    if (mp__self()->daemon)
        return mp__fail(MP_EDAEMON, "'%s' is a daemon and may not start '%s'", mp__self()->name,
                        p->name);
    return 0;
}

static int launch(mp_process *p)
{
    static int (*const methods[])(mp_process *) = {mp__start_fork, mp__start_spawn,
                                                   mp__start_forkserver};
    p->context = mp__context_resolve(p->context);
    p->method = p->context->method;
    if (p->method != MP__FORK && !mp__main_seen())
        return mp__fail(MP_ENOMAIN,
                        "process '%s' cannot be started by %s: mp_main() was not called "
                        "at the top of main(), so the child would run main() again",
                        p->name, mp_context_method(p->context));
    if (p->method != MP__FORK && mp__os_is_privileged() && !mp__host()->command)
        return mp__fail(-EPERM,
                        "a setuid program starts processes by fork only: a fresh image of it "
                        "would take its caller's word for what to run");
    int r = mp__slot_claim(p->name, &p->slot);
    if (r < 0)
        return r;
    r = mp__value_give_handles(p->args, mp__tag_of(p->slot));
    if (r == 0)
        r = enlist(p);
    if (r == 0) {
        mp__flush_streams();
        r = methods[p->method](p);
        if (r < 0)
            delist(p);
    }
    if (r < 0) {
        mp__slot_set_exit(p->slot, 0); /* nobody has died */
        mp__slot_free(p->slot);
        p->slot.index = 0;
    }
    return r;
}

/* After launch(), under the handle's lock. */
static void now_running(mp_process *p)
{
    pthread_mutex_lock(&mp__family_state.lock);
    close_life(p, 0);
    pthread_mutex_unlock(&mp__family_state.lock);
    mp__head_ref(&p->head); /* until it has ended */
    mp_value_free(p->args); /* so that what they hold is the child's alone */
    p->args = NULL;
}

int mp_process_start(mp_process *process)
{
    if (!process)
        return mp_error_code();
    MP__CHECK(mp__is(process, MP__MAGIC_PROCESS));
    mp__clear_detail();
    int r = lock_own(process);
    if (r < 0)
        return r;
    r = check_start(process);
    if (r == 0)
        process->state = MP__STATE_STARTING; /* may take long: others must not wait for it */
    pthread_mutex_unlock(&process->lock);
    if (r < 0)
        return r;
    r = launch(process);
    if (r < 0 && !*mp_error_detail())
        mp__fail(r, "process '%s' cannot be started", process->name);
    pthread_mutex_lock(&process->lock);
    if (r == 0)
        now_running(process);
    process->state = r == 0 ? MP__STATE_STARTED : MP__STATE_NEW;
    pthread_mutex_unlock(&process->lock);
    return r;
}

/* ---- the end of a child ---- */

static bool has_ended(int pidfd)
{
    return mp__os_readable(pidfd);
}

/* What the child or its fork server left in the slot; false when nothing. */
static bool slot_exit(mp_process *p, int *ret_code)
{
    mp__slot *s = mp__slot_get(p->slot);
    if (!s || !atomic_load(&s->has_exit))
        return false;
    *ret_code = atomic_load(&s->exit_code);
    return true;
}

/* The fork server reaps its children and writes how they ended; if it is dead, nobody will.  False as
 * long as it has not done so, and when nobody knows. */
static bool server_exit(mp_process *p, int *ret_code, bool *ret_pending)
{
    if (slot_exit(p, ret_code))
        return true;
    *ret_pending = mp__server_is(p->context, p->server_pid);
    if (*ret_pending)
        return false;
    /* Newer kernels tell after init has reaped it, which takes a moment. */
    for (int i = 0; i < ORPHAN_TRIES && !slot_exit(p, ret_code); i++) {
        if (mp__os_reap(p->pidfd, ret_code) == 0)
            return true;
        mp__os_poll(NULL, 0, MP_MS(2));
    }
    return slot_exit(p, ret_code);
}

void mp__process_free_slot(mp_process *process)
{
    mp__slot_free(process->slot);
}

static void note_failure(mp_process *p)
{
    mp__slot *s = mp__slot_get(p->slot);
    if (!s)
        return;
    char text[MP__SLOT_TEXT];
    if (atomic_load(&s->failed)) {
        memcpy(text, s->text, sizeof text);
        text[sizeof text - 1] = 0;
        p->failure = mp__strdup(text);
    } else if (p->exit_code >= 0 && mp__slot_advance(p->slot, MP__SLOT_REVOKED)) {
        snprintf(text, sizeof text,
                 "it ended with exit code %d before it could run its target; does "
                 "the program call mp_main() first?",
                 p->exit_code);
        p->failure = mp__strdup(text);
    }
}

/* Under the handle's lock.  0 when it has ended, MP_ERUNNING when not, -EINPROGRESS when it has but its
 * fork server has not said how. */
static int settle(mp_process *p)
{
    if (p->state != MP__STATE_STARTED)
        return 0;
    bool pending = false;
    int code, r = mp__os_reap(p->pidfd, &code);
    if (r == -EAGAIN || (r == -ECHILD && !has_ended(p->pidfd)))
        return MP_ERUNNING;
    if (r < 0 &&
        !(p->method == MP__FORKSERVER ? server_exit(p, &code, &pending) : slot_exit(p, &code)))
        code = MP_EXIT_UNKNOWN;
    if (pending)
        return -EINPROGRESS;
    p->exit_code = code;
    mp__slot_set_exit(p->slot, code); /* for whoever hears of the death from the slot */
    note_failure(p);
    p->state = MP__STATE_ENDED;
    if (!p->keeps_slot)
        mp__slot_free(p->slot);
    delist(p);
    return 0;
}

/* Reaps it if it has ended, and drops the reference that it held as a running process. */
static int settle_and_drop(mp_process *p)
{
    int r = lock_own(p);
    if (r < 0)
        return r;
    bool started = p->state == MP__STATE_STARTED;
    r = settle(p);
    pthread_mutex_unlock(&p->lock);
    if (r == 0 && started)
        mp_process_free(p);
    return r;
}

/* Under the handle's lock. */
static int check_started(const mp_process *p)
{
    if (p->state == MP__STATE_CLOSED)
        return mp__fail(MP_ECLOSED, "process '%s' is closed", p->name);
    return p->state < MP__STATE_STARTED
               ? mp__fail(MP_ENOTSTARTED, "process '%s' was not started", p->name)
               : 0;
}

/* Locks this process's own handle if it is started and not closed. */
static int lock_started(mp_process *p)
{
    int r = lock_own(p);
    if (r < 0)
        return r;
    r = check_started(p);
    if (r < 0)
        pthread_mutex_unlock(&p->lock);
    return r;
}

static int check_child(mp_process *p)
{
    int r = lock_started(p);
    if (r == 0)
        pthread_mutex_unlock(&p->lock);
    return r;
}

/* The pidfd, which stays open while there are waiters. */
static int begin_wait(mp_process *p, int *ret_fd)
{
    int r = lock_started(p);
    if (r < 0)
        return r;
    p->waiters++;
    *ret_fd = p->pidfd;
    pthread_mutex_unlock(&p->lock);
    return 0;
}

static void end_wait(mp_process *p)
{
    pthread_mutex_lock(&p->lock);
    if (--p->waiters == 0 && p->state == MP__STATE_CLOSED) {
        mp__os_close(p->pidfd);
        p->pidfd = -1;
    }
    pthread_mutex_unlock(&p->lock);
}

/* Waits a moment for the fork server's word; -ETIMEDOUT when the deadline has passed. */
static int await_server(mp_process *p, mp__deadline deadline)
{
    mp__slot *s = mp__slot_get(p->slot);
    mp_time left = mp__deadline_left(deadline, mp__os_now());
    if (left == 0)
        return -ETIMEDOUT;
    int r = s ? mp__os_futex_wait(&s->has_exit, 0, left < STATUS_SLICE ? left : STATUS_SLICE) : 0;
    return r == -EINTR && atomic_load(&mp__interruptible) ? r : 1;
}

int mp_process_join(mp_process *process, mp_time timeout)
{
    MP__CHECK(mp__is(process, MP__MAGIC_PROCESS));
    mp__clear_detail();
    if (process->relation == MP__RELATION_SELF)
        return mp__fail(-EDEADLK, "a process cannot join itself");
    int fd = -1, r = begin_wait(process, &fd);
    if (r < 0)
        return r;
    mp__deadline deadline = mp__deadline_after(mp__os_now(), timeout);
    mp_process_ref(process);
    for (int ended = MP_ERUNNING; ended != 0;) {
        mp__pollfd p = {fd, MP__POLLIN, 0};
        r = mp__poll_until(&p, 1, deadline);
        if (r <= 0 || process->relation != MP__RELATION_CHILD)
            break;
        ended = settle_and_drop(process);
        if (ended == -EINPROGRESS && (r = await_server(process, deadline)) < 0)
            break;
    }
    if (r > 0 && process->failure)
        r = mp__fail(MP_ESTARTUP, "process '%s' (pid %ld) could not run: %s", process->name,
                     (long)process->pid, process->failure);
    end_wait(process);
    mp_process_free(process);
    return r > 0 ? 0 : r == 0 ? -ETIMEDOUT : r;
}

int mp_process_is_alive(mp_process *process)
{
    MP__CHECK(mp__is(process, MP__MAGIC_PROCESS));
    mp__clear_detail();
    if (process->relation == MP__RELATION_SELF)
        return 1;
    if (process->relation == MP__RELATION_PARENT)
        return !has_ended(process->pidfd);
    int r = check_child(process);
    if (r == MP_ENOTSTARTED)
        return 0;
    if (r < 0)
        return r;
    mp_process_ref(process);
    r = settle_and_drop(process) == MP_ERUNNING;
    mp_process_free(process);
    return r;
}

int mp_process_exit_code(mp_process *process, int *ret_code)
{
    MP__CHECK(mp__is(process, MP__MAGIC_PROCESS) && ret_code);
    mp__clear_detail();
    if (process->relation != MP__RELATION_CHILD)
        return process->relation == MP__RELATION_SELF || mp_process_is_alive(process)
                   ? MP_ERUNNING
                   : mp__fail(MP_EFOREIGN, "only the parent of a process knows its exit code");
    int r = check_child(process);
    if (r < 0)
        return r;
    mp_process_ref(process);
    r = settle_and_drop(process);
    if (r == -EINPROGRESS) { /* it has ended: how is known in a moment */
        r = mp_process_join(process, SERVER_GRACE);
        r = r == MP_ESTARTUP ? 0 : r;
    }
    if (r == 0)
        *ret_code = process->exit_code;
    else
        r = mp__fail(MP_ERUNNING, "process '%s' is still running", process->name);
    mp_process_free(process);
    return r;
}

static int send_signal(mp_process *p, int signal)
{
    MP__CHECK(mp__is(p, MP__MAGIC_PROCESS));
    mp__clear_detail();
    if (p->relation != MP__RELATION_CHILD)
        return mp__fail(MP_EFOREIGN, "process '%s' is not a child of this process", p->name);
    int r = lock_started(p);
    if (r < 0)
        return r;
    if (p->state == MP__STATE_STARTED)
        r = mp__os_signal(p->pidfd, signal);
    pthread_mutex_unlock(&p->lock);
    /* EBADF: the sentinel of one that was gone at once. */
    return r == -ESRCH || r == -EBADF ? 0 : r;
}

int mp_process_terminate(mp_process *process)
{
    return send_signal(process, SIGTERM);
}

int mp_process_kill(mp_process *process)
{
    return send_signal(process, SIGKILL);
}

int mp_process_interrupt(mp_process *process)
{
    return send_signal(process, SIGINT);
}

int mp_process_close(mp_process *process)
{
    MP__CHECK(mp__is(process, MP__MAGIC_PROCESS));
    mp__clear_detail();
    if (process->relation != MP__RELATION_CHILD)
        return mp__fail(MP_EFOREIGN, "process '%s' is not a child of this process", process->name);
    int code, r = mp_process_exit_code(process, &code); /* which settles it, if it has ended */
    if (r == MP_ECLOSED)
        return 0;
    if (r < 0 && r != MP_ENOTSTARTED && r != MP_ERUNNING)
        return r;
    pthread_mutex_lock(&process->lock);
    r = process->state == MP__STATE_STARTED || process->state == MP__STATE_STARTING
            ? mp__fail(MP_ERUNNING, "process '%s' is still running and cannot be closed",
                       process->name)
            : 0;
    if (r == 0 && process->state != MP__STATE_CLOSED) {
        process->state = MP__STATE_CLOSED;
        mp_value_free(process->args);
        process->args = NULL;
        if (process->waiters == 0) {
            mp__os_close(process->pidfd);
            process->pidfd = -1;
        }
    }
    pthread_mutex_unlock(&process->lock);
    return r;
}

/* ---- about it ---- */

int mp_process_pid(mp_process *process)
{
    MP__CHECK(mp__is(process, MP__MAGIC_PROCESS));
    if (process->relation == MP__RELATION_SELF)
        return mp__os_pid();
    return process->pid ? (int)process->pid : MP_ENOTSTARTED;
}

const char *mp_process_name(mp_process *process)
{
    MP__CHECK_NULL(mp__is(process, MP__MAGIC_PROCESS));
    return process->name;
}

int mp_process_set_name(mp_process *process, const char *name)
{
    MP__CHECK(mp__is(process, MP__MAGIC_PROCESS) && name);
    mp__clear_detail();
    if (process->relation == MP__RELATION_PARENT)
        return mp__fail(MP_EFOREIGN, "the name of the parent is the parent's to set");
    int r = lock_own(process);
    if (r < 0)
        return r;
    r = add_name(process, name);
    pthread_mutex_unlock(&process->lock);
    return r;
}

int mp_process_daemon(mp_process *process)
{
    MP__CHECK(mp__is(process, MP__MAGIC_PROCESS));
    return process->daemon;
}

int mp_process_set_daemon(mp_process *process, int daemon)
{
    MP__CHECK(mp__is(process, MP__MAGIC_PROCESS));
    mp__clear_detail();
    int r = lock_own(process);
    if (r < 0)
        return r;
    if (process->relation != MP__RELATION_CHILD || process->state != MP__STATE_NEW)
        r = mp__fail(MP_ESTARTED, "process '%s' has started", process->name);
    else
        process->daemon = daemon != 0;
    pthread_mutex_unlock(&process->lock);
    return r;
}

int mp_process_authkey(mp_process *process, void *key, size_t capacity)
{
    MP__CHECK(mp__is(process, MP__MAGIC_PROCESS) && (key || !capacity));
    int r = lock_own(process);
    if (r < 0)
        return r;
    size_t n = process->authkey_size;
    if (capacity)
        memcpy(key, process->authkey, n < capacity ? n : capacity);
    pthread_mutex_unlock(&process->lock);
    return (int)n;
}

int mp_process_set_authkey(mp_process *process, const void *key, size_t size)
{
    MP__CHECK(mp__is(process, MP__MAGIC_PROCESS) && (key || !size));
    mp__clear_detail();
    if (size > MP__AUTHKEY_MAX)
        return mp__fail(-EINVAL, "a key has at most %d bytes", MP__AUTHKEY_MAX);
    int r = lock_own(process);
    if (r < 0)
        return r;
    if (size)
        memcpy(process->authkey, key, size);
    process->authkey_size = size;
    pthread_mutex_unlock(&process->lock);
    return 0;
}

int mp_process_sentinel(mp_process *process)
{
    MP__CHECK(mp__is(process, MP__MAGIC_PROCESS));
    mp__clear_detail();
    if (process->relation == MP__RELATION_SELF)
        return mp__fail(MP_ENOTSTARTED, "a process has no sentinel of itself");
    int r = check_child(process);
    return r < 0 ? r : process->pidfd;
}

int mp_process_children(mp_process **ret_children, size_t capacity)
{
    MP__CHECK(ret_children || !capacity);
    mp__family *f = &mp__family_state;
    size_t n = 0, total = 0;
    pthread_mutex_lock(&f->lock);
    for (mp__list *node = f->children.next; node != &f->children; node = node->next)
        n++;
    mp_process **all = n ? mp__alloc(n * sizeof *all) : NULL;
    bool failed = n && !all;
    n = 0;
    for (mp__list *node = f->children.next; all && node != &f->children; node = node->next)
        all[n++] = mp_process_ref(MP__CONTAINER(node, mp_process, node));
    pthread_mutex_unlock(&f->lock);
    for (size_t i = 0; i < n; i++) {
        if (mp_process_is_alive(all[i]) == 1 && total++ < capacity)
            ret_children[total - 1] = all[i];
        else
            mp_process_free(all[i]);
    }
    free(all);
    return failed ? -ENOMEM : (int)total;
}

int mp_cpu_count(void)
{
    return mp__os_cpu_count();
}
