/* SPDX-License-Identifier: MIT */
/*
 * Owns the decoder: a pickle of protocol 2 to 5 as a value.  The bytes may come from an enemy.
 *
 *   - Nothing is imported or called.  The two names that Python's protocol 2 needs for bytes
 *     (_codecs.encode and __builtin__.bytes) are recognised as such and make bytes, here.
 *   - No length is believed before the bytes behind it are there, and what a value takes in memory
 *     is counted against the limit.
 *   - Containers can be extended while they are being read, so a pickle can tie a knot or share one
 *     part a million times.  finish() walks the result once: a knot is refused, depth and the
 *     number of items (shared ones counted each time) are bounded, and dicts get their index.
 *
 * Process-local.
 */
#include "value/pickle_reader.h"

/* The shortest way to a value is one byte, EMPTY_LIST; with its places on the stack, in the list of
 * open containers and in its own container, that is up to 120 bytes of memory. */
#define MEMORY_PER_BYTE 128

/* What the keys of dicts may weigh: see weigh_keys(). */
#define FREE_KEY_WEIGHT (1 << 24)
#define KEY_WEIGHT_PER_BYTE 64

#define VIEW_FROM 4096 /* bytes values from this size on are views of the message */

int mp__reader_damaged(reader *r, const char *why)
{
    if (!r->error)
        r->error = mp__fail(-EBADMSG, "damaged pickle at byte %zu: %s",
                            (size_t)(r->at - (const unsigned char *)r->source->data), why);
    return r->error;
}

bool mp__reader_charge(reader *r, size_t bytes)
{
    if (bytes > r->max_memory - r->memory) {
        r->error =
            mp__fail(MP_ELIMIT, "the value takes more than %zu bytes of memory", r->max_memory);
        return false;
    }
    r->memory += bytes;
    return true;
}

/* ---- input ---- */

const unsigned char *mp__reader_take(reader *r, uint64_t n)
{
    if (n > (uint64_t)(r->end - r->at)) {
        mp__reader_damaged(r, "it ends too early");
        return NULL;
    }
    const unsigned char *p = r->at;
    r->at += n;
    return p;
}

/* A little-endian number; 0 with r->error set when the bytes are not there. */
static uint64_t number(reader *r, int width)
{
    const unsigned char *p = mp__reader_take(r, (uint64_t)width);
    uint64_t n = 0;
    for (int i = 0; p && i < width; i++)
        n |= (uint64_t)p[i] << (8 * i);
    return n;
}

/* ---- stack and memo ---- */

/* Room for one more in a growing array of `each` bytes; charges the growth. */
static bool room(reader *r, void **array, size_t used, size_t *size, size_t each)
{
    if (used < *size)
        return true;
    size_t more = *size ? *size * 2 : 16;
    void *grown =
        mp__reader_charge(r, (more - *size) * each) ? mp__realloc(*array, more * each) : NULL;
    if (!grown) {
        r->error = r->error ? r->error : -ENOMEM;
        return false;
    }
    *array = grown;
    *size = more;
    return true;
}

/* Takes the value, which may be NULL when making it failed. */
void mp__reader_push(reader *r, mp_value *value, marker what)
{
    if (what == M_VALUE && !value) {
        if (!r->error)
            r->error = mp_error_code();
        return;
    }
    if (r->error || !room(r, (void **)&r->stack, r->depth, &r->stack_size, sizeof *r->stack)) {
        mp_value_free(value);
        return;
    }
    r->stack[r->depth++] = (cell){value, what};
}

cell mp__reader_pop_cell(reader *r)
{
    if (r->depth == 0) {
        mp__reader_damaged(r, "the stack is empty");
        return (cell){NULL, M_VALUE};
    }
    return r->stack[--r->depth];
}

mp_value *mp__reader_pop(reader *r)
{
    cell c = mp__reader_pop_cell(r);
    if (c.what != M_VALUE) {
        mp__reader_damaged(r, "a value is missing");
        return NULL;
    }
    return c.value;
}

mp_value *mp__reader_top(reader *r)
{
    if (r->depth == 0 || r->stack[r->depth - 1].what != M_VALUE) {
        mp__reader_damaged(r, "a value is missing");
        return NULL;
    }
    return r->stack[r->depth - 1].value;
}

/* Index of the first cell above the last mark; everything there is a value. */
static size_t above_mark(reader *r)
{
    for (size_t i = r->depth; i-- > 0;) {
        if (r->stack[i].what == M_MARK)
            return i + 1;
        if (r->stack[i].what != M_VALUE)
            break;
    }
    mp__reader_damaged(r, "a mark is missing");
    return r->depth;
}

static void drop_to(reader *r, size_t depth)
{
    while (r->depth > depth)
        mp_value_free(r->stack[--r->depth].value);
}

static void memo_put(reader *r, uint64_t id)
{
    if (r->depth == 0) {
        mp__reader_damaged(r, "the stack is empty");
        return;
    }
    cell c = r->stack[r->depth - 1];
    if (id > r->memo_size + (uint64_t)(r->end - (const unsigned char *)r->source->data)) {
        mp__reader_damaged(r, "a memo number is too large");
        return;
    }
    while (id >= r->memo_size) {
        size_t old = r->memo_size;
        if (!room(r, (void **)&r->memo, r->memo_size, &r->memo_size, sizeof *r->memo))
            return;
        memset(r->memo + old, 0, (r->memo_size - old) * sizeof *r->memo);
    }
    r->memo_used += !r->memo[id].value && r->memo[id].what == M_VALUE;
    mp_value *kept = mp_value_ref(c.value);
    mp_value_free(r->memo[id].value);
    r->memo[id] = (cell){kept, c.what};
}

static void memo_get(reader *r, uint64_t id)
{
    if (id >= r->memo_size || (!r->memo[id].value && r->memo[id].what == M_VALUE)) {
        mp__reader_damaged(r, "the memo has nothing of that number");
        return;
    }
    mp__reader_push(r, mp_value_ref(r->memo[id].value), r->memo[id].what);
}

/* ---- values ---- */

mp_value *mp__reader_new_container(reader *r, mp_kind kind)
{
    mp_value *v = mp__reader_charge(r, sizeof *v) ? mp__value_alloc(kind, 0) : NULL;
    if (!v || !room(r, (void **)&r->open, r->opened, &r->open_size, sizeof *r->open)) {
        r->error = r->error ? r->error : -ENOMEM;
        mp_value_free(v);
        return NULL;
    }
    r->open[r->opened++] = mp_value_ref(v);
    return v;
}

static void push_container(reader *r, mp_kind kind)
{
    mp_value *v = mp__reader_new_container(r, kind);
    if (v)
        mp__reader_push(r, v, M_VALUE);
}

static void push_text(reader *r, mp_kind kind, uint64_t n)
{
    const unsigned char *p = r->error ? NULL : mp__reader_take(r, n);
    if (!p)
        return;
    if (kind == MP_KIND_BYTES && r->source->owner && n >= VIEW_FROM) {
        if (mp__reader_charge(r, sizeof(mp_value)))
            mp__reader_push(r, mp__value_view(r->source->owner, p, n), M_VALUE);
        return;
    }
    if (!mp__reader_charge(r, sizeof(mp_value) + n + 1))
        return;
    if (kind == MP_KIND_STR && !mp__utf8_valid((const char *)p, n)) {
        r->error = mp__fail(-EILSEQ, "a str in the pickle is not valid UTF-8");
        return;
    }
    mp__reader_push(r, kind == MP_KIND_BIGINT ? mp_value_bigint(p, n) : mp__value_text(kind, p, n),
                    M_VALUE);
}

static void push_long(reader *r, int width)
{
    uint64_t n = number(r, width);
    if (width == 4 && n > INT32_MAX)
        mp__reader_damaged(r, "an int of negative size");
    push_text(r, MP_KIND_BIGINT, n);
}

static void push_float(reader *r)
{
    const unsigned char *p = mp__reader_take(r, 8);
    uint64_t bits = 0;
    double d;
    for (int i = 0; p && i < 8; i++)
        bits = bits << 8 | p[i];
    memcpy(&d, &bits, sizeof d);
    if (p && mp__reader_charge(r, sizeof(mp_value)))
        mp__reader_push(r, mp_value_float(d), M_VALUE);
}

static void push_int(reader *r, int64_t n)
{
    if (!r->error && mp__reader_charge(r, sizeof(mp_value)))
        mp__reader_push(r, mp_value_int(n), M_VALUE);
}

static bool append(reader *r, mp_value *seq, mp_value *item)
{
    size_t before = seq->seq.capacity;
    int e = mp__seq_push(seq, item);
    if (e < 0) {
        r->error = e;
        return false;
    }
    if (mp__reader_charge(r, (seq->seq.capacity - before) * sizeof item))
        return true;
    if (seq->kind == MP_KIND_DICT) /* a key is not counted before its value is there */
        mp_value_free(item);
    return false;
}

/* Moves the cells from `first` on into the container that is or will be below them. */
static void fill(reader *r, mp_value *seq, size_t first)
{
    size_t n = r->depth - first;
    bool is_dict = seq->kind == MP_KIND_DICT;
    if (is_dict && n % 2) {
        mp__reader_damaged(r, "a dict has a key without a value");
        return;
    }
    for (size_t i = 0; i < n && !r->error; i++) {
        mp_value *item = r->stack[first + i].value;
        r->stack[first + i].value = NULL;
        if (is_dict && i % 2 == 0) { /* both places of the pair, then count it */
            mp_value *second = r->stack[first + i + 1].value;
            r->stack[first + i + 1].value = NULL;
            if (!append(r, seq, item)) {
                mp_value_free(second);
                return;
            }
            seq->seq.items[2 * seq->seq.n + 1] = second;
            seq->seq.n++;
            i++;
        } else if (!append(r, seq, item)) {
            return;
        }
    }
    r->depth = first;
}

/* APPEND(S), SETITEM(S): `first` is the first new cell, the container is below it (and the mark).
 */
static void extend(reader *r, mp_kind kind, size_t first, bool marked)
{
    if (r->error)
        return;
    size_t below = first - marked;
    if (below == 0 || r->stack[below - 1].what != M_VALUE || !r->stack[below - 1].value ||
        r->stack[below - 1].value->kind != kind) {
        mp__reader_damaged(r, "there is no list or dict to add to");
        return;
    }
    for (size_t i = first; i < r->depth; i++)
        if (r->stack[i].what != M_VALUE) {
            mp__reader_damaged(r, "a value is missing");
            return;
        }
    fill(r, r->stack[below - 1].value, first);
    if (!r->error)
        drop_to(r, below);
}

static void extend_by(reader *r, mp_kind kind, size_t n)
{
    if (r->depth < n)
        mp__reader_damaged(r, "the stack is empty");
    else
        extend(r, kind, r->depth - n, false);
}

/* TUPLE, LIST, DICT and TUPLE1..3: the cells from `first` on become one value. */
static void collect(reader *r, mp_kind kind, size_t first, bool marked)
{
    mp_value *v = r->error ? NULL : mp__reader_new_container(r, kind);
    if (!v)
        return;
    fill(r, v, first);
    if (r->error) {
        mp_value_free(v);
        return;
    }
    drop_to(r, first - marked);
    mp__reader_push(r, v, M_VALUE);
}

static void collect_last(reader *r, size_t n)
{
    if (r->depth < n) {
        mp__reader_damaged(r, "the stack is empty");
        return;
    }
    for (size_t i = 1; i <= n; i++)
        if (r->stack[r->depth - i].what != M_VALUE) {
            mp__reader_damaged(r, "a value is missing");
            return;
        }
    collect(r, MP_KIND_TUPLE, r->depth - n, false);
}

/* ---- handles ---- */

static void read_handle(reader *r)
{
    mp_value *id = mp__reader_pop(r), *made = NULL;
    int64_t words[3];
    bool ours = id && id->kind == MP_KIND_TUPLE && id->seq.n == 4 &&
                id->seq.items[0]->kind == MP_KIND_STR &&
                strcmp(id->seq.items[0]->text.data, "multiproc") == 0;
    for (int i = 0; ours && i < 3; i++) {
        ours = id->seq.items[i + 1]->kind == MP_KIND_INT;
        words[i] = ours ? id->seq.items[i + 1]->number : 0;
    }
    if (r->error)
        ;
    else if (!ours || !r->source->import || !r->source->attachments)
        r->error = mp__fail(MP_EUNSAFE, "the pickle refers to an object outside of it");
    else if (mp__reader_charge(r, 256) &&
             !(made = r->source->import(words[0], words + 1, r->source->attachments)))
        r->error = mp_error_code();
    mp_value_free(id);
    if (made)
        mp__reader_push(r, made, M_VALUE);
}

/* ---- opcodes ---- */

static void opcode(reader *r, unsigned char op)
{
    mp_value *v;
    uint64_t n;
    switch (op) {
    case 'N':
        mp__reader_push(r, mp_value_none(), M_VALUE);
        break;
    case 0x88:
    case 0x89:
        mp__reader_push(r, mp_value_bool(op == 0x88), M_VALUE);
        break;
    case 'K':
        push_int(r, (int64_t)number(r, 1));
        break;
    case 'M':
        push_int(r, (int64_t)number(r, 2));
        break;
    case 'J':
        push_int(r, (int32_t)number(r, 4));
        break;
    case 0x8a:
        push_long(r, 1);
        break;
    case 0x8b:
        push_long(r, 4);
        break;
    case 'G':
        push_float(r);
        break;
    case 0x8c:
        push_text(r, MP_KIND_STR, number(r, 1));
        break;
    case 'X':
        push_text(r, MP_KIND_STR, number(r, 4));
        break;
    case 0x8d:
        push_text(r, MP_KIND_STR, number(r, 8));
        break;
    case 'C':
        push_text(r, MP_KIND_BYTES, number(r, 1));
        break;
    case 'B':
        push_text(r, MP_KIND_BYTES, number(r, 4));
        break;
    case 0x8e:
        push_text(r, MP_KIND_BYTES, number(r, 8));
        break;
    case ']':
        push_container(r, MP_KIND_LIST);
        break;
    case '}':
        push_container(r, MP_KIND_DICT);
        break;
    case ')':
        push_container(r, MP_KIND_TUPLE);
        break;
    case '(':
        mp__reader_push(r, NULL, M_MARK);
        break;
    case 'a':
        extend_by(r, MP_KIND_LIST, 1);
        break;
    case 'e':
        extend(r, MP_KIND_LIST, above_mark(r), true);
        break;
    case 's':
        extend_by(r, MP_KIND_DICT, 2);
        break;
    case 'u':
        extend(r, MP_KIND_DICT, above_mark(r), true);
        break;
    case 't':
        collect(r, MP_KIND_TUPLE, above_mark(r), true);
        break;
    case 'l':
        collect(r, MP_KIND_LIST, above_mark(r), true);
        break;
    case 'd':
        collect(r, MP_KIND_DICT, above_mark(r), true);
        break;
    case 0x85:
    case 0x86:
    case 0x87:
        collect_last(r, op - 0x84u);
        break;
    case '0':
        mp_value_free(mp__reader_pop_cell(r).value);
        break;
    case '1': {
        size_t first = above_mark(r);
        if (!r->error)
            drop_to(r, first - 1);
        break;
    }
    case '2':
        v = mp__reader_top(r);
        if (v)
            mp__reader_push(r, mp_value_ref(v), M_VALUE);
        break;
    case 'q':
        memo_put(r, number(r, 1));
        break;
    case 'r':
        memo_put(r, number(r, 4));
        break;
    case 0x94:
        memo_put(r, r->memo_used);
        break;
    case 'h':
        memo_get(r, number(r, 1));
        break;
    case 'j':
        memo_get(r, number(r, 4));
        break;
    case 0x95: /* FRAME: only a hint */
        n = number(r, 8);
        if (n > (uint64_t)(r->end - r->at))
            mp__reader_damaged(r, "a frame is larger than the message");
        break;
    case 'c':
        mp__reader_global(r);
        break;
    case 'R':
        mp__reader_reduce(r);
        break;
    case 'Q':
        read_handle(r);
        break;
    case 'i':
    case 'o':
    case 'b':
    case 'P':
    case 0x81:
    case 0x82:
    case 0x83:
    case 0x84:
    case 0x92:
    case 0x93:
        if (!mp__reader_describe(r, op))
            r->error =
                mp__fail(MP_EUNSAFE, "the pickle asks to make an object (opcode 0x%02x)", op);
        break;
    case 0x8f: /* EMPTY_SET, ADDITEMS, FROZENSET: in descriptions a set is a list, or a tuple */
    case 0x90:
    case 0x91:
        if (!r->source->describe)
            r->error = mp__fail(MP_ETYPE, "the pickle holds a set, which is not a value");
        else if (op == 0x8f)
            push_container(r, MP_KIND_LIST);
        else if (op == 0x90)
            extend(r, MP_KIND_LIST, above_mark(r), true);
        else
            collect(r, MP_KIND_TUPLE, above_mark(r), true);
        break;
    case 0x96:
    case 0x97:
    case 0x98:
        r->error = mp__fail(MP_ETYPE,
                            "the pickle holds a bytearray or a buffer, which are not values "
                            "(opcode 0x%02x)",
                            op);
        break;
    default:
        mp__reader_damaged(r, "not an opcode of protocols 2 to 5");
    }
}

/* ---- the result ---- */

static bool weigh_key(reader *r, const mp_value *key, uint64_t most)
{
    r->key_weight += 1 + (mp__is_text(key) ? key->text.size / 64 : 0);
    bool ok = r->key_weight <= most;
    for (size_t i = 0; ok && key->kind == MP_KIND_TUPLE && i < key->seq.n; i++)
        ok = weigh_key(r, key->seq.items[i], most);
    return ok;
}

/* Keys are walked when a dict is made.  A few bytes can fetch one heavy tuple or one long str from
 * the memo as the key of dict after dict, so the message pays for what all keys together weigh. */
static int weigh_keys(reader *r, const mp_value *dict)
{
    uint64_t most = FREE_KEY_WEIGHT + r->source->size * (uint64_t)KEY_WEIGHT_PER_BYTE;
    for (size_t i = 0; i < dict->seq.n; i++)
        if (!weigh_key(r, dict->seq.items[2 * i], most))
            return mp__fail(MP_ELIMIT, "the keys of dicts are too large, counted as often as they"
                                       " occur");
    return 0;
}

/* Checks a container and what it holds; the depth of the recursion is bounded by max_depth. */
static int finish(reader *r, mp_value *v, size_t depth)
{
    if (!mp__is_container(v) || v->finished)
        return 0;
    if (v->visiting)
        return mp__fail(-EBADMSG, "the pickle holds a %s that contains itself",
                        mp_value_type_name(v));
    if (depth >= r->max_depth)
        return mp__fail(MP_ELIMIT, "containers nested more than %zu deep", r->max_depth);
    v->visiting = true;
    for (size_t i = 0; i < mp__seq_items(v); i++) {
        int e = finish(r, v->seq.items[i], depth + 1);
        if (e < 0)
            return e;
    }
    v->visiting = false;
    int e = v->kind == MP_KIND_DICT ? weigh_keys(r, v) : 0;
    if (e == 0)
        e = mp__container_finish(v);
    if (e == 0 && v->height > r->max_depth)
        e = mp__fail(MP_ELIMIT, "containers nested more than %zu deep", r->max_depth);
    return e;
}

/* Gives everything back.  After a failure the containers may hold each other: they are emptied
 * first. */
static void clean_up(reader *r, bool failed)
{
    for (size_t i = 0; failed && i < r->opened; i++) {
        mp_value *v = r->open[i];
        size_t n = mp__seq_items(v);
        v->seq.n = 0;
        for (size_t k = 0; k < n; k++)
            mp_value_free(v->seq.items[k]);
    }
    for (size_t i = 0; i < r->opened; i++)
        mp_value_free(r->open[i]);
    drop_to(r, 0);
    for (size_t i = 0; i < r->memo_size; i++)
        mp_value_free(r->memo[i].value);
    free(r->open);
    free(r->stack);
    free(r->memo);
}

static int run(reader *r)
{
    const unsigned char *p = mp__reader_take(r, 2);
    if (!p || p[0] != 0x80)
        return r->error ? r->error
                        : mp__reader_damaged(r, "it does not start with a protocol number");
    if (p[1] < 2 || p[1] > 5)
        return mp__reader_damaged(r, "its protocol is not 2, 3, 4 or 5");
    while (!r->error) {
        p = mp__reader_take(r, 1);
        if (!p)
            break;
        if (*p == '.')
            return r->depth == 1 && mp__reader_top(r)
                       ? 0
                       : mp__reader_damaged(r, "it does not end with one value");
        opcode(r, *p);
    }
    return r->error;
}

int mp__pickle_read(const mp__pickle_source *source, mp_value **ret_value)
{
    const mp_limits *limits = source->limits;
    reader r = {.at = source->data, .source = source};
    r.end = r.at + source->size;
    r.max_depth = limits && limits->max_depth ? limits->max_depth : MP__MAX_DEPTH;
    if (r.max_depth > MP__MAX_DEPTH)
        r.max_depth = MP__MAX_DEPTH;
    r.max_memory = limits && limits->max_memory ? limits->max_memory
                   : source->size < SIZE_MAX / (2 * MEMORY_PER_BYTE)
                       ? source->size * MEMORY_PER_BYTE + (1 << 20)
                       : SIZE_MAX;
    int e = run(&r);
    mp_value *v = e == 0 ? r.stack[0].value : NULL;
    for (size_t i = 0; i < r.opened && e == 0; i++) /* also those that were dropped on the way */
        e = finish(&r, r.open[i], 0);
    if (e == 0)
        r.stack[0].value = NULL;
    clean_up(&r, e != 0);
    if (e == 0)
        *ret_value = v;
    return e;
}

int mp_value_decode(const void *data, size_t size, const mp_limits *limits, mp_value **ret_value)
{
    mp__clear_detail();
    MP__CHECK((data || !size) && ret_value && (!limits || limits->size >= sizeof *limits));
    mp__pickle_source source = {.data = data ? data : "", .size = size, .limits = limits};
    return mp__pickle_read(&source, ret_value);
}
