/* SPDX-License-Identifier: MIT */
/* Owns mp_buffer.  Process-local; the count is atomic, so threads may share one. */
#include "value/buffer.h"

/* Bytes start at a multiple of this, as malloc's do. */
#define ALIGNMENT 16
#define HEADER ((sizeof(mp_buffer) + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT)

mp_buffer *mp_buffer_new(size_t size)
{
    size_t total;
    mp_buffer *b = mp__add(size, HEADER, &total) ? mp__alloc(total) : NULL;
    if (!b)
        return mp__null(-ENOMEM);
    mp__head_init(&b->head, MP__MAGIC_BUFFER);
    b->data = (char *)b + HEADER;
    b->size = size;
    b->release = NULL;
    b->context = NULL;
    return b;
}

mp_buffer *mp_buffer_copy(const void *data, size_t size)
{
    MP__CHECK_NULL(data || !size);
    mp_buffer *b = mp_buffer_new(size);
    if (b && size)
        memcpy(b->data, data, size);
    return b;
}

mp_buffer *mp__buffer_wrap(void *data, size_t size, mp__buffer_release *release, void *context)
{
    mp_buffer *b = mp__alloc(sizeof *b);
    if (!b)
        return mp__null(-ENOMEM);
    mp__head_init(&b->head, MP__MAGIC_BUFFER);
    b->data = data;
    b->size = size;
    b->release = release;
    b->context = context;
    return b;
}

void *mp_buffer_data(const mp_buffer *buffer)
{
    MP__CHECK_NULL(mp__is(buffer, MP__MAGIC_BUFFER));
    return buffer->data;
}

size_t mp_buffer_size(const mp_buffer *buffer)
{
    return mp__is(buffer, MP__MAGIC_BUFFER) ? buffer->size : 0;
}

mp_buffer *mp_buffer_ref(mp_buffer *buffer)
{
    MP__CHECK_NULL(mp__is(buffer, MP__MAGIC_BUFFER));
    mp__head_ref(&buffer->head);
    return buffer;
}

void mp_buffer_free(mp_buffer *buffer)
{
    if (!mp__is(buffer, MP__MAGIC_BUFFER) || !mp__head_unref(&buffer->head))
        return;
    if (buffer->release)
        buffer->release(buffer->context, buffer->data, buffer->size);
    free(buffer);
}
