/* SPDX-License-Identifier: MIT */
/*
 * Owns this process's own handle, that of its parent, the list of its children, and what happens to
 * them around fork().
 *
 * The family lock is held across every fork of the program (fork handlers), so that a child meets
 * the lists whole: it closes its copies of the life pipes, pidfds and fork server sockets in them,
 * which are the parent's, and empties the lists.  Were a copy of a life pipe's writing end left
 * open in a sibling, a child would not notice its parent's death.
 */
#include <stdio.h>

#include "process/process.h"

mp__family mp__family_state = {
    .lock = PTHREAD_MUTEX_INITIALIZER,
    .children = MP__LIST_INIT(mp__family_state.children),
    .contexts = MP__LIST_INIT(mp__family_state.contexts),
};
_Thread_local mp_process *mp__forking;

static char self_name[128] = "MainProcess";
static mp_process self = {
    .head = {MP__MAGIC_PROCESS, 1},
    .relation = MP__RELATION_SELF,
    .lock = PTHREAD_MUTEX_INITIALIZER,
    .state = MP__STATE_STARTED,
    .name = self_name,
    .pidfd = -1,
    .life = {-1, -1},
};
static mp_process parent = {
    .head = {MP__MAGIC_PROCESS, 1},
    .relation = MP__RELATION_PARENT,
    .lock = PTHREAD_MUTEX_INITIALIZER,
    .state = MP__STATE_STARTED,
    .pidfd = -1,
    .life = {-1, -1},
};
static char parent_name[128];
static bool has_parent;
static pthread_once_t key_once = PTHREAD_ONCE_INIT;

/* The first process makes the family's key when it is first asked for. */
static void make_key(void)
{
    if (!has_parent && mp__os_random(self.authkey, 32) == 0)
        self.authkey_size = 32;
}

mp_process *mp__self(void)
{
    pthread_once(&key_once, make_key);
    return &self;
}

mp_process *mp_process_current(void)
{
    return mp__self();
}

mp_process *mp_process_parent(void)
{
    return has_parent ? &parent : NULL;
}

mp__slot_ref mp__self_slot(void)
{
    return self.slot;
}

void mp__self_fail(const char *text)
{
    mp__slot_set_failure(self.slot, text);
    mp__log(MP_LOG_ERROR, "%s", text);
}

void mp__self_born(const mp__birth *birth)
{
    memcpy(self_name, birth->name, sizeof self_name);
    self.name = self_name;
    memcpy(self.path, birth->path, sizeof self.path);
    self.daemon = birth->daemon;
    self.orphan = birth->orphan;
    memcpy(self.authkey, birth->authkey, birth->authkey_size);
    self.authkey_size = birth->authkey_size;
    self.slot = birth->slot;
    if (has_parent) /* the parent's own, inherited by fork */
        mp__os_close(parent.pidfd);
    memcpy(parent_name, birth->parent_name, sizeof parent_name);
    parent.name = parent_name;
    parent.pid = birth->parent_pid;
    parent.pidfd = birth->life;
    has_parent = true;
    mp__family_state.next_child = 0;
}

/* ---- around fork ---- */

static void before_fork(void)
{
    pthread_mutex_lock(&mp__family_state.lock);
    mp__objects_before_fork();
}

static void in_parent(void)
{
    mp__objects_in_parent();
    pthread_mutex_unlock(&mp__family_state.lock);
}

static void forget_child(mp_process *p)
{
    bool mine = p == mp__forking; /* this very child: the reading end is its own */
    mp__os_close(p->pidfd);
    mp__os_close(p->life[1]);
    if (!mine)
        mp__os_close(p->life[0]);
    p->pidfd = p->life[1] = -1;
}

static void forget_server(mp_context *c)
{
    mp__os_close(c->server.control);
    mp__os_close(c->server.life);
    mp__os_close(c->server.pidfd);
    mp__os_close(c->server.given[0]);
    mp__os_close(c->server.given[1]);
    c->server = (mp__server)MP__NO_SERVER;
    pthread_mutex_init(&c->lock, NULL);
}

static void in_child(void)
{
    mp__family *f = &mp__family_state;
    self.pid = mp__os_pid();
    for (mp__list *n = f->children.next, *next; n != &f->children; n = next) {
        next = n->next;
        forget_child(MP__CONTAINER(n, mp_process, node));
        mp__list_reset(n);
    }
    mp__list_reset(&f->children);
    for (mp__list *n = f->contexts.next; n != &f->contexts; n = n->next)
        forget_server(MP__CONTAINER(n, mp_context, node));
    pthread_mutex_unlock(&f->lock); /* this thread took it before the fork */
    pthread_mutex_init(&self.lock, NULL);
    pthread_mutex_init(&parent.lock, NULL);
    mp__objects_in_child();
    mp__arena_after_fork();
}

/* ---- the log's line, which names this process ---- */

static void log_line(void *data, int level, const char *message)
{
    static const char *const names[] = {"", "ERROR", "WARNING", "INFO", "DEBUG"};
    char line[800];
    (void)data;
    int n = snprintf(line, sizeof line, "[%s/%s] %s\n", names[level >= 1 && level <= 4 ? level : 1],
                     self.name ? self.name : self_name, message);
    if (n > 0)
        mp__os_write_all(2, line, (size_t)n < sizeof line ? (size_t)n : sizeof line - 1);
}

__attribute__((constructor)) static void set_up(void)
{
    self.pid = mp__os_pid();
    pthread_atfork(before_fork, in_parent, in_child);
    mp__log_set_stderr_writer(log_line);
}
