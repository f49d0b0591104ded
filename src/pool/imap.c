/* SPDX-License-Identifier: MIT */
/*
 * Owns mp_imap: a row of small maps, each of one chunk, which are made as results are taken out.
 * Process-local; used by one thread at a time, which its lock sees to.
 */
#include "os/os.h"
#include "pool/pool.h"

#define CHUNK_TIME 1e6 /* ns that a chunk shall take, when its size is ours to choose */
#define CHUNK_MOST 256

typedef struct part {
    mp__list node;
    mp_result *result;
    size_t n, taken;
} part;

struct mp_imap {
    mp__head head;
    pthread_mutex_t lock;
    mp_pool *pool;
    const mp_task *task;
    mp_imap_source *next;
    void *data;
    bool unordered, dry;
    int error;                 /* why no more could be sent; told when all that was sent is out */
    size_t outstanding, ahead; /* arguments that may be, and that are, taken ahead */
    mp_call_options options;
    mp__list parts;
    double each; /* ns */
};

/* ---- putting in ---- */

static size_t choose(const mp_imap *imap)
{
    size_t most = imap->outstanding / (2 * (size_t)imap->pool->nworkers), n;
    if (imap->options.chunk)
        return imap->options.chunk;
    n = imap->each > 0 ? (size_t)(CHUNK_TIME / imap->each) : 1;
    n = n < most ? n : most;
    return n < 1 ? 1 : n < CHUNK_MOST ? n : CHUNK_MOST;
}

static int add_part(mp_imap *imap, mp_value **items, size_t n)
{
    part *p = mp__alloc(sizeof *p);
    mp_result *result =
        mp_pool_map_async(imap->pool, imap->task, mp_value_list(items, n), &imap->options);
    if (!p || !result) {
        int r = p ? mp_error_code() : -ENOMEM;
        mp_result_free(result);
        free(p);
        return r;
    }
    *p = (part){.result = result, .n = n};
    mp__list_append(&imap->parts, &p->node);
    imap->ahead += n;
    return 0;
}

static int fill(mp_imap *imap)
{
    int r = 0;
    while (r == 0 && !imap->dry && imap->ahead < imap->outstanding) {
        size_t n = 0, room = imap->outstanding - imap->ahead, chunk = choose(imap);
        mp_value *items[CHUNK_MOST];
        chunk = chunk < room ? chunk : room;
        chunk = chunk < CHUNK_MOST ? chunk : CHUNK_MOST;
        while (n < chunk && !imap->dry) {
            items[n] = imap->next(imap->data);
            imap->dry = !items[n];
            n += !imap->dry;
        }
        if (n)
            r = add_part(imap, items, n);
        if (r < 0) {
            imap->error = r;
            imap->dry = true;
        }
    }
    return r;
}

mp_imap *mp_pool_imap(mp_pool *pool, const mp_task *task, mp_imap_source *next, void *data,
                      int unordered, size_t outstanding, const mp_call_options *options)
{
    MP__CHECK_NULL(mp__is(pool, MP__MAGIC_POOL) && task && next);
    mp__clear_detail();
    static const mp_call_options none = MP_CALL_OPTIONS_INIT;
    mp_imap *imap = mp__alloc_zero(sizeof *imap);
    if (!imap)
        return mp__null(-ENOMEM);
    mp__head_init(&imap->head, MP__MAGIC_IMAP);
    pthread_mutex_init(&imap->lock, NULL);
    imap->pool = mp_pool_ref(pool);
    imap->task = task;
    imap->next = next;
    imap->data = data;
    imap->unordered = unordered != 0;
    imap->options = options ? *options : none;
    imap->outstanding =
        outstanding ? outstanding
                    : 4 * (size_t)pool->nworkers * (imap->options.chunk ? imap->options.chunk : 16);
    mp__list_reset(&imap->parts);
    int r = fill(imap);
    if (r < 0) {
        mp_imap_free(imap);
        return mp__null(r);
    }
    return imap;
}

/* ---- taking out ---- */

/* A part from which an item can be taken now; NULL: none yet. */
static part *ready_part(const mp_imap *imap)
{
    for (mp__list *n = imap->parts.next; n != &imap->parts; n = n->next) {
        part *p = MP__CONTAINER(n, part, node);
        if (p->result->ready)
            return p;
        if (!imap->unordered)
            break;
    }
    return NULL;
}

static bool has_ready_part(void *imap)
{
    return ready_part(imap) != NULL;
}

static int wait_for_part(mp_imap *imap, mp__deadline deadline, part **ret_part)
{
    mp_pool *pool = imap->pool;
    pthread_mutex_lock(&pool->lock);
    int r = mp__pool_wait(pool, deadline, has_ready_part, imap);
    *ret_part = ready_part(imap);
    pthread_mutex_unlock(&pool->lock);
    return r;
}

/* The next item of a part that is done, in its order. */
static int take(mp_imap *imap, part *p, mp_value **ret_value)
{
    size_t i = p->taken++;
    const char *text = "";
    int r = mp_result_error(p->result, i, &text);
    if (r != 0)
        r = mp__fail(r > 0 || r == -EAGAIN ? MP_EREMOTE : r, "%s", text);
    else
        *ret_value = mp_value_ref(p->result->values[i]);
    imap->ahead--;
    if (p->taken == p->n) {
        if (p->result->each > 0)
            imap->each =
                imap->each > 0 ? 0.7 * imap->each + 0.3 * p->result->each : p->result->each;
        mp__list_remove(&p->node);
        mp_result_free(p->result);
        free(p);
    }
    return r < 0 ? r : 1;
}

int mp_imap_next(mp_imap *imap, mp_value **ret_value, mp_time timeout)
{
    MP__CHECK(mp__is(imap, MP__MAGIC_IMAP) && ret_value);
    if (imap->pool->fork_count != atomic_load(&mp__fork_count))
        return mp__fail(MP_EFOREIGN, "the pool belongs to the parent process");
    mp__clear_detail();
    mp__deadline deadline = mp__deadline_after(mp__os_now(), timeout);
    part *p = NULL;
    pthread_mutex_lock(&imap->lock);
    if (imap->ahead <= imap->outstanding / 2)
        (void)fill(imap);
    if (imap->parts.next == &imap->parts) {
        int error = imap->error;
        imap->error = 0;
        pthread_mutex_unlock(&imap->lock);
        return error ? mp__fail(error, "the rest of the arguments could not be sent: %s",
                                mp_error_text(error))
                     : 0;
    }
    int r = wait_for_part(imap, deadline, &p);
    if (r == 0)
        r = take(imap, p, ret_value);
    pthread_mutex_unlock(&imap->lock);
    return r;
}

void mp_imap_free(mp_imap *imap)
{
    if (!mp__is(imap, MP__MAGIC_IMAP) || !mp__head_unref(&imap->head))
        return;
    while (imap->parts.next != &imap->parts) {
        part *p = MP__CONTAINER(imap->parts.next, part, node);
        mp__list_remove(&p->node);
        mp_result_cancel(p->result);
        mp_result_free(p->result);
        free(p);
    }
    mp_pool_free(imap->pool);
    pthread_mutex_destroy(&imap->lock);
    free(imap);
}
