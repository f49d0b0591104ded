/* SPDX-License-Identifier: MIT */
/* Buffers: reference-counted ranges of bytes, as messages arrive in them. */
#ifndef MULTIPROC_BUFFER_H
#define MULTIPROC_BUFFER_H

#include <multiproc/base.h>

MULTIPROC_BEGIN

/**
 * A buffer of `size` bytes, not initialised.  NULL with ENOMEM when there is no memory.  Written by
 * its creator before it is shared, read-only from then on.
 */
MULTIPROC_API mp_buffer *mp_buffer_new(size_t size);

/** A buffer with a copy of `size` bytes at `data`. */
MULTIPROC_API mp_buffer *mp_buffer_copy(const void *data, size_t size);

/** The bytes; valid as long as a reference is held.  Aligned for any type. */
MULTIPROC_API void *mp_buffer_data(const mp_buffer *buffer);

/** The number of bytes. */
MULTIPROC_API size_t mp_buffer_size(const mp_buffer *buffer);

/** One more reference to the same buffer; returns it. */
MULTIPROC_API mp_buffer *mp_buffer_ref(mp_buffer *buffer);

/** Gives a reference back; the last one gives the memory back. */
MULTIPROC_API void mp_buffer_free(mp_buffer *buffer);

MULTIPROC_END

#endif
