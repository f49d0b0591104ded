/* SPDX-License-Identifier: MIT */
/* Buffers, as the other layers see them: bytes with an owner that gives them back. */
#ifndef MP__BUFFER_H
#define MP__BUFFER_H

#include <multiproc/buffer.h>

#include "base/base.h"

typedef void mp__buffer_release(void *context, void *data, size_t size);

struct mp_buffer {
    mp__head head;
    void *data;
    size_t size;
    mp__buffer_release *release; /* NULL: the bytes stand behind this struct */
    void *context;
};

/* A buffer over bytes that `release` gives back; on failure they stay the caller's. */
MP__HIDDEN mp_buffer *mp__buffer_wrap(void *data, size_t size, mp__buffer_release *release,
                                      void *context);

#endif
