/* SPDX-License-Identifier: MIT */
/*
 * Owns the encoder: a value as a pickle of protocol 4.  One walk, made twice: to count, then to
 * write into memory of exactly that size, so that a large value is copied once.  Parts that a value
 * shares are written once and fetched from the memo.  Process-local.
 */
#include "value/pickle.h"

#define MEMO_TEXT 64 /* a shared text of at least so many bytes is worth a memo entry */

typedef struct mp__memo_slot {
    const mp_value *value;
    uint32_t id;
    bool written;
} memo_slot;

/* The plan of the first walk goes on as the writer of the second. */
typedef mp__pickle_plan writer;

static void put(writer *w, const void *data, size_t n)
{
    if (w->out && n) {
        if (n > w->size - w->used) { /* cannot happen: both walks agree */
            w->error = -EINVAL;
            return;
        }
        memcpy(w->out + w->used, data, n);
    }
    w->used += n;
}

static void put1(writer *w, unsigned char byte)
{
    put(w, &byte, 1);
}

/* An opcode and a little-endian number of `width` bytes. */
static void put_op(writer *w, char op, uint64_t number, int width)
{
    unsigned char bytes[9] = {(unsigned char)op};
    for (int i = 0; i < width; i++)
        bytes[i + 1] = (unsigned char)(number >> (8 * i));
    put(w, bytes, (size_t)width + 1);
}

/* ---- memo ---- */

static memo_slot *memo_find(writer *w, const mp_value *v)
{
    size_t mask = w->memo_size - 1;
    size_t at = ((uintptr_t)v >> 4) * UINT64_C(0x9e3779b97f4a7c15) >> 20 & mask;
    while (w->memo[at].value && w->memo[at].value != v)
        at = (at + 1) & mask;
    return &w->memo[at];
}

static bool memo_grow(writer *w)
{
    memo_slot *old = w->memo;
    size_t n = w->memo_size;
    w->memo_size = n ? n * 2 : 32;
    w->memo = mp__alloc_zero(w->memo_size * sizeof *w->memo);
    if (!w->memo) {
        w->memo = old;
        w->memo_size = n;
        w->error = -ENOMEM;
        return false;
    }
    for (size_t i = 0; i < n; i++)
        if (old[i].value)
            *memo_find(w, old[i].value) = old[i];
    free(old);
    return true;
}

static bool worth_memo(const mp_value *v)
{
    if (v->immortal || atomic_load_explicit(&v->head.refs, memory_order_relaxed) < 2)
        return false;
    return (mp__is_container(v) && (v->seq.n || v->kind != MP_KIND_TUPLE)) ||
           ((v->kind == MP_KIND_STR || v->kind == MP_KIND_BYTES) && v->text.size >= MEMO_TEXT);
}

/* True when v was written before and only had to be fetched. */
static bool memo_fetch(writer *w, const mp_value *v)
{
    if (!w->memo_used)
        return false;
    memo_slot *slot = memo_find(w, v);
    if (!slot->value || (w->out && !slot->written))
        return false;
    if (slot->id < 256)
        put_op(w, 'h', slot->id, 1);
    else
        put_op(w, 'j', slot->id, 4);
    return true;
}

/* Other threads may take and drop references meanwhile, so the first walk alone decides which
 * values are shared, and the second finds them in the table. */
static void memo_store(writer *w, const mp_value *v)
{
    if (w->out) {
        memo_slot *slot = w->memo_used ? memo_find(w, v) : NULL;
        if (!slot || !slot->value)
            return;
        slot->written = true;
    } else {
        if (!worth_memo(v) || ((w->memo_used + 1) * 2 > w->memo_size && !memo_grow(w)))
            return;
        *memo_find(w, v) = (memo_slot){.value = v, .id = (uint32_t)w->memo_used++};
    }
    put1(w, 0x94); /* MEMOIZE */
}

/* ---- single values ---- */

static void put_int(writer *w, int64_t n)
{
    if (n >= 0 && n < 256)
        put_op(w, 'K', (uint64_t)n, 1);
    else if (n >= 0 && n < 65536)
        put_op(w, 'M', (uint64_t)n, 2);
    else if (n >= INT32_MIN && n <= INT32_MAX)
        put_op(w, 'J', (uint64_t)n, 4);
    else {
        put1(w, 0x8a); /* LONG1 */
        put_op(w, 8, (uint64_t)n, 8);
    }
}

static void put_float(writer *w, double d)
{
    uint64_t bits = mp__load64(&d);
    unsigned char bytes[9] = {'G'};
    for (int i = 0; i < 8; i++) /* big-endian */
        bytes[i + 1] = (unsigned char)(bits >> (56 - 8 * i));
    put(w, bytes, sizeof bytes);
}

static void put_text(writer *w, const mp_value *v)
{
    static const char short_op[] = {(char)0x8c, 'C'}, op[] = {'X', 'B'};
    static const char long_op[] = {(char)0x8d, (char)0x8e};
    int i = v->kind == MP_KIND_BYTES;
    size_t n = v->text.size;
    if (n < 256)
        put_op(w, short_op[i], n, 1);
    else if (n <= UINT32_MAX)
        put_op(w, op[i], n, 4);
    else
        put_op(w, long_op[i], n, 8);
    put(w, v->text.data, n);
}

static void put_bigint(writer *w, const mp_value *v)
{
    if (v->text.size < 256)
        put_op(w, (char)0x8a, v->text.size, 1);
    else if (v->text.size <= INT32_MAX)
        put_op(w, (char)0x8b, v->text.size, 4);
    else
        w->error = mp__fail(MP_ELIMIT, "an int of %zu bytes is too large", v->text.size);
    put(w, v->text.data, v->text.size);
}

/* ("multiproc", code, word, word) as a persistent id: a plain Python refuses it by name. */
static void put_handle(writer *w, const mp_value *v)
{
    int64_t words[2] = {0, 0};
    if (w->out) {
        int r = w->attachments ? v->handle.ops->export_to(v->handle.object, w->attachments, words)
                               : mp__fail(MP_ETYPE, "a %s travels in messages and arguments only",
                                          v->handle.ops->type_name);
        if (r < 0) {
            w->error = r;
            return;
        }
    }
    put1(w, '(');
    put_op(w, (char)0x8c, 9, 1);
    put(w, "multiproc", 9);
    put_int(w, v->handle.ops->code);
    for (int i = 0; i < 2; i++) { /* one width, for both walks */
        put1(w, 0x8a);
        put_op(w, 8, (uint64_t)words[i], 8);
    }
    put(w, "tQ", 2);
}

/* ---- containers ---- */

static void put_value(writer *w, const mp_value *v);

static void put_container(writer *w, const mp_value *v)
{
    size_t n = mp__seq_items(v);
    if (v->kind == MP_KIND_TUPLE) {
        if (n > 3)
            put1(w, '(');
        for (size_t i = 0; i < n && !w->error; i++)
            put_value(w, v->seq.items[i]);
        put1(w, n == 0 ? ')' : n <= 3 ? (unsigned char)(0x84 + n) : 't');
        memo_store(w, v);
        return;
    }
    put1(w, v->kind == MP_KIND_LIST ? ']' : '}');
    memo_store(w, v);
    if (!n)
        return;
    put1(w, '(');
    for (size_t i = 0; i < n && !w->error; i++)
        put_value(w, v->seq.items[i]);
    put1(w, v->kind == MP_KIND_LIST ? 'e' : 'u');
}

static void put_value(writer *w, const mp_value *v)
{
    if (w->error || memo_fetch(w, v))
        return;
    switch ((mp_kind)v->kind) {
    case MP_KIND_NONE:
        put1(w, 'N');
        break;
    case MP_KIND_BOOL:
        put1(w, v->truth ? 0x88 : 0x89);
        break;
    case MP_KIND_INT:
        put_int(w, v->number);
        break;
    case MP_KIND_BIGINT:
        put_bigint(w, v);
        break;
    case MP_KIND_FLOAT:
        put_float(w, v->real);
        break;
    case MP_KIND_STR:
    case MP_KIND_BYTES:
        put_text(w, v);
        memo_store(w, v);
        break;
    case MP_KIND_HANDLE:
        put_handle(w, v);
        break;
    default:
        put_container(w, v);
    }
}

static int walk(writer *w, const mp_value *value)
{
    w->used = 0;
    put_op(w, (char)0x80, 4, 1); /* PROTO 4 */
    put_value(w, value);
    put1(w, '.');
    return w->error;
}

int mp__pickle_plan_make(const mp_value *value, mp__pickle_plan *plan)
{
    memset(plan, 0, sizeof *plan);
    int r = walk(plan, value);
    plan->size = plan->used;
    if (r < 0)
        mp__pickle_plan_free(plan);
    return r;
}

int mp__pickle_write(mp__pickle_plan *plan, const mp_value *value, void *data,
                     mp__attachments *attachments)
{
    plan->out = data;
    plan->attachments = attachments;
    return walk(plan, value);
}

void mp__pickle_plan_free(mp__pickle_plan *plan)
{
    free(plan->memo);
    plan->memo = NULL;
}

int mp_value_encode(mp_value *value, mp_buffer **ret_buffer)
{
    mp__clear_detail();
    if (!value)
        return mp_error_code();
    MP__CHECK(mp__is(value, MP__MAGIC_VALUE) && ret_buffer);
    mp__pickle_plan plan;
    mp_buffer *buffer = NULL;
    int r = mp__pickle_plan_make(value, &plan);
    if (r == 0) {
        buffer = mp_buffer_new(plan.size);
        r = buffer ? mp__pickle_write(&plan, value, buffer->data, NULL) : -ENOMEM;
        mp__pickle_plan_free(&plan);
    }
    mp_value_free(value);
    if (r == 0)
        *ret_buffer = buffer;
    else
        mp_buffer_free(buffer);
    return r;
}
