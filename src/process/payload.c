/* SPDX-License-Identifier: MIT */
/*
 * Owns what a fresh image, or a child of a fork server, is told: a memory file with a head, the
 * numbers of the descriptors that belong to it, and one pickled dict.  It is written whole before
 * anybody is started, so its size does not matter and nobody waits for a reader; it goes with its
 * last descriptor.
 */
#include <stdio.h>

#include "process/process.h"

#define PAYLOAD_MAGIC UINT64_C(0x31646c79706d7031)

typedef struct payload_head {
    uint64_t magic;
    uint64_t size; /* of the pickle */
    uint32_t image;
    int32_t arena, control, nfds;
    mp__slot_ref slot; /* of a child: it lives from before its arguments are read, and holds them */
    int32_t fds[MP__MAX_FDS];
} payload_head;

/* ---- writing ---- */

static void entry(const char *key, mp_value *value, mp_value **items, size_t *n)
{
    items[(*n)++] = mp_value_str(key);
    items[(*n)++] = value;
}

static mp_value *describe(const mp_process *p, const mp_context *server)
{
    const mp_process *self = mp__self();
    mp_value *items[40], *names[64];
    size_t n = 0;
    char identity[128] = "", command[32];
    if (!mp__host()->command && !mp__executable())
        mp__os_exe_identity(identity, sizeof identity);
    mp__os_command_name(command, sizeof command);
    entry("version", mp_value_str(mp_version()), items, &n);
    entry("program", mp_value_str(identity), items, &n);
    entry("command", mp_value_bytes(command, strlen(command)), items, &n);
    entry("method", mp_value_int(mp__context_default_method()), items, &n);
    entry("log", mp_value_int(mp__log_stderr_level()), items, &n);
    entry("parent", mp_value_int(self->pid), items, &n);
    entry("parent_name", mp_value_str(self->name), items, &n);
    if (server) {
        size_t count = server->preload_count < 64 ? server->preload_count : 64;
        for (size_t i = 0; i < count; i++)
            names[i] = mp_value_str(server->preload[i]);
        entry("preload", mp_value_list(names, count), items, &n);
    } else {
        entry("name", mp_value_str(p->name), items, &n);
        entry("path", mp_value_str(p->path), items, &n);
        entry("daemon", mp_value_bool(p->daemon), items, &n);
        entry("orphan", mp_value_int(p->orphan), items, &n);
        entry("authkey", mp_value_bytes(p->authkey, p->authkey_size), items, &n);
        entry("target", mp_value_str(p->target), items, &n);
        entry("args", mp_value_ref(p->args), items, &n);
    }
    return mp_value_dict(items, n / 2);
}

static int write_file(int file, payload_head *head, mp__pickle_plan *plan, const mp_value *dict,
                      mp__attachments *attachments)
{
    char *bytes = mp__alloc(sizeof *head + plan->size);
    if (!bytes)
        return -ENOMEM;
    int r = mp__pickle_write(plan, dict, bytes + sizeof *head, attachments);
    if (r == 0) {
        head->size = plan->size;
        head->nfds = attachments->n;
        memcpy(head->fds, attachments->fds, sizeof(int) * (size_t)attachments->n);
        memcpy(bytes, head, sizeof *head);
        r = mp__os_write_at(file, bytes, sizeof *head + plan->size, 0);
    }
    free(bytes);
    return r;
}

int mp__payload_write(const mp_process *process, const mp_context *server, int control, int life,
                      mp__attachments *attachments, int *ret_file)
{
    payload_head head = {.magic = PAYLOAD_MAGIC,
                         .image = server ? MP_IMAGE_SERVER : MP_IMAGE_CHILD,
                         .arena = mp__arena_fd(),
                         .control = control};
    mp__pickle_plan plan;
    if (process)
        head.slot = process->slot;
    int r = mp__attach(attachments, life, NULL, NULL);
    mp_value *dict = r < 0 ? NULL : describe(process, server);
    if (!dict)
        return r < 0 ? r : mp_error_code();
    r = mp__pickle_plan_make(dict, &plan);
    if (r == 0) {
        int file = mp__os_memfd("multiproc start", false);
        r = file < 0 ? file : write_file(file, &head, &plan, dict, attachments);
        if (r == 0)
            *ret_file = file;
        else
            mp__os_close(file);
        mp__pickle_plan_free(&plan);
    }
    mp_value_free(dict);
    return r;
}

/* ---- reading ---- */

static int read_head(int file, payload_head *head)
{
    uint64_t size;
    int r = mp__os_file_size(file, &size);
    if (r < 0)
        return r;
    if (size < sizeof *head)
        return mp__fail(-EBADMSG, "descriptor %d does not hold what a parent leaves", file);
    r = mp__os_read_at(file, head, sizeof *head, 0);
    if (r < 0)
        return r;
    if (head->magic != PAYLOAD_MAGIC || head->image > MP_IMAGE_SERVER || head->nfds < 1 ||
        head->nfds > MP__MAX_FDS || size < sizeof *head || head->size != size - sizeof *head)
        return mp__fail(-EBADMSG, "descriptor %d does not hold what a parent leaves", file);
    return 0;
}

static void copy_text(const mp_value *dict, const char *key, char *text, size_t size)
{
    const char *found = mp_value_get_str(mp_value_lookup_str(dict, key), NULL);
    snprintf(text, size, "%s", found ? found : "");
}

static int64_t get_int(const mp_value *dict, const char *key)
{
    int64_t n = 0;
    const mp_value *v = mp_value_lookup_str(dict, key);
    if (v)
        mp_value_get_int(v, &n);
    return n;
}

static void read_birth(const mp_value *dict, mp__birth *birth)
{
    copy_text(dict, "name", birth->name, sizeof birth->name);
    copy_text(dict, "path", birth->path, sizeof birth->path);
    copy_text(dict, "parent_name", birth->parent_name, sizeof birth->parent_name);
    copy_text(dict, "target", birth->target, sizeof birth->target);
    birth->parent_pid = (pid_t)get_int(dict, "parent");
    birth->daemon = get_int(dict, "daemon") != 0;
    birth->orphan = (mp_orphan)get_int(dict, "orphan");
    birth->method = (int)get_int(dict, "method");
    birth->log_level = (int)get_int(dict, "log");
    size_t size = 0;
    const void *key = mp_value_get_bytes(mp_value_lookup_str(dict, "authkey"), &size);
    birth->authkey_size = size <= MP__AUTHKEY_MAX ? size : MP__AUTHKEY_MAX;
    if (key)
        memcpy(birth->authkey, key, birth->authkey_size);
    mp_value *args = mp_value_lookup_str(dict, "args");
    birth->args = args ? mp_value_ref(args) : NULL;
}

/* The child must be the program and library that wrote the payload. */
static int check_program(const mp_value *dict)
{
    char parent[128], own[128] = "";
    copy_text(dict, "version", parent, sizeof parent);
    if (strcmp(parent, mp_version()) != 0)
        return mp__fail(MP_ECHANGED, "the parent uses libmultiproc %s, the child %s", parent,
                        mp_version());
    copy_text(dict, "program", parent, sizeof parent);
    if (!parent[0] || mp__host_is_set() || mp__os_exe_identity(own, sizeof own) < 0)
        return 0;
    return strcmp(parent, own) == 0
               ? 0
               : mp__fail(MP_ECHANGED, "the child runs another program than its parent: %s",
                          mp__program_name());
}

static void take_command_name(const mp_value *dict)
{
    char command[32];
    size_t n = 0;
    const char *name = mp_value_get_bytes(mp_value_lookup_str(dict, "command"), &n);
    snprintf(command, sizeof command, "%.*s", (int)(n < 16 ? n : 16), name ? name : "");
    if (command[0])
        mp__os_set_command_name(command);
}

/* `fresh`: in a new image, not in a child of a fork server, whose program is known to be the same. */
static int read_body(int file, const payload_head *head, mp__attachments *attachments, bool fresh,
                     mp__payload *payload)
{
    mp_buffer *bytes = mp_buffer_new(head->size);
    if (!bytes)
        return -ENOMEM;
    mp_value *dict = NULL;
    int r = mp__os_read_at(file, bytes->data, head->size, sizeof *head);
    if (r == 0)
        r = mp__message_value(bytes->data, head->size, bytes, attachments, &dict);
    if (r == 0) {
        read_birth(dict, &payload->birth);
        mp_value *preload = mp_value_lookup_str(dict, "preload");
        payload->preload = preload ? mp_value_ref(preload) : NULL;
    }
    if (r == 0 && fresh) {
        take_command_name(dict);
        r = check_program(dict);
    }
    mp_value_free(dict);
    mp_buffer_free(bytes);
    return r;
}

int mp__payload_read(int file, const int *fds, int nfds, mp__payload *ret_payload)
{
    payload_head head;
    mp__payload payload;
    mp__attachments attachments;
    int r = read_head(file, &head);
    if (r < 0)
        return r;
    if (fds && nfds != head.nfds)
        return mp__fail(-EBADMSG, "a start request brought %d descriptors, not %d", nfds,
                        head.nfds);
    memset(&payload, 0, sizeof payload);
    payload.image = (mp_image)head.image;
    payload.control = head.control;
    mp__attachments_init(&attachments, 1); /* arguments, for this process */
    attachments.n = head.nfds;
    memcpy(attachments.fds, fds ? fds : head.fds, sizeof(int) * (size_t)head.nfds);
    if (!fds) { /* a fresh image: the numbers were inherited */
        for (int i = 0; i < head.nfds; i++) {
            mp__os_set_cloexec(attachments.fds[i], true);
            for (int k = 0; k < i; k++) /* one given twice: each handle owns its own */
                if (head.fds[k] == head.fds[i] && attachments.fds[i] == head.fds[i])
                    attachments.fds[i] = mp__os_dup(head.fds[i]);
        }
        mp__os_set_cloexec(head.control, true);
        mp__os_set_cloexec(head.arena, true);
        r = mp__arena_attach(head.arena);
    }
    payload.birth.life = attachments.fds[0];
    attachments.fds[0] = -1;
    if (r == 0 && payload.image == MP_IMAGE_CHILD && mp__slot_live(head.slot) < 0)
        mp__os_exit_now(1); /* revoked: the parent does not know of this child */
    if (r == 0)
        r = read_body(file, &head, &attachments, !fds, &payload);
    mp__attachments_close(&attachments);
    payload.birth.slot = head.slot;
    if (r == 0)
        *ret_payload = payload;
    else if (payload.image == MP_IMAGE_CHILD) /* the parent asks the slot why */
        mp__slot_set_failure(head.slot, *mp_error_detail() ? mp_error_detail() : mp_error_text(r));
    return r;
}
