/* SPDX-License-Identifier: MIT */
/*
 * Owns lists, tuples and dicts.  A dict keeps its pairs in order of insertion, as items[2i] (key)
 * and items[2i+1]; from 17 pairs on an open-addressed index of pair numbers + 1 stands beside them,
 * at most half full.  Two keys are one when they are the same object or equal, as in Python: so a
 * NaN finds itself.  Process-local.
 */
#include "value/value.h"

#define SMALL_DICT 16

bool mp__value_hashable(const mp_value *v)
{
    if (v->kind == MP_KIND_LIST || v->kind == MP_KIND_DICT)
        return false;
    if (v->kind == MP_KIND_TUPLE)
        for (size_t i = 0; i < v->seq.n; i++)
            if (!mp__value_hashable(v->seq.items[i]))
                return false;
    return true;
}

/* ---- building ---- */

int mp__seq_push(mp_value *seq, mp_value *item)
{
    size_t used = mp__seq_items(seq);
    size_t pushed = seq->kind == MP_KIND_DICT ? 2 : 1;
    if (used + pushed > seq->seq.capacity) {
        size_t capacity = seq->seq.capacity ? seq->seq.capacity * 2 : 4, bytes;
        mp_value **items =
            mp__mul(capacity, sizeof *items, &bytes) ? mp__realloc(seq->seq.items, bytes) : NULL;
        if (!items) {
            mp_value_free(item);
            return -ENOMEM;
        }
        seq->seq.items = items;
        seq->seq.capacity = capacity;
    }
    seq->seq.items[used] = item;
    if (seq->kind != MP_KIND_DICT)
        seq->seq.n++;
    return 0;
}

static bool same_key(const mp_value *a, const mp_value *b)
{
    return a == b || mp_value_equal(a, b);
}

static size_t find_pair(const mp_value *dict, const mp_value *key, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (same_key(dict->seq.items[2 * i], key))
            return i;
    return SIZE_MAX;
}

/* Finds the place of a key in the index; *ret_pair is SIZE_MAX when the place is empty. */
static size_t probe(const mp_value *dict, size_t mask, const mp_value *key, size_t *ret_pair)
{
    size_t at = mp__value_hash(key) & mask;
    for (;; at = (at + 1) & mask) {
        uint32_t pair = dict->seq.index[at];
        if (!pair || same_key(dict->seq.items[2 * (size_t)(pair - 1)], key)) {
            *ret_pair = pair ? pair - 1 : SIZE_MAX;
            return at;
        }
    }
}

static size_t index_size(size_t n)
{
    size_t size = 16;
    while (size < 2 * n)
        size *= 2;
    return size;
}

/* Throws out pairs whose key comes again, moving the later value to the first place. */
static int dict_finish(mp_value *dict)
{
    size_t n = dict->seq.n, kept = 0;
    mp_value **items = dict->seq.items;
    if (n >= UINT32_MAX / 4)
        return mp__fail(MP_ELIMIT, "a dict of %zu pairs is too large", n);
    size_t mask = index_size(n) - 1;
    if (n > SMALL_DICT) {
        dict->seq.index = mp__alloc_zero((mask + 1) * sizeof(uint32_t));
        if (!dict->seq.index)
            return -ENOMEM;
    }
    for (size_t i = 0; i < n; i++) {
        size_t same, at = 0;
        if (dict->seq.index)
            at = probe(dict, mask, items[2 * i], &same);
        else
            same = find_pair(dict, items[2 * i], kept);
        if (same != SIZE_MAX) {
            mp_value_free(items[2 * same + 1]);
            items[2 * same + 1] = items[2 * i + 1];
            mp_value_free(items[2 * i]);
            continue;
        }
        items[2 * kept] = items[2 * i];
        items[2 * kept + 1] = items[2 * i + 1];
        if (dict->seq.index)
            dict->seq.index[at] = (uint32_t)++kept;
        else
            kept++;
    }
    dict->seq.n = kept;
    if (dict->seq.index && index_size(kept) != mask + 1) { /* lookups derive the size from n */
        size_t pair, small = index_size(kept) - 1;
        memset(dict->seq.index, 0, (mask + 1) * sizeof(uint32_t));
        for (size_t i = 0; i < kept; i++)
            dict->seq.index[probe(dict, small, items[2 * i], &pair)] = (uint32_t)(i + 1);
    }
    return 0;
}

int mp__container_finish(mp_value *v)
{
    uint32_t height = 0;
    uint64_t weight = 1;
    for (size_t i = 0; i < mp__seq_items(v); i++) {
        const mp_value *item = v->seq.items[i];
        if (v->kind == MP_KIND_DICT && i % 2 == 0 && !mp__value_hashable(item))
            return mp__fail(MP_ETYPE, "a %s cannot be the key of a dict", mp_value_type_name(item));
        height = item->height > height ? item->height : height;
        weight += item->weight;
        v->holds_class = v->holds_class || item->holds_class;
    }
    if (height + 1 > MP__MAX_DEPTH)
        return mp__fail(MP_ELIMIT, "containers nested more than %d deep", MP__MAX_DEPTH);
    if (weight > MP__MAX_WEIGHT)
        return mp__fail(MP_ELIMIT,
                        "a value of more than 2**28 items, shared ones counted each time");
    v->height = height + 1;
    v->weight = weight;
    int r = v->kind == MP_KIND_DICT ? dict_finish(v) : 0;
    v->finished = r == 0;
    return r;
}

static mp_value *build(mp_kind kind, mp_value *const *items, size_t count)
{
    mp_value *v = NULL;
    bool complete = true;
    size_t bytes;
    for (size_t i = 0; i < count; i++)
        complete = complete && mp__is(items[i], MP__MAGIC_VALUE);
    int r = complete ? -ENOMEM : mp_error_code(); /* the failed constructor's */
    if (complete && mp__mul(count, sizeof *items, &bytes) && (v = mp__value_alloc(kind, 0))) {
        v->seq.items = mp__alloc(bytes);
        if (v->seq.items) {
            if (count)
                memcpy(v->seq.items, items, bytes);
            v->seq.capacity = count;
            v->seq.n = kind == MP_KIND_DICT ? count / 2 : count;
            r = mp__container_finish(v);
            if (r == 0)
                return v;
            mp_value_free(v);
            return mp__null(r);
        }
        mp_value_free(v);
    }
    for (size_t i = 0; i < count; i++)
        mp_value_free(items[i]);
    return mp__null(r);
}

mp_value *mp_value_list(mp_value *const *items, size_t n)
{
    MP__CHECK_NULL(items || !n);
    return build(MP_KIND_LIST, items, n);
}

mp_value *mp_value_tuple(mp_value *const *items, size_t n)
{
    MP__CHECK_NULL(items || !n);
    return build(MP_KIND_TUPLE, items, n);
}

mp_value *mp_value_dict(mp_value *const *items, size_t n)
{
    MP__CHECK_NULL((items || !n) && n <= SIZE_MAX / 2);
    return build(MP_KIND_DICT, items, 2 * n);
}

/* ---- taking apart ---- */

mp_value *mp_value_item(const mp_value *value, size_t i)
{
    if (!mp__is(value, MP__MAGIC_VALUE) || !mp__is_container(value) || i >= value->seq.n)
        return NULL;
    return value->kind == MP_KIND_DICT ? value->seq.items[2 * i + 1] : value->seq.items[i];
}

mp_value *mp_value_key(const mp_value *value, size_t i)
{
    if (mp_value_kind(value) != MP_KIND_DICT || i >= value->seq.n)
        return NULL;
    return value->seq.items[2 * i];
}

mp_value *mp_value_lookup(const mp_value *dict, const mp_value *key)
{
    if (mp_value_kind(dict) != MP_KIND_DICT || !mp__is(key, MP__MAGIC_VALUE) ||
        !mp__value_hashable(key))
        return NULL;
    size_t pair;
    if (dict->seq.index)
        probe(dict, index_size(dict->seq.n) - 1, key, &pair);
    else
        pair = find_pair(dict, key, dict->seq.n);
    return pair == SIZE_MAX ? NULL : dict->seq.items[2 * pair + 1];
}

mp_value *mp_value_lookup_str(const mp_value *dict, const char *key)
{
    mp_value *k = mp_value_str(key);
    mp_value *found = k ? mp_value_lookup(dict, k) : NULL;
    mp_value_free(k);
    return found;
}
