/* SPDX-License-Identifier: MIT */
/*
 * Owns a filter that test_pickle.py talks to, over the public interface only.  A message on
 * standard input is a size (4 bytes, little-endian) and a pickle; its answer is a status (4 bytes,
 * signed), and when that is zero two blobs with their sizes: the value encoded again, and its repr.
 */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <multiproc.h>

static void put32(uint32_t n)
{
    for (int i = 0; i < 4; i++)
        putchar((int)(n >> (8 * i) & 0xff));
}

static bool get32(uint32_t *ret)
{
    unsigned char bytes[4];
    if (fread(bytes, 1, 4, stdin) != 4)
        return false;
    *ret = bytes[0] | (uint32_t)bytes[1] << 8 | (uint32_t)bytes[2] << 16 | (uint32_t)bytes[3] << 24;
    return true;
}

static void put_blob(const void *data, size_t size)
{
    put32((uint32_t)size);
    fwrite(data, 1, size, stdout);
}

static void answer(const void *pickle, size_t size)
{
    mp_value *v = NULL;
    mp_buffer *again = NULL;
    int r = mp_value_decode(pickle, size, NULL, &v);
    char *text = r == 0 ? mp_value_repr(v) : NULL;
    if (r == 0)
        r = text ? mp_value_encode(v, &again) : mp_error_code();
    put32((uint32_t)r);
    if (r == 0) {
        put_blob(mp_buffer_data(again), mp_buffer_size(again));
        put_blob(text, strlen(text));
    }
    mp_buffer_free(again);
    free(text);
    fflush(stdout);
}

int main(void)
{
    uint32_t size;
    while (get32(&size)) {
        char *pickle = malloc(size ? size : 1); /* exactly, so that a sanitizer sees the end */
        if (!pickle || fread(pickle, 1, size, stdin) != size) {
            free(pickle);
            return 1;
        }
        answer(pickle, size);
        free(pickle);
    }
    return 0;
}
