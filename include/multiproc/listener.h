/* SPDX-License-Identifier: MIT */
/*
 * Listeners and clients: connections between any two programs, on this machine or between machines.
 *
 * What goes over the wire is what Python's multiprocessing.connection speaks: framed messages, and, with a
 * key, a challenge in both directions before the first of them.  A C program talks to a Python Client or
 * Listener, and a Python program to these.
 *
 * Addresses are texts:
 *
 *   "host:port", "[::1]:port"   TCP.  ":port" is the port on 127.0.0.1; port 0 is one that is free
 *   "/path", "./path"           a Unix socket in the file system
 *   "@name"                     a Unix socket in Linux's abstract name space
 *
 * The key proves that both sides know it.  It does not hide what is said: over networks that others can
 * read, use a tunnel.  C programs never execute anything from a message.  Python programs unpickle what
 * they receive, so whoever has the key can run code in them.
 */
#ifndef MULTIPROC_LISTENER_H
#define MULTIPROC_LISTENER_H

#include <multiproc/base.h>

MULTIPROC_BEGIN

typedef struct mp_listener mp_listener;

typedef struct mp_listener_options {
    size_t size;        /* sizeof(mp_listener_options) */
    const void *key;    /* copied; NULL: whoever can reach the address is welcome */
    size_t key_size;    /* in bytes, at most 256 */
    int backlog;        /* connections that the system holds before they are accepted; 0: 128 */
    mp_time handshake;  /* how long a peer may take to prove that it has the key; 0: 10 seconds */
    unsigned half_open; /* peers that may be proving it at once; more wait in the system; 0: 256 */
    int allow_md5;      /* 1: also peers that know md5 only: Python before 3.12 */
} mp_listener_options;

#define MP_LISTENER_OPTIONS_INIT                         \
    {                                                    \
        sizeof(mp_listener_options), NULL, 0, 0, 0, 0, 0 \
    }

/**
 * Listens at an address (NULL: an abstract one that nobody has).  `options` may be NULL: no key.
 * NULL with EINVAL for what is no address or too long a key, EADDRINUSE, EADDRNOTAVAIL, EACCES, EMFILE,
 * ENOMEM; ENOENT for a host that has no address; EOPNOTSUPP for a key when the library was built without
 * libcrypto.
 */
MULTIPROC_API mp_listener *mp_listener_new(const char *address, const mp_listener_options *options);

/**
 * The next peer that is connected and, if there is a key, has proved that it has it.  Peers prove that
 * beside each other: slow ones do not hold up others, and are dropped when their time is up, as are those
 * that hang up.  -ETIMEDOUT; -EACCES: a peer has another key, or what it said made no sense (mp_error_detail()
 * says who and what), and the next call goes on; MP_ECLOSED; -EMFILE, -ENFILE, -ENOMEM.
 * One thread at a time accepts; others wait.
 */
MULTIPROC_API int mp_listener_accept(mp_listener *listener, mp_connection **ret_connection,
                                     mp_time timeout);

/** Where it listens, in a form that clients can use; lives as long as the listener. */
MULTIPROC_API const char *mp_listener_address(const mp_listener *listener);

/** Where the last accepted peer came from; an empty text for Unix sockets without a name.  Until the next
 *  accept. */
MULTIPROC_API const char *mp_listener_last_accepted(const mp_listener *listener);

/** A descriptor for poll, select and epoll: readable when an accept with MP_NOWAIT has something to do, which
 *  need not be a peer yet.  Time limits of peers are looked after in accept only.  Stays the listener's. */
MULTIPROC_API int mp_listener_fd(const mp_listener *listener);

/** Stops listening; a Unix socket's path is removed.  Connections that were accepted go on. */
MULTIPROC_API int mp_listener_close(mp_listener *listener);

/** One more reference; returns it. */
MULTIPROC_API mp_listener *mp_listener_ref(mp_listener *listener);

/** Gives a reference back; the last one closes. */
MULTIPROC_API void mp_listener_free(mp_listener *listener);

typedef struct mp_client_options {
    size_t size;     /* sizeof(mp_client_options) */
    const void *key; /* what the listener's is; NULL: none */
    size_t key_size; /* in bytes, at most 256 */
    mp_time timeout; /* for the connection and the proof of the key; 0: 20 seconds */
    int allow_md5;   /* 1: also listeners that know md5 only: Python before 3.12 */
} mp_client_options;

#define MP_CLIENT_OPTIONS_INIT                   \
    {                                            \
        sizeof(mp_client_options), NULL, 0, 0, 0 \
    }

/**
 * Connects to a listener.  NULL with EINVAL, ENOENT (no such path or host), ECONNREFUSED, EHOSTUNREACH and its
 * like, ETIMEDOUT; EACCES: the listener refused the key, or could not prove that it has it; EPROTO: what
 * answered is no such listener, or hung up; EMFILE, ENOMEM, EOPNOTSUPP as for a listener.
 */
MULTIPROC_API mp_connection *mp_client(const char *address, const mp_client_options *options);

MULTIPROC_END

#endif
