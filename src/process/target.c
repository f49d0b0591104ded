/* SPDX-License-Identifier: MIT */
/*
 * Owns the registered targets and preload functions: two lists that only grow, mostly by
 * constructors, before main().  Insertion under a lock, search without: an entry is complete before
 * it is linked.
 */
#include <multiproc/typed.h>

#include "process/process.h"

typedef struct preload {
    const char *name;
    mp_preload_fn *run;
    struct preload *next;
} preload;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static _Atomic(mp_target *) targets;
static _Atomic(preload *) preloads;

mp_target *mp__target_find(const char *name)
{
    for (mp_target *t = atomic_load(&targets); t; t = t->next)
        if (strcmp(t->name, name) == 0)
            return t;
    return NULL;
}

int mp_target_register(mp_target *target)
{
    MP__CHECK(target && target->name && *target->name && target->run);
    mp__clear_detail();
    pthread_mutex_lock(&lock);
    mp_target *same = mp__target_find(target->name);
    if (!same) {
        target->next = atomic_load(&targets);
        atomic_store(&targets, target);
    }
    pthread_mutex_unlock(&lock);
    if (same && same->run != target->run)
        return mp__fail(-EEXIST, "another target is named '%s'", target->name);
    return 0;
}

int mp_target_add(const char *name, mp_target_fn *run)
{
    MP__CHECK(name && *name && run);
    mp_target *t = mp__alloc(sizeof *t);
    char *copy = mp__strdup(name);
    if (!t || !copy) {
        free(t);
        free(copy);
        return -ENOMEM;
    }
    *t = (mp_target){copy, run, NULL};
    int r = mp_target_register(t);
    if (r < 0 || mp__target_find(name) != t) { /* registered before */
        free(copy);
        free(t);
    }
    return r;
}

mp_preload_fn *mp__preload_find(const char *name)
{
    for (preload *p = atomic_load(&preloads); p; p = p->next)
        if (strcmp(p->name, name) == 0)
            return p->run;
    return NULL;
}

int mp_preload_add(const char *name, mp_preload_fn *run)
{
    MP__CHECK(name && *name && run);
    mp__clear_detail();
    preload *p = mp__alloc(sizeof *p);
    char *copy = mp__strdup(name);
    if (!p || !copy) {
        free(p);
        free(copy);
        return -ENOMEM;
    }
    pthread_mutex_lock(&lock);
    mp_preload_fn *same = mp__preload_find(name);
    *p = (preload){copy, run, atomic_load(&preloads)};
    if (!same)
        atomic_store(&preloads, p);
    pthread_mutex_unlock(&lock);
    if (same) {
        free(copy);
        free(p);
    }
    return same && same != run ? mp__fail(-EEXIST, "another preload function is named '%s'", name)
                               : 0;
}

int mp_target_refuse(const char *target, const mp_value *args, size_t i, const char *wanted)
{
    char text[MP__SLOT_TEXT];
    if (wanted)
        mp__fail(0, "target '%s': argument %zu is of type %s, not %s", target, i + 1,
                 mp_value_type_name(mp_value_item(args, i)), wanted);
    else
        mp__fail(0, "target '%s' wants %zu arguments and got %lld", target, i,
                 (long long)mp_value_len(args));
    memcpy(text, mp_error_detail(), sizeof text - 1);
    text[sizeof text - 1] = 0;
    mp__self_fail(text);
    return 1;
}
