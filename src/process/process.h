/* SPDX-License-Identifier: MIT */
/* What the files of the process layer share: the process handle, this process, and births. */
#ifndef MP__PROCESS_H
#define MP__PROCESS_H

#include <pthread.h>

#include <multiproc/context.h>
#include <multiproc/host.h>
#include <multiproc/process.h>

#include "arena/object.h"
#include "arena/slot.h"
#include "channel/connection.h"

#define MP__AUTHKEY_MAX 256

typedef enum mp__method { MP__FORK = 0, MP__SPAWN = 1, MP__FORKSERVER = 2 } mp__method;

typedef enum mp__relation {
    MP__RELATION_SELF,
    MP__RELATION_PARENT,
    MP__RELATION_CHILD
} mp__relation;

typedef enum mp__state {
    MP__STATE_NEW,      /* not started */
    MP__STATE_STARTING, /* a thread is starting it: what follows `context` is that thread's */
    MP__STATE_STARTED,  /* not known to have ended */
    MP__STATE_ENDED,    /* exit_code is known; its descriptors are still there */
    MP__STATE_CLOSED
} mp__state;

/*
 * A process.  `lock` guards what follows it; it is taken before the family's lock.  A handle
 * belongs to the process that made it: fork_count tells.
 */
struct mp_process {
    mp__head head;
    mp__relation relation;
    uint32_t fork_count;
    mp__list node; /* in mp__family.children, from before the start until it has ended */

    pthread_mutex_t lock;
    mp__state state;
    int waiters;        /* threads that poll `pidfd` */
    char *_Atomic name; /* older names stay until the handle goes: `names` */
    struct mp__name *names;
    char path[128]; /* "1:2": the second child of the first child */
    bool daemon;
    bool keeps_slot; /* whoever made it gives the slot back: mp__process_free_slot() */
    mp_orphan orphan;
    unsigned char authkey[MP__AUTHKEY_MAX];
    size_t authkey_size;
    char *target;
    mp_value *args;
    mp_context *context;
    mp__method method;

    pid_t pid;
    pid_t server_pid; /* of the fork server that made it */
    int pidfd;
    int life[2]; /* pipe: the child reads, and sees the end when this process is gone */
    mp__slot_ref slot;
    int exit_code;
    char *failure; /* why it could not run its target, or NULL */
};

/* What a child is told about itself: by memory (fork) or in a payload (the other two). */
typedef struct mp__birth {
    char name[128], path[128], parent_name[128];
    pid_t parent_pid;
    bool daemon;
    mp_orphan orphan;
    unsigned char authkey[MP__AUTHKEY_MAX];
    size_t authkey_size;
    mp__slot_ref slot;
    int life;   /* read end of the parent's pipe */
    int method; /* of the default context */
    int log_level;
    char target[256];
    mp_value *args;
    bool forked; /* at-exit handlers that were registered before are not the child's */
} mp__birth;

/* self.c: this process and its family */
typedef struct mp__family {
    pthread_mutex_t lock; /* guards the rest */
    mp__list children;    /* mp_process.node */
    mp__list contexts;    /* mp_context.node */
    uint32_t next_child;
} mp__family;

MP__HIDDEN extern mp__family mp__family_state;
MP__HIDDEN extern _Thread_local mp_process *mp__forking; /* the one this thread is about to fork */
MP__HIDDEN mp_process *mp__self(void);
MP__HIDDEN void mp__self_born(const mp__birth *birth);
MP__HIDDEN mp__slot_ref mp__self_slot(void);
MP__HIDDEN void mp__self_fail(const char *text); /* reports why the target cannot run */

/* process.c: of a process with `keeps_slot` that has ended and was joined. */
MP__HIDDEN void mp__process_free_slot(mp_process *process);

/* exit.c: the end of this process */
MP__HIDDEN void mp__exit_guard(bool forked); /* in a child, before its target */
MP__HIDDEN void mp__exit_leave(int code) __attribute__((noreturn));

/* streams.c */
MP__HIDDEN void mp__flush_streams(void);

/* child.c: the life of a child, from its birth to its exit */
MP__HIDDEN void mp__child_run(mp__birth *birth) __attribute__((noreturn));

/* target.c */
MP__HIDDEN mp_target *mp__target_find(const char *name);
MP__HIDDEN mp_preload_fn *mp__preload_find(const char *name);

/* host.c */
MP__HIDDEN const mp_host *mp__host(void); /* never NULL */
MP__HIDDEN bool mp__host_is_set(void);

/* main.c */
MP__HIDDEN bool mp__main_seen(void);
MP__HIDDEN const char *mp__program_name(void);

/* payload.c: a birth, or a fork server's start, as bytes in a memory file */
typedef struct mp__payload {
    mp_image image;
    mp__birth birth;
    mp_value *preload; /* list of names, for a server */
    int control;       /* socket of the server */
} mp__payload;

/* `attachments` gets the descriptors that must travel along; the life pipe is the first of them. */
MP__HIDDEN int mp__payload_write(const mp_process *process, const mp_context *server, int control,
                                 int life, mp__attachments *attachments, int *ret_file);
/* The numbers in the file, or, when `fds` is given, those instead. */
MP__HIDDEN int mp__payload_read(int file, const int *fds, int nfds, mp__payload *ret_payload);

/* context.c */
typedef struct mp__server {
    int control; /* -1: none */
    int life;
    pid_t pid;
    int pidfd;
    int given[2]; /* while it is being started: its ends of the two */
} mp__server;

#define MP__NO_SERVER  \
    {                  \
        -1, -1, 0, -1, \
        {              \
            -1, -1     \
        }              \
    }

struct mp_context {
    mp__head head;
    mp__list node;
    mp__method method;
    bool is_static;
    pthread_mutex_t lock; /* guards the rest; taken before the family's */
    char **preload;
    size_t preload_count;
    mp__server server;
};

MP__HIDDEN mp_context *mp__context_resolve(mp_context *context);
MP__HIDDEN void mp__context_inherit(int method); /* in a fresh image */
MP__HIDDEN int mp__context_default_method(void); /* without fixing it */
MP__HIDDEN const char *mp__executable(void);     /* NULL: the running program */
MP__HIDDEN void mp__contexts_stop(void);
MP__HIDDEN void mp__context_unref(mp_context *context);
MP__HIDDEN void mp__context_drop_server(mp_context *context); /* under no lock */

/* The start methods.  Called with the process's lock held and its slot and life pipe made; set pid
 * and pidfd. */
/* Forks, and gets the child's pidfd, for whose number there is a place before there is a child.  0; *ret_pid
 * is 0 in the child.  On failure no child has run: `slot` was revoked, or the child had not claimed it. */
MP__HIDDEN int mp__fork_child(mp__slot_ref slot, pid_t *ret_pid, int *ret_pidfd);
MP__HIDDEN int mp__start_fork(mp_process *process);
MP__HIDDEN int mp__start_spawn(mp_process *process);
MP__HIDDEN int mp__start_forkserver(mp_process *process);
MP__HIDDEN int mp__spawn_image(mp_image image, const mp_process *process, const mp_context *server,
                               int control, int life, pid_t *ret_pid, int *ret_pidfd);
/* True while the fork server with that pid serves the context, or may do so: it is being asked. */
MP__HIDDEN bool mp__server_is(mp_context *context, pid_t pid);

/* forkserver_main.c */
MP__HIDDEN void mp__server_main(mp__payload *payload) __attribute__((noreturn));

/* Requests and replies between owner and fork server, one packet each. */
typedef struct mp__server_request {
    uint32_t magic;
    uint32_t slot_index, slot_generation;
} mp__server_request;

typedef struct mp__server_reply {
    int32_t error;
    int32_t pid;
    char text[MP__SLOT_TEXT];
} mp__server_reply;

#define MP__SERVER_MAGIC 0x76727366u

#endif
