/* SPDX-License-Identifier: MIT */
/*
 * Owns the mappings of managers: dict and Namespace.  They hold values, which never change.  All of it belongs
 * to the server's one thread.
 */
#include "manager/vector.h"

/* ---- dict: a mp__vector of keys and values in the order of insertion, and an index over it ---- */

typedef struct dict {
    mp__vector pairs;
    uint32_t *index;   /* of `size` places: number of the pair + 1; 0: none */
    size_t size, gone; /* pairs that were deleted have NULL as their key */
    size_t end;        /* behind it there are only deleted ones */
} dict;

static size_t dict_count(const dict *d)
{
    return d->pairs.n / 2 - d->gone;
}

/* The place of a key in the index: that of its pair, or the empty one where it would go. */
static uint32_t *dict_place(dict *d, const mp_value *key)
{
    size_t at = (size_t)mp__value_hash(key) & (d->size - 1);
    for (;; at = (at + 1) & (d->size - 1)) {
        uint32_t pair = d->index[at];
        if (!pair)
            return &d->index[at];
        const mp_value *there = d->pairs.items[2 * (pair - 1)];
        if (there && mp_value_equal(there, key))
            return &d->index[at];
    }
}

/* A new index of at least twice as many places as there are pairs; leaves out deleted ones. */
static int dict_rebuild(dict *d, size_t more)
{
    size_t size = 16, kept = 0;
    while (size < 3 * (dict_count(d) + more))
        size *= 2;
    uint32_t *index = mp__alloc_zero(size * sizeof *index);
    if (!index)
        return mp__raise("MemoryError", "out of memory");
    for (size_t i = 0; i < d->pairs.n; i += 2)
        if (d->pairs.items[i]) {
            d->pairs.items[kept] = d->pairs.items[i];
            d->pairs.items[kept + 1] = d->pairs.items[i + 1];
            kept += 2;
        }
    d->pairs.n = d->end = kept;
    d->gone = 0;
    free(d->index);
    d->index = index;
    d->size = size;
    for (size_t i = 0; i < kept; i += 2)
        *dict_place(d, d->pairs.items[i]) = (uint32_t)(i / 2 + 1);
    return 0;
}

static int check_key(const mp_value *key)
{
    const char *name;
    const mp_value *a, *b;
    if (mp__value_hashable(key) && !mp__described(key, &name, &a, &b))
        return 0;
    return mp__raise("TypeError", "unhashable type: '%s'", mp_value_type_name(key));
}

static int dict_put(dict *d, const mp_value *key, const mp_value *value)
{
    int r = check_key(key);
    if (r == 0 && (d->pairs.n / 2 + 1) * 2 > d->size)
        r = dict_rebuild(d, dict_count(d) + 1);
    if (r < 0)
        return r;
    uint32_t *place = dict_place(d, key);
    if (*place) {
        mp_value **there = &d->pairs.items[2 * (*place - 1) + 1];
        mp_value_free(*there);
        *there = mp_value_ref(value);
        return 0;
    }
    mp_value *pair[] = {(mp_value *)(uintptr_t)key, (mp_value *)(uintptr_t)value};
    r = mp__vector_insert(&d->pairs, d->pairs.n, pair, 2);
    if (r == 0) {
        *place = (uint32_t)(d->pairs.n / 2);
        d->end = d->pairs.n;
    }
    return r;
}

/* The number of the pair, or -1. */
static int64_t dict_find(dict *d, const mp_value *key)
{
    uint32_t pair = d->size && mp__value_hashable(key) ? *dict_place(d, key) : 0;
    return (int64_t)pair - 1;
}

/* Takes the pair out and gives its value. */
static mp_value *dict_take(dict *d, int64_t pair)
{
    mp_value **at = &d->pairs.items[2 * pair], *value = at[1];
    mp_value_free(at[0]); /* its place in the index stays, so that others are found behind it */
    at[0] = NULL;
    at[1] = NULL;
    d->gone++;
    return value;
}

static int dict_update_with(dict *d, const mp_value *from)
{
    int r = 0;
    size_t n = (size_t)(mp_value_len(from) > 0 ? mp_value_len(from) : 0);
    bool is_dict = mp_value_kind(from) == MP_KIND_DICT;
    if (!is_dict && !mp__is_sequence(from))
        return mp__raise("TypeError", "'%s' object is not iterable", mp_value_type_name(from));
    for (size_t i = 0; i < n && r == 0; i++) {
        const mp_value *item = mp_value_item(from, i);
        if (is_dict)
            r = dict_put(d, mp_value_key(from, i), item);
        else if (mp__is_sequence(item) && mp_value_len(item) == 2)
            r = dict_put(d, mp_value_item(item, 0), mp_value_item(item, 1));
        else
            r = mp__raise("ValueError", "dictionary update sequence element #%zu is no pair", i);
    }
    return r;
}

static int dict_update_all(dict *d, mp__call *call)
{
    const mp_value *from = mp__arg(call, 0, NULL);
    int r = from ? dict_update_with(d, from) : 0;
    return r == 0 && mp_value_len(call->kwargs) ? dict_update_with(d, call->kwargs) : r;
}

static void dict_destroy(void *object)
{
    dict *d = object;
    for (size_t i = 0; i < d->pairs.n; i++)
        mp_value_free(d->pairs.items[i]);
    free(d->pairs.items);
    free(d->index);
    free(d);
}

static void *dict_create(mp__call *call)
{
    dict *d = mp__alloc_zero(sizeof *d);
    if (!d)
        mp__raise("MemoryError", "out of memory");
    else if (dict_update_all(d, call) < 0) {
        dict_destroy(d);
        d = NULL;
    }
    return d;
}

enum { KEYS = 1, VALUES = 2, BOTH = 3, DICT = 4 };

/* The keys, the values, both as tuples, or all as a dict. */
static mp_value *dict_list(dict *d, int what)
{
    size_t n = dict_count(d), at = 0;
    mp_value **items = mp__alloc((2 * n + 1) * sizeof *items);
    if (!items)
        return NULL;
    for (size_t i = 0; i < d->pairs.n; i += 2) {
        mp_value *pair[] = {d->pairs.items[i], d->pairs.items[i + 1]};
        if (!pair[0])
            continue;
        if (what != VALUES)
            mp_value_ref(pair[0]);
        if (what != KEYS)
            mp_value_ref(pair[1]);
        if (what == BOTH)
            items[at++] = mp_value_tuple(pair, 2);
        if (what == KEYS || what == DICT)
            items[at++] = pair[0];
        if (what == VALUES || what == DICT)
            items[at++] = pair[1];
    }
    mp_value *v = what == DICT ? mp_value_dict(items, n) : mp_value_list(items, at);
    free(items);
    return v;
}

static mp_value *dict_copy(void *object)
{
    return dict_list(object, DICT);
}

static int no_key(const mp_value *key)
{
    return mp__raise_value("KeyError", mp_value_ref(key));
}

static int dict_getitem(mp__call *call, void *object)
{
    dict *d = object;
    NEED(key, 0, "key");
    int64_t pair = dict_find(d, key);
    return pair < 0 ? no_key(key) : mp__return(call, mp_value_ref(d->pairs.items[2 * pair + 1]));
}

static int dict_get(mp__call *call, void *object)
{
    dict *d = object;
    NEED(key, 0, "key");
    const mp_value *otherwise = mp__arg(call, 1, "default");
    int64_t pair = dict_find(d, key);
    if (pair >= 0)
        otherwise = d->pairs.items[2 * pair + 1];
    return mp__return(call, otherwise ? mp_value_ref(otherwise) : mp_value_none());
}

static int dict_setitem(mp__call *call, void *object)
{
    NEED(key, 0, "key");
    NEED(value, 1, "value");
    int r = dict_put(object, key, value);
    return r < 0 ? r : mp__return(call, mp_value_none());
}

static int dict_delitem(mp__call *call, void *object)
{
    NEED(key, 0, "key");
    int64_t pair = dict_find(object, key);
    if (pair < 0)
        return no_key(key);
    mp_value_free(dict_take(object, pair));
    return mp__return(call, mp_value_none());
}

static int dict_contains(mp__call *call, void *object)
{
    NEED(key, 0, "key");
    return mp__return(call, mp_value_bool(dict_find(object, key) >= 0));
}

static int dict_len(mp__call *call, void *object)
{
    return mp__return(call, mp_value_int((int64_t)dict_count(object)));
}

static int dict_keys(mp__call *call, void *object)
{
    return mp__return(call, dict_list(object, KEYS));
}

static int dict_values(mp__call *call, void *object)
{
    return mp__return(call, dict_list(object, VALUES));
}

static int dict_items(mp__call *call, void *object)
{
    return mp__return(call, dict_list(object, BOTH));
}

static int dict_iter(mp__call *call, void *object)
{
    call->result_type = "Iterator";
    return mp__return(call, dict_list(object, KEYS));
}

static int dict_copied(mp__call *call, void *object)
{
    return mp__return(call, dict_copy(object));
}

static int dict_pop(mp__call *call, void *object)
{
    NEED(key, 0, "key");
    const mp_value *otherwise = mp__arg(call, 1, "default");
    int64_t pair = dict_find(object, key);
    if (pair < 0)
        return otherwise ? mp__return(call, mp_value_ref(otherwise)) : no_key(key);
    return mp__return(call, dict_take(object, pair));
}

static int dict_popitem(mp__call *call, void *object)
{
    dict *d = object;
    size_t i = d->end;
    while (i && !d->pairs.items[i - 2])
        i -= 2;
    d->end = i;
    if (!i)
        return mp__raise_value("KeyError", mp_value_str("popitem(): dictionary is empty"));
    mp_value *pair[] = {mp_value_ref(d->pairs.items[i - 2]), NULL};
    pair[1] = dict_take(d, (int64_t)(i / 2 - 1));
    return mp__return(call, mp_value_tuple(pair, 2));
}

static int dict_setdefault(mp__call *call, void *object)
{
    dict *d = object;
    NEED(key, 0, "key");
    const mp_value *value = mp__arg(call, 1, "default");
    int64_t pair = dict_find(d, key);
    if (pair >= 0)
        return mp__return(call, mp_value_ref(d->pairs.items[2 * pair + 1]));
    value = value ? value : mp_value_none();
    int r = dict_put(d, key, value);
    return r < 0 ? r : mp__return(call, mp_value_ref(value));
}

static int dict_update(mp__call *call, void *object)
{
    int r = dict_update_all(object, call);
    return r < 0 ? r : mp__return(call, mp_value_none());
}

static int dict_clear(mp__call *call, void *object)
{
    dict *d = object;
    for (size_t i = 0; i < d->pairs.n; i++)
        mp_value_free(d->pairs.items[i]);
    d->pairs.n = d->gone = d->end = 0;
    if (d->size)
        memset(d->index, 0, d->size * sizeof *d->index);
    return mp__return(call, mp_value_none());
}

static const mp__builtin_method dict_methods[] = {{"__getitem__", dict_getitem},
                                                  {"__setitem__", dict_setitem},
                                                  {"__delitem__", dict_delitem},
                                                  {"__contains__", dict_contains},
                                                  {"__len__", dict_len},
                                                  {"__iter__", dict_iter},
                                                  {"__ior__", dict_update},
                                                  {"get", dict_get},
                                                  {"keys", dict_keys},
                                                  {"values", dict_values},
                                                  {"items", dict_items},
                                                  {"copy", dict_copied},
                                                  {"pop", dict_pop},
                                                  {"popitem", dict_popitem},
                                                  {"setdefault", dict_setdefault},
                                                  {"update", dict_update},
                                                  {"clear", dict_clear},
                                                  {NULL, NULL}};

const mp__builtin mp__type_dict = {"dict",    dict_create,  dict_destroy, NULL,
                                   dict_copy, dict_methods, NULL};

/* ---- Namespace: a dict of attributes ---- */

static int namespace_get(mp__call *call, void *object)
{
    dict *d = object;
    NEED(name, 0, "name");
    int64_t pair = dict_find(d, name);
    if (pair >= 0)
        return mp__return(call, mp_value_ref(d->pairs.items[2 * pair + 1]));
    size_t size;
    bool text = mp_value_kind(name) == MP_KIND_STR;
    return mp__raise("AttributeError", "'Namespace' object has no attribute '%.100s'",
                     text ? mp_value_get_str(name, &size) : "?");
}

static const mp__builtin_method namespace_methods[] = {{"__getattribute__", namespace_get},
                                                       {"__setattr__", dict_setitem},
                                                       {"__delattr__", dict_delitem},
                                                       {NULL, NULL}};

const mp__builtin mp__type_namespace = {"Namespace", dict_create,       dict_destroy, NULL,
                                        dict_copy,   namespace_methods, NULL};
