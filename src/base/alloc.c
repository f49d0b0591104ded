/* SPDX-License-Identifier: MIT */
/* Owns the library's way to malloc: the fault counter stands in front of it.  Process-local. */
#include "base/fault.h"

static int faulty(void)
{
    MP__FAULT("malloc");
    return 0;
}

void *mp__alloc(size_t size)
{
    return faulty() ? NULL : malloc(size ? size : 1);
}

void *mp__alloc_zero(size_t size)
{
    return faulty() ? NULL : calloc(1, size ? size : 1);
}

void *mp__realloc(void *block, size_t size)
{
    return faulty() ? NULL : realloc(block, size ? size : 1);
}

char *mp__strdup(const char *text)
{
    size_t n = strlen(text) + 1;
    char *copy = mp__alloc(n);
    return copy ? memcpy(copy, text, n) : NULL;
}
