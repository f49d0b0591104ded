/* SPDX-License-Identifier: MIT */
/*
 * Owns mp_named_shm: mappings of POSIX shared memory, and an object of the arena for each name that the
 * family has made, which all its processes hold.  Whoever ends last, or buries the last one, takes the
 * name away, if it still is of the same file.  A process that is killed between making the name and the
 * object leaves the name behind.
 */
#include <stdio.h>

#include <multiproc/shm.h>

#include "arena/object.h"

#define NAME_MOST 250
#define NAME_TRIES 100

struct mp_named_shm {
    mp__head head;
    void *data;
    size_t size;
    char name[NAME_MOST + 2]; /* with the slash */
};

/* The object of a name. */
typedef struct family_name {
    _Atomic uint32_t gone; /* 1: unlinked, or shall stay */
    uint64_t id[2];        /* of the file */
    char name[NAME_MOST + 2];
} family_name;

static int check_name(const char *name, char *ret_name)
{
    const char *plain = *name == '/' ? name + 1 : name;
    size_t size = strlen(plain);
    if (!size || size > NAME_MOST || strchr(plain, '/') || !strcmp(plain, ".") ||
        !strcmp(plain, ".."))
        return mp__fail(-EINVAL, "'%.300s' cannot be the name of shared memory", name);
    ret_name[0] = '/';
    memcpy(ret_name + 1, plain, size + 1);
    return 0;
}

static mp_named_shm *make_handle(void)
{
    mp_named_shm *shm = mp__alloc_zero(sizeof *shm);
    if (!shm)
        return mp__null(-ENOMEM);
    mp__head_init(&shm->head, MP__MAGIC_NAMED_SHM);
    return shm;
}

/* A name of our own choice, or the one that was given; the descriptor. */
static int open_new(mp_named_shm *shm, const char *name)
{
    int r = name ? check_name(name, shm->name) : 0;
    if (r < 0)
        return r;
    for (int i = 0; i < NAME_TRIES; i++) {
        uint64_t number;
        if (!name && (r = mp__os_random(&number, sizeof number)) < 0)
            return r;
        if (!name)
            snprintf(shm->name, sizeof shm->name, "/mp_%016llx", (unsigned long long)number);
        r = mp__os_shm_open(shm->name, true);
        if (name || r != -EEXIST)
            break;
    }
    return r < 0 ? mp__fail(r, "shared memory '%s' cannot be made", shm->name + 1) : r;
}

/* Makes the name known to the family. */
static int register_name(const mp_named_shm *shm, int fd)
{
    mp__hold *hold = mp__object_new(MP__OBJECT_NAME, sizeof(family_name));
    if (!hold)
        return mp_error_code();
    family_name *n = mp__hold_data(hold);
    memcpy(n->name, shm->name, sizeof n->name);
    int r = mp__os_file_identity(fd, n->id);
    if (r < 0)
        mp__hold_free(hold);
    else
        mp__hold_give_family(hold);
    return r;
}

static int map_file(mp_named_shm *shm, int fd)
{
    int r = mp__os_map_inherited(fd, shm->size, &shm->data);
    return r < 0 ? mp__fail(r, "shared memory '%s' cannot be mapped", shm->name + 1) : 0;
}

mp_named_shm *mp_named_shm_create(const char *name, size_t size)
{
    mp__clear_detail();
    if (!size || size > SIZE_MAX / 2)
        return mp__null(mp__fail(-EINVAL, "shared memory of %zu bytes", size));
    mp_named_shm *shm = make_handle();
    if (!shm)
        return NULL;
    int fd = open_new(shm, name), r = fd;
    shm->size = size;
    if (fd >= 0) {
        r = mp__os_reserve(fd, size);
        if (r == 0)
            r = map_file(shm, fd);
        if (r == 0)
            r = register_name(shm, fd);
        if (r < 0)
            mp__os_shm_unlink(shm->name);
        mp__os_close(fd);
    }
    if (r < 0) {
        mp_named_shm_free(shm);
        return mp__null(r);
    }
    return shm;
}

mp_named_shm *mp_named_shm_attach(const char *name)
{
    MP__CHECK_NULL(name);
    mp__clear_detail();
    mp_named_shm *shm = make_handle();
    if (!shm)
        return NULL;
    uint64_t size = 0;
    int r = check_name(name, shm->name), fd = -1;
    if (r == 0) {
        r = fd = mp__os_shm_open(shm->name, false);
        if (fd < 0)
            mp__fail(fd, "there is no shared memory '%s' for this process", shm->name + 1);
    }
    if (fd >= 0) {
        r = mp__os_file_size(fd, &size);
        if (r == 0 && (!size || size > SIZE_MAX / 2))
            r = mp__fail(-EBADMSG, "shared memory '%s' has no bytes yet", shm->name + 1);
        shm->size = (size_t)size;
        if (r == 0)
            r = map_file(shm, fd);
        mp__os_close(fd);
    }
    if (r < 0) {
        mp_named_shm_free(shm);
        return mp__null(r);
    }
    return shm;
}

void *mp_named_shm_data(const mp_named_shm *shm)
{
    MP__CHECK_NULL(mp__is(shm, MP__MAGIC_NAMED_SHM));
    return shm->data;
}

size_t mp_named_shm_size(const mp_named_shm *shm)
{
    return mp__is(shm, MP__MAGIC_NAMED_SHM) ? shm->size : 0;
}

const char *mp_named_shm_name(const mp_named_shm *shm)
{
    MP__CHECK_NULL(mp__is(shm, MP__MAGIC_NAMED_SHM));
    return shm->name + 1;
}

mp_named_shm *mp_named_shm_ref(mp_named_shm *shm)
{
    MP__CHECK_NULL(mp__is(shm, MP__MAGIC_NAMED_SHM));
    mp__head_ref(&shm->head);
    return shm;
}

void mp_named_shm_free(mp_named_shm *shm)
{
    if (!mp__is(shm, MP__MAGIC_NAMED_SHM) || !mp__head_unref(&shm->head))
        return;
    if (shm->data)
        mp__os_unmap(shm->data, shm->size);
    free(shm);
}

/* ---- the family's names ---- */

static bool forget(mp__object *object, const void *name)
{
    family_name *n = (family_name *)(void *)object->data;
    if (strncmp(n->name, name, sizeof n->name) != 0)
        return false;
    atomic_store(&n->gone, 1);
    return true;
}

int mp_named_shm_unlink(mp_named_shm *shm)
{
    MP__CHECK(mp__is(shm, MP__MAGIC_NAMED_SHM));
    mp__clear_detail();
    int r = mp__os_shm_unlink(shm->name);
    mp__objects_drop_if(MP__OBJECT_NAME, forget, shm->name);
    return r < 0 ? mp__fail(r, "the name '%s' cannot be taken away", shm->name + 1) : 0;
}

int mp_named_shm_keep(mp_named_shm *shm)
{
    MP__CHECK(mp__is(shm, MP__MAGIC_NAMED_SHM));
    mp__objects_drop_if(MP__OBJECT_NAME, forget, shm->name);
    return 0;
}

/* Nobody of the family is left for the name: takes it away, if it still is of our file. */
static void take_away(mp__object *object)
{
    family_name *n = (family_name *)(void *)object->data;
    uint64_t id[2];
    n->name[sizeof n->name - 1] = 0;
    int fd = atomic_load(&n->gone) ? -1 : mp__os_shm_open(n->name, false);
    if (fd < 0)
        return;
    if (mp__os_file_identity(fd, id) == 0 && id[0] == n->id[0] && id[1] == n->id[1])
        mp__os_shm_unlink(n->name);
    mp__os_close(fd);
}

__attribute__((constructor)) static void set_up(void)
{
    mp__object_on_free(MP__OBJECT_NAME, take_away);
}
