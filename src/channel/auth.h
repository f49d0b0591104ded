/* SPDX-License-Identifier: MIT */
/*
 * The proof that both ends of a connection have the same key, as Python's multiprocessing.connection does it
 * (3.12 and later; before that with md5): each end sends random bytes, and the other one answers with their
 * HMAC under the key.  Nothing here sends or receives: messages go in, messages come out.
 */
#ifndef MP__AUTH_H
#define MP__AUTH_H

#include "os/os.h"

#define MP__AUTH_MESSAGE 256 /* the largest message, in bytes */
#define MP__KEY_SIZE 256

typedef struct mp__key {
    unsigned char bytes[MP__KEY_SIZE];
    size_t size;
    bool used, allow_md5;
} mp__key;

/* 0; -EINVAL; -EOPNOTSUPP in a build without libcrypto. */
MP__HIDDEN int mp__key_set(mp__key *key, const void *bytes, size_t size, bool allow_md5);
MP__HIDDEN void mp__key_wipe(mp__key *key);

typedef struct mp__auth {
    const mp__key *key;
    enum { MP__AUTH_CHALLENGE = 1, MP__AUTH_ANSWER = 2, MP__AUTH_WELCOME = 4 } expects;
    bool listens;
    unsigned char challenge[64]; /* what we sent, without its head */
    size_t challenge_size;
} mp__auth;

typedef struct mp__auth_out {
    unsigned char bytes[MP__AUTH_MESSAGE];
    size_t size; /* 0: nothing to send */
} mp__auth_out;

/* The beginning; a listener has something to send. */
MP__HIDDEN int mp__auth_begin(mp__auth *auth, const mp__key *key, bool listens, mp__auth_out *out);

/* A message came: 0 to go on, 1: both have proved it; -EACCES, -EPROTO.  What is in `out` is sent in any
 * case. */
MP__HIDDEN int mp__auth_message(mp__auth *auth, const void *data, size_t size, mp__auth_out *out);

#endif
