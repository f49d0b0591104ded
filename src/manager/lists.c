/* SPDX-License-Identifier: MIT */
/*
 * Owns the sequences of managers: list, Value, Array, and iterators over what they had; and the vectors under
 * all containers.  They hold values, which never change; a container does.  All of it belongs to the server's
 * one thread.
 */
#include "manager/vector.h"

/* ---- a mp__vector of values ---- */

int mp__vector_reserve(mp__vector *v, size_t n)
{
    if (n <= v->room)
        return 0;
    size_t room = v->room * 2 > n ? v->room * 2 : n + 8;
    mp_value **items = mp__realloc(v->items, room * sizeof *items);
    if (!items)
        return mp__raise("MemoryError", "out of memory");
    v->items = items;
    v->room = room;
    return 0;
}

/* Puts n values at a place; takes references of its own. */
int mp__vector_insert(mp__vector *v, size_t at, mp_value *const *items, size_t n)
{
    int r = mp__vector_reserve(v, v->n + n);
    if (r < 0)
        return r;
    if (v->n > at)
        memmove(v->items + at + n, v->items + at, (v->n - at) * sizeof *v->items);
    for (size_t i = 0; i < n; i++)
        v->items[at + i] = mp_value_ref(items[i]);
    v->n += n;
    return 0;
}

void mp__vector_remove(mp__vector *v, size_t at, size_t n)
{
    for (size_t i = 0; i < n; i++)
        mp_value_free(v->items[at + i]);
    if (v->n > at + n)
        memmove(v->items + at, v->items + at + n, (v->n - at - n) * sizeof *v->items);
    v->n -= n;
}

static mp_value *copy_of(const mp__vector *v, mp_kind kind)
{
    for (size_t i = 0; i < v->n; i++)
        mp_value_ref(v->items[i]);
    return kind == MP_KIND_DICT    ? mp_value_dict(v->items, v->n / 2)
           : kind == MP_KIND_TUPLE ? mp_value_tuple(v->items, v->n)
                                   : mp_value_list(v->items, v->n);
}

static void *new_vector(void)
{
    mp__vector *v = mp__alloc_zero(sizeof *v);
    if (!v)
        mp__raise("MemoryError", "out of memory");
    return v;
}

static void free_vector(void *object)
{
    mp__vector *v = object;
    mp__vector_remove(v, 0, v->n);
    free(v->items);
    free(v);
}

int mp__missing(const char *what)
{
    return mp__raise("TypeError", "the argument '%s' is missing", what);
}

/* ---- list ---- */

static int list_add_all(mp__vector *v, size_t at, const mp_value *from)
{
    if (!mp__is_sequence(from))
        return mp__raise("TypeError", "a list or tuple was expected, not %s",
                         mp_value_type_name(from));
    size_t n = (size_t)mp_value_len(from);
    int r = mp__vector_reserve(v, v->n + n);
    if (r < 0)
        return r;
    if (v->n > at)
        memmove(v->items + at + n, v->items + at, (v->n - at) * sizeof *v->items);
    for (size_t i = 0; i < n; i++)
        v->items[at + i] = mp_value_ref(mp_value_item(from, i));
    v->n += n;
    return 0;
}

static void *list_create(mp__call *call)
{
    mp__vector *v = new_vector();
    const mp_value *from = mp__arg(call, 0, NULL);
    if (v && from && list_add_all(v, 0, from) < 0) {
        free_vector(v);
        return NULL;
    }
    return v;
}

static mp_value *list_copy(void *object)
{
    return copy_of(object, MP_KIND_LIST);
}

/* A whole number as an index of 0 to n (or to n - 1); a negative error. */
static int64_t index_of(const mp_value *v, size_t n, bool end_too)
{
    int64_t i;
    if (mp_value_get_int(v, &i) < 0)
        return mp__raise("TypeError", "indices are integers, not %s", mp_value_type_name(v));
    i += i < 0 ? (int64_t)n : 0;
    if (i < 0 || i > (int64_t)n - !end_too)
        return mp__raise("IndexError", "index out of range");
    return i;
}

typedef struct slice {
    int64_t start, step, n;
} slice;

/* An index of a slice, brought into -most to most. */
static int64_t whole(const mp_value *v, int64_t most)
{
    int64_t i = 0;
    size_t size;
    if (mp_value_get_int(v, &i) == -ERANGE) {
        const unsigned char *bytes = mp_value_get_bytes(v, &size);
        i = bytes[size - 1] & 0x80 ? -most : most;
    }
    return i < -most ? -most : i > most ? most : i;
}

static int64_t bound(const mp_value *v, int64_t otherwise, int64_t n, int64_t step)
{
    if (mp_value_kind(v) == MP_KIND_NONE)
        return otherwise;
    int64_t i = whole(v, 2 * n + 1);
    i += i < 0 ? n : 0;
    int64_t low = step < 0 ? -1 : 0, high = step < 0 ? n - 1 : n;
    return i < low ? low : i > high ? high : i;
}

/* slice(start, stop, step), as it is described: 1; 0: it is none; an error. */
static int slice_of(const mp_value *v, size_t size, slice *ret_slice)
{
    const char *name;
    const mp_value *args, *state;
    int64_t n = (int64_t)size, step = 1;
    if (!mp__described(v, &name, &args, &state) || strcmp(name, "builtins.slice") != 0 ||
        mp_value_len(args) != 3)
        return 0;
    for (size_t i = 0; i < 3; i++) {
        mp_kind kind = mp_value_kind(mp_value_item(args, i));
        if (kind != MP_KIND_NONE && kind != MP_KIND_INT && kind != MP_KIND_BOOL &&
            kind != MP_KIND_BIGINT)
            return mp__raise("TypeError", "slice indices must be integers or None");
    }
    if (mp_value_kind(mp_value_item(args, 2)) != MP_KIND_NONE)
        step = whole(mp_value_item(args, 2), n + 2); /* never 1 for one that is not */
    if (step == 0)
        return mp__raise("ValueError", "slice step cannot be zero");
    int64_t start = bound(mp_value_item(args, 0), step < 0 ? n - 1 : 0, n, step);
    int64_t stop = bound(mp_value_item(args, 1), step < 0 ? -1 : n, n, step);
    step = step < -INT64_MAX ? -INT64_MAX : step;
    int64_t way = step > 0 ? stop - start : start - stop;
    int64_t length = way > 0 ? (way - 1) / (step > 0 ? step : -step) + 1 : 0;
    *ret_slice = (slice){start, step, length};
    return 1;
}

static int list_get(mp__call *call, void *object)
{
    mp__vector *v = object;
    slice s;
    NEED(key, 0, "index");
    int r = slice_of(key, v->n, &s);
    if (r < 0)
        return r;
    if (r == 0) {
        int64_t i = index_of(key, v->n, false);
        return i < 0 ? (int)i : mp__return(call, mp_value_ref(v->items[i]));
    }
    mp_value **items = mp__alloc((size_t)(s.n + 1) * sizeof *items);
    if (!items)
        return mp__raise("MemoryError", "out of memory");
    for (int64_t i = 0; i < s.n; i++)
        items[i] = mp_value_ref(v->items[s.start + i * s.step]);
    mp_value *list = mp_value_list(items, (size_t)s.n);
    free(items);
    return mp__return(call, list);
}

static int list_set(mp__call *call, void *object)
{
    mp__vector *v = object;
    slice s;
    NEED(key, 0, "index");
    NEED(value, 1, "value");
    int r = slice_of(key, v->n, &s);
    if (r < 0)
        return r;
    if (r == 0) {
        int64_t i = index_of(key, v->n, false);
        if (i < 0)
            return (int)i;
        mp_value_free(v->items[i]);
        v->items[i] = mp_value_ref(value);
        return mp__return(call, mp_value_none());
    }
    if (!mp__is_sequence(value))
        return mp__raise("TypeError", "can only assign an iterable");
    if (s.step == 1) {
        mp__vector_remove(v, (size_t)s.start, (size_t)s.n);
        r = list_add_all(v, (size_t)s.start, value);
        return r < 0 ? r : mp__return(call, mp_value_none());
    }
    if (mp_value_len(value) != s.n)
        return mp__raise("ValueError", "attempt to assign a sequence of another size");
    for (int64_t i = 0; i < s.n; i++) {
        mp_value **place = &v->items[s.start + i * s.step];
        mp_value_free(*place);
        *place = mp_value_ref(mp_value_item(value, (size_t)i));
    }
    return mp__return(call, mp_value_none());
}

static void take_away(mp__vector *v, slice s)
{
    if (s.step < 0) /* the same ones, the first one first */
        s = (slice){s.start + (s.n - 1) * s.step, -s.step, s.n};
    if (!s.n)
        return;
    size_t next = (size_t)s.start, kept = next;
    for (size_t i = kept; i < v->n; i++)
        if (s.n && i == next) {
            mp_value_free(v->items[i]);
            next += (size_t)s.step;
            s.n--;
        } else {
            v->items[kept++] = v->items[i];
        }
    v->n = kept;
}

static int list_del(mp__call *call, void *object)
{
    mp__vector *v = object;
    slice s;
    NEED(key, 0, "index");
    int r = slice_of(key, v->n, &s);
    if (r < 0)
        return r;
    if (r == 0) {
        int64_t i = index_of(key, v->n, false);
        if (i < 0)
            return (int)i;
        s = (slice){i, 1, 1};
    }
    take_away(v, s);
    return mp__return(call, mp_value_none());
}

static int64_t list_find(mp__vector *v, const mp_value *what)
{
    for (size_t i = 0; i < v->n; i++)
        if (mp_value_equal(v->items[i], what))
            return (int64_t)i;
    return -1;
}

static int list_len(mp__call *call, void *object)
{
    return mp__return(call, mp_value_int((int64_t)((mp__vector *)object)->n));
}

static int list_contains(mp__call *call, void *object)
{
    NEED(what, 0, "item");
    return mp__return(call, mp_value_bool(list_find(object, what) >= 0));
}

static int list_append(mp__call *call, void *object)
{
    NEED(what, 0, "item");
    mp_value *item = (mp_value *)(uintptr_t)what;
    int r = mp__vector_insert(object, ((mp__vector *)object)->n, &item, 1);
    return r < 0 ? r : mp__return(call, mp_value_none());
}

static int list_extend(mp__call *call, void *object)
{
    NEED(from, 0, "items");
    int r = list_add_all(object, ((mp__vector *)object)->n, from);
    return r < 0 ? r : mp__return(call, mp_value_none());
}

static int list_insert(mp__call *call, void *object)
{
    mp__vector *v = object;
    int64_t i;
    NEED(where, 0, "index");
    NEED(what, 1, "item");
    if (mp_value_get_int(where, &i) < 0)
        return mp__raise("TypeError", "indices are integers, not %s", mp_value_type_name(where));
    i += i < 0 ? (int64_t)v->n : 0;
    i = i < 0 ? 0 : i > (int64_t)v->n ? (int64_t)v->n : i;
    mp_value *item = (mp_value *)(uintptr_t)what;
    int r = mp__vector_insert(v, (size_t)i, &item, 1);
    return r < 0 ? r : mp__return(call, mp_value_none());
}

static int list_pop(mp__call *call, void *object)
{
    mp__vector *v = object;
    const mp_value *where = mp__arg(call, 0, "index");
    if (!v->n)
        return mp__raise("IndexError", "pop from empty list");
    int64_t i = where ? index_of(where, v->n, false) : (int64_t)v->n - 1;
    if (i < 0)
        return (int)i;
    mp_value *item = mp_value_ref(v->items[i]);
    mp__vector_remove(v, (size_t)i, 1);
    return mp__return(call, item);
}

static int list_remove(mp__call *call, void *object)
{
    NEED(what, 0, "item");
    int64_t i = list_find(object, what);
    if (i < 0)
        return mp__raise("ValueError", "list.remove(x): x not in list");
    mp__vector_remove(object, (size_t)i, 1);
    return mp__return(call, mp_value_none());
}

static int list_index(mp__call *call, void *object)
{
    mp__vector *v = object;
    NEED(what, 0, "item");
    const mp_value *from = mp__arg(call, 1, NULL), *to = mp__arg(call, 2, NULL);
    int64_t n = (int64_t)v->n, end = to ? bound(to, n, n, 1) : n,
            i = from ? bound(from, 0, n, 1) : 0;
    while (i < end && !mp_value_equal(v->items[i], what))
        i++;
    i = i < end ? i : -1;
    return i < 0 ? mp__raise("ValueError", "it is not in the list")
                 : mp__return(call, mp_value_int(i));
}

static int list_count(mp__call *call, void *object)
{
    mp__vector *v = object;
    int64_t n = 0;
    NEED(what, 0, "item");
    for (size_t i = 0; i < v->n; i++)
        n += mp_value_equal(v->items[i], what);
    return mp__return(call, mp_value_int(n));
}

static void reverse(mp__vector *v)
{
    for (size_t i = 0; i < v->n / 2; i++) {
        mp_value *swap = v->items[i];
        v->items[i] = v->items[v->n - 1 - i];
        v->items[v->n - 1 - i] = swap;
    }
}

static int list_reverse(mp__call *call, void *object)
{
    reverse(object);
    return mp__return(call, mp_value_none());
}

/* By merging, so that equal items keep their order. */
static int merge_sort(mp_value **a, mp_value **room, size_t n, bool backwards)
{
    size_t half = n / 2, i = 0, k = half, out = 0;
    int order, r = 0;
    if (n < 2)
        return 0;
    if ((r = merge_sort(a, room, half, backwards)) < 0 ||
        (r = merge_sort(a + half, room, n - half, backwards)) < 0)
        return r;
    while (i < half && k < n) {
        if (mp_value_compare(a[i], a[k], &order) < 0)
            return mp__raise("TypeError", "'<' not supported between %s and %s",
                             mp_value_type_name(a[k]), mp_value_type_name(a[i]));
        bool left = backwards ? order >= 0 : order <= 0;
        room[out++] = left ? a[i++] : a[k++];
    }
    while (i < half)
        room[out++] = a[i++];
    memcpy(a, room, out * sizeof *a);
    return 0;
}

static int list_sort(mp__call *call, void *object)
{
    mp__vector *v = object;
    const mp_value *key = mp_value_lookup_str(call->kwargs, "key");
    bool backwards = mp__arg_truth(mp_value_lookup_str(call->kwargs, "reverse"), false);
    if (key && mp_value_kind(key) != MP_KIND_NONE)
        return mp__raise("TypeError", "this server runs no functions, so no key functions");
    mp_value **room = mp__alloc((v->n + 1) * sizeof *room);
    int r = room ? merge_sort(v->items, room, v->n, backwards)
                 : mp__raise("MemoryError", "out of memory");
    free(room);
    return r < 0 ? r : mp__return(call, mp_value_none());
}

static int list_clear(mp__call *call, void *object)
{
    mp__vector_remove(object, 0, ((mp__vector *)object)->n);
    return mp__return(call, mp_value_none());
}

static int list_copied(mp__call *call, void *object)
{
    return mp__return(call, list_copy(object));
}

static int list_add(mp__call *call, void *object)
{
    mp__vector both = {0};
    NEED(other, 0, "other");
    mp_value *mine = list_copy(object);
    int r = mine ? list_add_all(&both, 0, mine) : mp__raise("MemoryError", "out of memory");
    if (r == 0)
        r = list_add_all(&both, both.n, other);
    mp_value *sum = r == 0 ? copy_of(&both, MP_KIND_LIST) : NULL;
    mp_value_free(mine);
    mp__vector_remove(&both, 0, both.n);
    free(both.items);
    return r < 0 ? r : mp__return(call, sum);
}

static int repeat(mp__vector *v, const mp_value *times, mp__vector *to)
{
    int64_t n;
    if (mp_value_get_int(times, &n) < 0)
        return mp__raise("TypeError", "can't multiply a list by %s", mp_value_type_name(times));
    if (n > 0 && v->n && (uint64_t)n > (UINT64_C(1) << 26) / v->n)
        return mp__raise("MemoryError", "the list would be too long");
    int r = 0;
    for (int64_t i = 0; r == 0 && i < n; i++)
        r = mp__vector_insert(to, to->n, v->items, v->n);
    return r;
}

static int list_mul(mp__call *call, void *object)
{
    mp__vector product = {0};
    NEED(times, 0, "times");
    int r = repeat(object, times, &product);
    mp_value *list = r == 0 ? copy_of(&product, MP_KIND_LIST) : NULL;
    mp__vector_remove(&product, 0, product.n);
    free(product.items);
    return r < 0 ? r : mp__return(call, list);
}

static int list_imul(mp__call *call, void *object)
{
    mp__vector *v = object, product = {0};
    NEED(times, 0, "times");
    int r = repeat(v, times, &product);
    if (r == 0) {
        mp__vector before = *v;
        *v = product;
        product = before;
    }
    mp__vector_remove(&product, 0, product.n);
    free(product.items);
    return r < 0 ? r : mp__return(call, mp_value_none());
}

static const mp__builtin_method list_methods[] = {
    {"__getitem__", list_get}, {"__setitem__", list_set},       {"__delitem__", list_del},
    {"__len__", list_len},     {"__contains__", list_contains}, {"__add__", list_add},
    {"__mul__", list_mul},     {"__rmul__", list_mul},          {"__imul__", list_imul},
    {"append", list_append},   {"extend", list_extend},         {"insert", list_insert},
    {"pop", list_pop},         {"remove", list_remove},         {"index", list_index},
    {"count", list_count},     {"reverse", list_reverse},       {"sort", list_sort},
    {"clear", list_clear},     {"copy", list_copied},           {NULL, NULL}};

const mp__builtin mp__type_list = {"list",    list_create,  free_vector, NULL,
                                   list_copy, list_methods, NULL};

/* ---- Value and Array: with a type code, which is only remembered ---- */

static void *value_create(mp__call *call)
{
    mp__vector *v = new_vector();
    const mp_value *first = mp__arg(call, 1, "value");
    mp_value *item = (mp_value *)(uintptr_t)first;
    if (v && (!first || mp__vector_insert(v, 0, &item, 1) < 0)) {
        if (!first)
            mp__missing("value");
        free_vector(v);
        v = NULL;
    }
    return v;
}

static int value_get(mp__call *call, void *object)
{
    return mp__return(call, mp_value_ref(((mp__vector *)object)->items[0]));
}

static int value_set(mp__call *call, void *object)
{
    mp__vector *v = object;
    NEED(value, 0, "value");
    mp_value_free(v->items[0]);
    v->items[0] = mp_value_ref(value);
    return mp__return(call, mp_value_none());
}

static mp_value *value_copy(void *object)
{
    return mp_value_ref(((mp__vector *)object)->items[0]);
}

static const mp__builtin_method value_methods[] = {
    {"get", value_get}, {"set", value_set}, {NULL, NULL}};

const mp__builtin mp__type_value = {"Value",    value_create,  free_vector, NULL,
                                    value_copy, value_methods, NULL};

static void *array_create(mp__call *call)
{
    mp__vector *v = new_vector();
    const mp_value *from = mp__arg(call, 1, "sequence");
    if (v && (!from || list_add_all(v, 0, from) < 0)) {
        if (!from)
            mp__missing("sequence");
        free_vector(v);
        v = NULL;
    }
    return v;
}

static const mp__builtin_method array_methods[] = {
    {"__len__", list_len}, {"__getitem__", list_get}, {"__setitem__", list_set}, {NULL, NULL}};

const mp__builtin mp__type_array = {"Array",   array_create,  free_vector, NULL,
                                    list_copy, array_methods, NULL};

/* ---- iterators ---- */

/* The last one is the next, so that the others stay where they are. */
static void *iterator_create(mp__call *call)
{
    mp__vector *v = list_create(call);
    if (v)
        reverse(v);
    return v;
}

static int iterator_next(mp__call *call, void *object)
{
    mp__vector *v = object;
    if (!v->n)
        return mp__raise_value("StopIteration", NULL);
    return mp__return(call, v->items[--v->n]);
}

static int iterator_iter(mp__call *call, void *object)
{
    (void)object;
    return mp__return(call, mp_value_none());
}

static const mp__builtin_method iterator_methods[] = {{"__next__", iterator_next},
                                                      {"send", iterator_next},
                                                      {"throw", iterator_iter},
                                                      {"close", iterator_iter},
                                                      {NULL, NULL}};

const mp__builtin mp__type_iterator = {"Iterator", iterator_create,  free_vector, NULL,
                                       NULL,       iterator_methods, NULL};
