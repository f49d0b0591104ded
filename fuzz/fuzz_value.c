/* SPDX-License-Identifier: MIT */
/*
 * Owns the fuzz target of the value layer: any bytes are an error or a value, and a value survives
 * its encoding.
 */
#include <errno.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <multiproc.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Shared parts count each time: a few bytes can stand for 2 ** 28 items. */
#define MAX_ITEMS 20000
#define MAX_TEXT (1u << 20)

typedef struct census {
    size_t items, text;
    bool has_nan;
} census;

/* Counts what a value is as a tree, until that is too much. */
static bool take_census(const mp_value *v, census *c)
{
    double d = 0;
    size_t size = 0;
    if (++c->items > MAX_ITEMS)
        return false;
    if (mp_value_get_str(v, &size) || mp_value_get_bytes(v, &size))
        c->text += size;
    if (c->text > MAX_TEXT)
        return false;
    if (mp_value_kind(v) == MP_KIND_FLOAT && mp_value_get_float(v, &d) == 0 && isnan(d))
        c->has_nan = true;
    for (size_t i = 0; mp_value_item(v, i); i++)
        if ((mp_value_key(v, i) && !take_census(mp_value_key(v, i), c)) ||
            !take_census(mp_value_item(v, i), c))
            return false;
    return true;
}

static void must(bool condition, const char *what)
{
    if (condition)
        return;
    fprintf(stderr, "fuzz_value: %s\n", what);
    abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    mp_value *v = NULL, *again = NULL;
    mp_buffer *b = NULL;
    census c = {0};
    int order;
    int r = mp_value_decode(data, size, NULL, &v);
    if (r < 0) {
        must(v == NULL, "an error touched its result");
        must(r == -EBADMSG || r == -EILSEQ || r == MP_ELIMIT || r == MP_EUNSAFE || r == MP_ETYPE,
             "an error that is not documented");
        return 0;
    }
    bool small = take_census(v, &c);
    must(mp_value_encode(mp_value_ref(v), &b) == 0, "a decoded value cannot be encoded");
    must(mp_value_decode(mp_buffer_data(b), mp_buffer_size(b), NULL, &again) == 0,
         "an encoded value cannot be decoded");
    if (small) {
        char *text = mp_value_repr(v), *same = mp_value_repr(again);
        must(text && same && strcmp(text, same) == 0, "it prints differently after a round trip");
        must(c.has_nan || mp_value_equal(v, again), "it differs after a round trip");
        must(mp_value_compare(v, again, &order) < 0 || order == 0 || c.has_nan,
             "it is not in order");
        free(text);
        free(same);
    }
    mp_buffer_free(b);
    mp_value_free(v);
    mp_value_free(again);
    return 0;
}
