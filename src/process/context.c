/* SPDX-License-Identifier: MIT */
/*
 * Owns contexts: which start method, which fork server, which preload list.  The three static ones
 * stand for the three methods; the default context is one of them and is fixed when it is first
 * used.
 */
#include "process/process.h"

/* In the family's list from the start, so that a forked child finds their servers and locks. */
#define STATIC_CONTEXT(m)                                                 \
    {                                                                     \
        .head = {MP__MAGIC_CONTEXT, 1}, .method = (m), .is_static = true, \
        .lock = PTHREAD_MUTEX_INITIALIZER, .server = MP__NO_SERVER        \
    }
static mp_context statics[] = {STATIC_CONTEXT(MP__FORK), STATIC_CONTEXT(MP__SPAWN),
                               STATIC_CONTEXT(MP__FORKSERVER)};
static const char *const names[] = {"fork", "spawn", "forkserver", NULL};

static _Atomic int default_method = -1; /* -1: not fixed */
typedef struct program {
    struct program *older;
    char path[];
} program;

static program *_Atomic executable; /* NULL: the running one */
static program *_Atomic newest;

static int find_method(const char *name)
{
    for (int i = 0; name && names[i]; i++)
        if (strcmp(name, names[i]) == 0)
            return i;
    return mp__fail(MP_ECONTEXT, "there is no start method '%s'", name ? name : "(null)");
}

int mp_set_start_method(const char *method, int force)
{
    mp__clear_detail();
    int m = find_method(method), unset = -1;
    if (m < 0)
        return m;
    if (force)
        atomic_store(&default_method, m);
    else if (!atomic_compare_exchange_strong(&default_method, &unset, m))
        return mp__fail(MP_ECONTEXT, "the start method is '%s' already and cannot become '%s'",
                        names[unset], method);
    return 0;
}

int mp__context_default_method(void)
{
    return atomic_load(&default_method);
}

void mp__context_inherit(int method)
{
    if (method >= 0 && method <= MP__FORKSERVER)
        atomic_store(&default_method, method);
}

static int fix_default(void)
{
    int unset = -1;
    return atomic_compare_exchange_strong(&default_method, &unset, MP__FORK) ? MP__FORK : unset;
}

const char *mp_get_start_method(void)
{
    return names[fix_default()];
}

const char *const *mp_get_all_start_methods(void)
{
    return names;
}

mp_context *mp_get_context(const char *method)
{
    mp__clear_detail();
    int m = method ? find_method(method) : fix_default();
    return m < 0 ? mp__null(m) : &statics[m];
}

mp_context *mp__context_resolve(mp_context *context)
{
    return context ? context : &statics[fix_default()];
}

mp_context *mp_context_new(const char *method)
{
    mp__clear_detail();
    int m = find_method(method);
    mp_context *c = m < 0 ? NULL : mp__alloc_zero(sizeof *c);
    if (!c)
        return mp__null(m < 0 ? m : -ENOMEM);
    mp__head_init(&c->head, MP__MAGIC_CONTEXT);
    c->method = (mp__method)m;
    c->server = (mp__server)MP__NO_SERVER;
    pthread_mutex_init(&c->lock, NULL);
    pthread_mutex_lock(&mp__family_state.lock);
    mp__list_append(&mp__family_state.contexts, &c->node);
    pthread_mutex_unlock(&mp__family_state.lock);
    return c;
}

static void drop_preload(mp_context *c)
{
    for (size_t i = 0; i < c->preload_count; i++)
        free(c->preload[i]);
    free(c->preload);
    c->preload = NULL;
    c->preload_count = 0;
}

void mp_context_free(mp_context *context)
{
    if (!mp__is(context, MP__MAGIC_CONTEXT) || context->is_static)
        return;
    mp__context_unref(context);
}

/* A context lives as long as a handle of a process that it made. */
void mp__context_unref(mp_context *context)
{
    if (context->is_static || !mp__head_unref(&context->head))
        return;
    mp__context_drop_server(context);
    pthread_mutex_lock(&mp__family_state.lock);
    mp__list_remove(&context->node);
    pthread_mutex_unlock(&mp__family_state.lock);
    drop_preload(context);
    pthread_mutex_destroy(&context->lock);
    free(context);
}

const char *mp_context_method(const mp_context *context)
{
    MP__CHECK_NULL(mp__is(context, MP__MAGIC_CONTEXT));
    return names[context->method];
}

mp_process *mp_context_process(mp_context *context, const char *target, mp_value *args)
{
    mp_process_options options = MP_PROCESS_OPTIONS_INIT;
    options.context = context;
    return mp_process_new(target, args, &options);
}

int mp_context_set_preload(mp_context *context, const char *const *preload, size_t n)
{
    MP__CHECK(mp__is(context, MP__MAGIC_CONTEXT) && (preload || !n));
    mp__clear_detail();
    if (n > 64)
        return mp__fail(MP_ELIMIT, "a preload list has at most 64 names");
    for (size_t i = 0; i < n; i++)
        if (!preload[i])
            return mp__fail(-EINVAL, "name %zu of the preload list is NULL", i);
        else if (!mp__host()->preload && !mp__preload_find(preload[i]))
            return mp__fail(MP_ENOTARGET, "preload function '%s' is not registered", preload[i]);
    char **copy = mp__alloc_zero((n + 1) * sizeof *copy);
    int r = copy ? 0 : -ENOMEM;
    for (size_t i = 0; r == 0 && i < n; i++)
        if (!(copy[i] = mp__strdup(preload[i])))
            r = -ENOMEM;
    pthread_mutex_lock(&context->lock);
    if (r == 0 && context->server.control >= 0)
        r = mp__fail(MP_ESTARTED, "the fork server of this context runs already");
    if (r == 0) {
        drop_preload(context);
        context->preload = copy;
        context->preload_count = n;
    }
    pthread_mutex_unlock(&context->lock);
    if (r < 0 && copy) {
        for (size_t i = 0; i < n; i++)
            free(copy[i]);
        free(copy);
    }
    return r;
}

int mp_set_executable(const char *path)
{
    size_t n = path ? strlen(path) + 1 : 0;
    program *p = path ? mp__alloc(sizeof *p + n) : NULL;
    if (path && !p)
        return -ENOMEM;
    if (p) {
        memcpy(p->path, path, n);
        p->older = atomic_exchange(&newest, p);
    }
    atomic_store(&executable,
                 p); /* the old one stays: a thread may be starting a process with it */
    return 0;
}

const char *mp__executable(void)
{
    const program *p = atomic_load(&executable);
    return p ? p->path : NULL;
}

__attribute__((constructor)) static void list_statics(void)
{
    for (size_t i = 0; i < MP__COUNT_OF(statics); i++)
        mp__list_append(&mp__family_state.contexts, &statics[i].node);
}
