/* SPDX-License-Identifier: MIT */
/*
 * Owns the form of messages on packet sockets (message.h) and the memory files of big ones.  The
 * receiver believes nothing: the frame's size must match what came, and a memory file must be
 * sealed against shrinking and be as large as it says, before it is mapped.
 *
 * A sender that is killed has sent the packet or not; its memory file goes with its last
 * descriptor.
 */
#include "channel/message.h"

/* ---- scratch memory for packets whose size is not known before they are received ---- */

static void *_Atomic scratch_cache[4];

static char *scratch_take(void)
{
    for (size_t i = 0; i < MP__COUNT_OF(scratch_cache); i++) {
        char *p = atomic_exchange(&scratch_cache[i], NULL);
        if (p)
            return p;
    }
    return mp__alloc(MP__BIG_FROM);
}

static void scratch_give(char *p)
{
    for (size_t i = 0; p && i < MP__COUNT_OF(scratch_cache); i++) {
        void *empty = NULL;
        if (atomic_compare_exchange_strong(&scratch_cache[i], &empty, p))
            return;
    }
    free(p);
}

/* ---- sending ---- */

static void start(mp__outgoing *out, size_t size)
{
    out->frame = (mp__frame){MP__FRAME_MAGIC, 0, size};
    out->packet.iov[0] = (struct iovec){&out->frame, sizeof out->frame};
    out->packet.niov = 1;
    out->packet.nfds = 0;
    mp__attachments_init(&out->attachments, 0);
    out->bytes = NULL;
    out->file = -1;
}

static void add_bytes(mp__outgoing *out, const void *data, size_t size)
{
    out->packet.iov[1] = (struct iovec){(void *)(uintptr_t)data, size};
    out->packet.niov = 2;
}

static int make_file(mp__outgoing *out, size_t size)
{
    int fd = mp__os_memfd("multiproc message", true);
    if (fd < 0)
        return mp__fail(fd, "a message of %zu bytes needs a memory file", size);
    out->file = fd;
    out->frame.flags = MP__FRAME_BIG;
    return mp__os_resize(fd, size);
}

static int collect_descriptors(mp__outgoing *out)
{
    int first = out->file >= 0, n = out->attachments.n;
    if (n + first > MP__MAX_FDS)
        return mp__fail(-E2BIG, "a message can carry at most %d descriptors", MP__MAX_FDS);
    if (first)
        out->packet.fds[0] = out->file;
    if (n)
        memcpy(out->packet.fds + first, out->attachments.fds, sizeof(int) * (size_t)n);
    out->packet.nfds = n + first;
    return 0;
}

int mp__outgoing_bytes(mp__outgoing *out, const void *data, size_t size)
{
    start(out, size);
    if (size < MP__BIG_FROM) {
        add_bytes(out, data, size);
        return 0;
    }
    int r = make_file(out, size);
    if (r == 0)
        r = mp__os_write_at(out->file, data, size, 0);
    if (r == 0)
        r = mp__os_seal(out->file);
    if (r == 0)
        r = collect_descriptors(out);
    if (r < 0)
        mp__outgoing_release(out, false);
    return r;
}

/* From the parts into scratch memory, or into the file: one copy. */
int mp__outgoing_parts(mp__outgoing *out, const mp_bytes *parts, size_t n)
{
    size_t size = 0, at = 0;
    int r = 0;
    for (size_t i = 0; i < n; i++)
        if (!mp__add(size, parts[i].size, &size) || size > SIZE_MAX / 2)
            return mp__fail(-E2BIG, "a message is too long");
    if (n == 1)
        return mp__outgoing_bytes(out, parts[0].data, size);
    start(out, size);
    if (size < MP__BIG_FROM) {
        out->bytes = scratch_take();
        for (size_t i = 0; out->bytes && i < n; at += parts[i++].size)
            if (parts[i].size)
                memcpy(out->bytes + at, parts[i].data, parts[i].size);
        add_bytes(out, out->bytes, size);
        return out->bytes ? 0 : -ENOMEM;
    }
    r = make_file(out, size);
    for (size_t i = 0; r == 0 && i < n; at += parts[i++].size)
        r = mp__os_write_at(out->file, parts[i].data, parts[i].size, at);
    if (r == 0)
        r = mp__os_seal(out->file);
    if (r == 0)
        r = collect_descriptors(out);
    if (r < 0)
        mp__outgoing_release(out, false);
    return r;
}

/* The pickle goes straight into the mapped file: one copy of what the value holds. */
static int write_mapped(mp__outgoing *out, mp__pickle_plan *plan, const mp_value *value)
{
    void *address;
    int r = mp__os_reserve(out->file, plan->size);
    if (r == 0)
        r = mp__os_map_shared(out->file, plan->size, &address);
    if (r < 0)
        return r;
    r = mp__pickle_write(plan, value, address, &out->attachments);
    mp__os_unmap(address, plan->size);
    return r;
}

/* By way of the heap, without a mapping that a fork of another thread could inherit. */
static int write_copied(mp__outgoing *out, mp__pickle_plan *plan, const mp_value *value)
{
    void *bytes = mp__alloc(plan->size);
    int r = bytes ? mp__pickle_write(plan, value, bytes, &out->attachments) : -ENOMEM;
    if (r == 0)
        r = mp__os_write_at(out->file, bytes, plan->size, 0);
    free(bytes);
    return r;
}

static int write_file(mp__outgoing *out, mp__pickle_plan *plan, const mp_value *value)
{
    int r = make_file(out, plan->size);
    if (r == 0)
        r = write_mapped(out, plan, value);
    if (r == 0)
        r = mp__os_seal(out->file);
    if (r != -EBUSY)
        return r;
    /* Another thread forked before the mapping was marked as not to be inherited. */
    mp__attachments_release(&out->attachments, false);
    mp__os_close(out->file);
    r = make_file(out, plan->size);
    if (r == 0)
        r = write_copied(out, plan, value);
    return r < 0 ? r : mp__os_seal(out->file);
}

int mp__outgoing_value(mp__outgoing *out, const mp_value *value)
{
    mp__pickle_plan plan;
    int r = mp__pickle_plan_make(value, &plan);
    if (r < 0)
        return r;
    start(out, plan.size);
    if (plan.size < MP__BIG_FROM) {
        out->bytes = scratch_take();
        r = out->bytes ? mp__pickle_write(&plan, value, out->bytes, &out->attachments) : -ENOMEM;
        add_bytes(out, out->bytes, plan.size);
    } else {
        r = write_file(out, &plan, value);
    }
    mp__pickle_plan_free(&plan);
    if (r == 0)
        r = collect_descriptors(out);
    if (r < 0)
        mp__outgoing_release(out, false);
    return r;
}

void mp__outgoing_release(mp__outgoing *out, bool delivered)
{
    scratch_give(out->bytes);
    mp__os_close(out->file);
    mp__attachments_release(&out->attachments, delivered);
    out->bytes = NULL;
    out->file = -1;
}

/* ---- receiving ---- */

static void unmap(void *context, void *data, size_t size)
{
    (void)context;
    mp__os_unmap(data, size);
}

static int check_file(int fd, uint64_t size)
{
    uint64_t have;
    int r = mp__os_file_size(fd, &have);
    if (r < 0)
        return r;
    if (!mp__os_is_sealed(fd, true) || have < size || size > SIZE_MAX / 2)
        return mp__fail(-EBADMSG, "a message's memory file is not what its frame says");
    return 0;
}

static int map_file(int fd, uint64_t size, mp_buffer **ret_buffer)
{
    void *address;
    int r = mp__os_map_copy(fd, (size_t)size, &address);
    if (r < 0)
        return r;
    mp_buffer *buffer = mp__buffer_wrap(address, (size_t)size, unmap, NULL);
    if (!buffer) {
        mp__os_unmap(address, (size_t)size);
        return -ENOMEM;
    }
    *ret_buffer = buffer;
    return 0;
}

static int keep(mp_buffer *buffer, const mp__attachments *attachments, mp__message **ret_message)
{
    mp__message *m = mp__alloc(sizeof *m);
    if (!m)
        return -ENOMEM;
    m->next = NULL;
    m->buffer = buffer;
    mp__attachments_init(&m->attachments, 0);
    m->attachments.n = attachments->n;
    if (attachments->n)
        memcpy(m->attachments.fds, attachments->fds, sizeof(int) * (size_t)attachments->n);
    m->fork_count = atomic_load(&mp__fork_count);
    *ret_message = m;
    return 0;
}

int mp__message_of(mp_buffer *buffer, mp__message **ret_message)
{
    mp__attachments none;
    mp__attachments_init(&none, 0);
    return keep(buffer, &none, ret_message);
}

/* The message of a packet that was received whole; `overflow` holds what `data` had no room for. */
static int take_apart(mp__packet *packet, const mp__frame *frame, void *data, size_t capacity,
                      const char *overflow, mp__message **ret_message, mp__attachments *attachments)
{
    mp_buffer *buffer = NULL;
    int r = 0;
    bool big = frame->flags == MP__FRAME_BIG;
    if (packet->size < sizeof *frame || frame->magic != MP__FRAME_MAGIC || frame->flags > 1 ||
        (big ? packet->nfds < 1
             : frame->size >= MP__BIG_FROM || packet->size != sizeof *frame + frame->size))
        r = mp__fail(-EBADMSG, "a packet of %zu bytes is not a message", packet->size);
    if (packet->fds_lost)
        r = mp__fail(-EMFILE, "a message brought descriptors and there was no room for them; the "
                              "message is lost");
    mp__attachments_init(attachments, 0);
    for (int i = big; i < packet->nfds; i++)
        attachments->fds[attachments->n++] = packet->fds[i];
    size_t size = (size_t)frame->size;
    if (r == 0 && big) {
        r = check_file(packet->fds[0], frame->size);
        if (r == 0)
            r = size <= capacity ? mp__os_read_at(packet->fds[0], data, size, 0)
                                 : map_file(packet->fds[0], frame->size, &buffer);
    } else if (r == 0 && size > capacity) {
        buffer = mp_buffer_new(size);
        if (buffer) {
            if (capacity)
                memcpy(buffer->data, data, capacity);
            memcpy((char *)buffer->data + capacity, overflow, size - capacity);
        } else {
            r = -ENOMEM;
        }
    }
    if (big && packet->nfds > 0)
        mp__os_close(packet->fds[0]);
    if (r == 0 && buffer) {
        r = keep(buffer, attachments, ret_message);
        if (r == 0)
            attachments->n = 0; /* they are the message's now */
    }
    if (r < 0) {
        mp_buffer_free(buffer);
        mp__attachments_close(attachments);
    }
    return r;
}

int mp__message_receive(int fd, bool wait, void *data, size_t capacity, size_t *ret_size,
                        mp__message **ret_message, mp__attachments *attachments)
{
    mp__frame frame = {0};
    mp__packet packet;
    char *overflow = NULL;
    size_t direct = capacity < MP__BIG_FROM ? capacity : MP__BIG_FROM;
    *ret_message = NULL;
    if (direct < MP__BIG_FROM && !(overflow = scratch_take()))
        return -ENOMEM;
    packet.iov[0] = (struct iovec){&frame, sizeof frame};
    packet.iov[1] = (struct iovec){data, direct};
    packet.iov[2] = (struct iovec){overflow, overflow ? MP__BIG_FROM - direct : 0};
    packet.niov = overflow ? 3 : 2;
    int r = mp__os_packet_receive(fd, &packet, wait);
    if (r == 0) {
        r = take_apart(&packet, &frame, data, capacity, overflow, ret_message, attachments);
        *ret_size = (size_t)frame.size;
    }
    scratch_give(overflow);
    return r;
}

void mp__message_free(mp__message *message)
{
    if (!message)
        return;
    mp_buffer_free(message->buffer);
    mp__attachments_close(&message->attachments);
    free(message);
}

int mp__message_value(const void *data, size_t size, mp_buffer *owner, mp__attachments *attachments,
                      mp_value **ret_value)
{
    mp__pickle_source source = {.data = data,
                                .size = size,
                                .owner = owner,
                                .attachments = attachments,
                                .import = mp__handle_import};
    return mp__pickle_read(&source, ret_value);
}
