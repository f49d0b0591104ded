/* SPDX-License-Identifier: MIT */
/* Connections, as the layers above see them. */
#ifndef MP__CONNECTION_H
#define MP__CONNECTION_H

#include <multiproc/connection.h>

#include "channel/message.h"

/* As mp_connection_from_fd(). */
MP__HIDDEN int mp__connection_open(int fd, bool readable, bool writable,
                                   mp_connection **ret_connection);

/* Of a stream: the largest message that is received, in bytes. */
MP__HIDDEN void mp__connection_limit(mp_connection *connection, size_t limit);

/* For messages: the descriptor, which stays open until mp__connection_leave(). */
MP__HIDDEN int mp__connection_enter(mp_connection *connection);
MP__HIDDEN void mp__connection_leave(mp_connection *connection);

MP__HIDDEN bool mp__connection_has_kept(mp_connection *connection);

/* Waits for descriptors until the deadline: >0, 0 when it passed, or an error. */
MP__HIDDEN int mp__poll_until(mp__pollfd *fds, size_t n, mp__deadline deadline);

#endif
