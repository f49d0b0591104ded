/* SPDX-License-Identifier: MIT */
/*
 * Owns the proof of the key (auth.h).  HMAC and the comparison in constant time are libcrypto's; in a build
 * without it there are no keys.  Process-local; a process that is killed inside has hung up.
 */
#include "channel/auth.h"

#include <stdio.h>

#ifdef MULTIPROC_CRYPTO
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#endif

#define CHALLENGE "#CHALLENGE#"
#define WELCOME "#WELCOME#"
#define FAILURE "#FAILURE#"
#define DIGEST "{sha256}"
#define RANDOM 40 /* bytes of a challenge */
#define OLD_CHALLENGE 20
#define OLD_ANSWER 16
#define MOST_DIGEST 64

/* ---- keys ---- */

int mp__key_set(mp__key *key, const void *bytes, size_t size, bool allow_md5)
{
    *key = (mp__key){.used = bytes != NULL, .size = size, .allow_md5 = allow_md5};
    if (!bytes)
        return 0;
    if (!size || size > MP__KEY_SIZE)
        return mp__fail(-EINVAL, "a key has 1 to %d bytes, not %zu", MP__KEY_SIZE, size);
    memcpy(key->bytes, bytes, size);
#ifdef MULTIPROC_CRYPTO
    return 0;
#else
    return mp__fail(-EOPNOTSUPP,
                    "this build of the library has no libcrypto, so it cannot use keys");
#endif
}

void mp__key_wipe(mp__key *key)
{
#ifdef MULTIPROC_CRYPTO
    OPENSSL_cleanse(key, sizeof *key);
#else
    memset(key, 0, sizeof *key);
#endif
}

/* ---- digests ---- */

static const char *const digest_names[] = {"md5", "sha256", "sha384", "sha3_256", "sha3_384"};

/* The HMAC of a message; its size, 0 when there is no such digest. */
static size_t digest(const mp__key *key, int which, const void *data, size_t size,
                     unsigned char *ret_digest)
{
#ifdef MULTIPROC_CRYPTO
    const EVP_MD *const kinds[] = {EVP_md5(), EVP_sha256(), EVP_sha384(), EVP_sha3_256(),
                                   EVP_sha3_384()};
    unsigned n = 0;
    return HMAC(kinds[which], key->bytes, (int)key->size, data, size, ret_digest, &n) ? n : 0;
#else
    (void)key, (void)which, (void)data, (void)size, (void)ret_digest;
    return 0;
#endif
}

static bool same(const void *a, const void *b, size_t size)
{
#ifdef MULTIPROC_CRYPTO
    return CRYPTO_memcmp(a, b, size) == 0;
#else
    (void)a, (void)b, (void)size;
    return false;
#endif
}

/* The "{name}" at the head of a message: its place in digest_names and how many bytes it takes; -1. */
static int read_name(const unsigned char *data, size_t size, size_t *ret_size)
{
    for (int i = 0; i < (int)MP__COUNT_OF(digest_names); i++) {
        size_t n = strlen(digest_names[i]);
        if (size > n + 1 && data[0] == '{' && data[n + 1] == '}' &&
            memcmp(data + 1, digest_names[i], n) == 0) {
            *ret_size = n + 2;
            return i;
        }
    }
    return -1;
}

static int may_use(const mp__key *key, int which)
{
    if (which == 0 && !key->allow_md5)
        return mp__fail(-EACCES,
                        "the other side knows md5 only (Python before 3.12?), and that is not "
                        "allowed here");
    return 0;
}

/* ---- messages ---- */

static void say(mp__auth_out *out, const char *text)
{
    out->size = strlen(text);
    memcpy(out->bytes, text, out->size);
}

static int send_challenge(mp__auth *a, mp__auth_out *out)
{
    size_t head = strlen(CHALLENGE), name = strlen(DIGEST);
    memcpy(a->challenge, DIGEST, name);
    int r = mp__os_random(a->challenge + name, RANDOM);
    if (r < 0)
        return r;
    a->challenge_size = name + RANDOM;
    memcpy(out->bytes, CHALLENGE, head);
    memcpy(out->bytes + head, a->challenge, a->challenge_size);
    out->size = head + a->challenge_size;
    return 0;
}

int mp__auth_begin(mp__auth *a, const mp__key *key, bool listens, mp__auth_out *out)
{
    *a = (mp__auth){.key = key, .listens = listens};
    a->expects = listens ? MP__AUTH_ANSWER : MP__AUTH_CHALLENGE;
    out->size = 0;
    return listens ? send_challenge(a, out) : 0;
}

/* Their challenge: our answer to it. */
static int answer(mp__auth *a, const unsigned char *data, size_t size, mp__auth_out *out)
{
    size_t head = strlen(CHALLENGE), name = 0, n;
    unsigned char mac[MOST_DIGEST];
    if (size < head || memcmp(data, CHALLENGE, head) != 0)
        return mp__fail(-EPROTO,
                        "what came is no challenge: the other side has no key, or is none of us");
    data += head;
    size -= head;
    int which = size == OLD_CHALLENGE ? 0 : read_name(data, size, &name);
    if (which < 0)
        return mp__fail(-EPROTO,
                        "the other side's challenge asks for a digest that is not known here");
    int r = may_use(a->key, which);
    if (r < 0)
        return r;
    n = digest(a->key, which, data, size, mac);
    if (!n)
        return mp__fail(-EACCES, "libcrypto does not do %s", digest_names[which]);
    out->size = (size_t)(name ? snprintf((char *)out->bytes, 32, "{%s}", digest_names[which]) : 0);
    memcpy(out->bytes + out->size, mac, n);
    out->size += n;
    a->expects = MP__AUTH_WELCOME;
    return 0;
}

/* Their answer to our challenge. */
static int check(mp__auth *a, const unsigned char *data, size_t size, mp__auth_out *out)
{
    unsigned char mac[MOST_DIGEST];
    size_t name = 0;
    int which = size == OLD_ANSWER ? 0 : read_name(data, size, &name);
    int r =
        which < 0 ? mp__fail(-EACCES, "the other side's answer is none") : may_use(a->key, which);
    size_t n = r == 0 ? digest(a->key, which, a->challenge, a->challenge_size, mac) : 0;
    if (r == 0 && (!n || size - name != n || !same(data + name, mac, n)))
        r = mp__fail(-EACCES, "the other side has another key");
    if (r < 0) {
        say(out, FAILURE);
        return r;
    }
    say(out, WELCOME);
    a->expects = MP__AUTH_CHALLENGE;
    return a->listens ? 0 : 1;
}

static int check_welcome(mp__auth *a, const unsigned char *data, size_t size, mp__auth_out *out)
{
    if (size == strlen(FAILURE) && memcmp(data, FAILURE, size) == 0)
        return mp__fail(-EACCES, "the other side refused the key");
    if (size != strlen(WELCOME) || memcmp(data, WELCOME, size) != 0)
        return mp__fail(-EPROTO, "what came is no welcome");
    if (a->listens)
        return 1;
    a->expects = MP__AUTH_ANSWER;
    return send_challenge(a, out);
}

int mp__auth_message(mp__auth *a, const void *data, size_t size, mp__auth_out *out)
{
    out->size = 0;
    if (size > MP__AUTH_MESSAGE)
        return mp__fail(-EPROTO, "a message of %zu bytes is none of a handshake", size);
    return a->expects == MP__AUTH_CHALLENGE ? answer(a, data, size, out)
           : a->expects == MP__AUTH_ANSWER  ? check(a, data, size, out)
                                            : check_welcome(a, data, size, out);
}
