/* SPDX-License-Identifier: MIT */
/*
 * Owns the C side of test_wire.py: a listener that echoes, a client, a manager's server and a manager's
 * client, over the public interface only.  wire_peer MODE ADDRESS KEY [md5]
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <multiproc.h>

static int trouble(const char *what)
{
    printf("%s: %s: %s\n", what, mp_error_name(mp_error_code()), mp_error_detail());
    return 1;
}

static void print(mp_value *v)
{
    char *repr = mp_value_repr(v);
    puts(repr ? repr : "?");
    free(repr);
    mp_value_free(v);
    fflush(stdout);
}

/* Echoes the messages of one connection after the other, for ever. */
static int listen_at(const char *address, const char *key, int md5)
{
    mp_listener_options o = MP_LISTENER_OPTIONS_INIT;
    o.key = *key ? key : NULL;
    o.key_size = strlen(key);
    o.allow_md5 = md5;
    mp_listener *l = mp_listener_new(address, &o);
    if (!l)
        return trouble("listen");
    puts(mp_listener_address(l));
    fflush(stdout);
    for (;;) {
        mp_connection *c;
        mp_buffer *b;
        int r = mp_listener_accept(l, &c, MP_FOREVER);
        printf("%s %s\n", mp_error_name(r), r < 0 ? mp_error_detail() : "");
        fflush(stdout);
        if (r < 0)
            continue;
        while (mp_connection_recv_buffer(c, &b, MP_FOREVER) == 0) {
            mp_connection_send_bytes(c, mp_buffer_data(b), mp_buffer_size(b), MP_FOREVER);
            mp_buffer_free(b);
        }
        mp_connection_free(c);
    }
}

/* Says hello, and prints what comes until the end. */
static int connect_to(const char *address, const char *key, int md5)
{
    mp_client_options o = MP_CLIENT_OPTIONS_INIT;
    mp_value *v;
    o.key = *key ? key : NULL;
    o.key_size = strlen(key);
    o.allow_md5 = md5;
    mp_connection *c = mp_client(address, &o);
    if (!c)
        return trouble("connect");
    mp_value *items[] = {mp_value_int(42), mp_value_none(), mp_value_str("hello")};
    mp_connection_send(c, mp_value_list(items, 3), MP_FOREVER);
    int r;
    while ((r = mp_connection_recv(c, &v, MP_FOREVER)) != MP_EOF) {
        if (r < 0)
            printf("%s\n", mp_error_name(r));
        else
            print(v);
        fflush(stdout);
    }
    mp_connection_free(c);
    return 0;
}

/* ---- managers ---- */

static void *greeter_create(const mp_value *args, const mp_value *kwargs)
{
    size_t size;
    const mp_value *name = mp_value_lookup_str(kwargs, "name");
    if (mp_value_len(args) || mp_value_kind(name) != MP_KIND_STR)
        return mp_manager_raise("TypeError", "a Greeter takes the name only");
    return strdup(mp_value_get_str(name, &size));
}

static mp_value *greet(void *object, const mp_value *args, const mp_value *kwargs)
{
    char text[200];
    size_t size;
    const mp_value *word = mp_value_item(args, 0);
    (void)kwargs;
    if (mp_value_kind(word) != MP_KIND_STR)
        return mp_manager_raise("ValueError", "a greeting is a word");
    snprintf(text, sizeof text, "%s, %s", mp_value_get_str(word, &size), (char *)object);
    return mp_value_str(text);
}

static const mp_method greeter_methods[] = {{"greet", greet}, {NULL, NULL}};
static mp_manager_type greeter = {"Greeter", greeter_create, free, greeter_methods, NULL};

static void ready(void *data, const char *address)
{
    (void)data;
    puts(address);
    fflush(stdout);
}

static int serve(const char *address, const char *key, int md5)
{
    mp_manager_options o = MP_MANAGER_OPTIONS_INIT;
    o.address = address;
    o.key = *key ? key : NULL;
    o.key_size = strlen(key);
    o.allow_md5 = md5;
    mp_manager_register(&greeter);
    return mp_manager_serve(&o, ready, NULL) < 0 ? trouble("serve") : 0;
}

/* Each word on standard input: type.method and a number or a word as the argument. */
static int use(const char *address, const char *key, int md5)
{
    mp_client_options o = MP_CLIENT_OPTIONS_INIT;
    char type[64], method[64], arg[64];
    o.key = *key ? key : NULL;
    o.key_size = strlen(key);
    o.allow_md5 = md5;
    mp_manager *m = mp_manager_connect_with(address, &o);
    mp_proxy *p = NULL;
    if (!m)
        return trouble("manager");
    while (scanf("%63s %63s %63s", type, method, arg) == 3) {
        if (!p || strcmp(mp_proxy_type(p), type) != 0) {
            mp_proxy_free(p);
            p = mp_manager_create(m, type, NULL);
            if (!p) {
                printf("%s\n", mp_error_detail());
                continue;
            }
        }
        mp_value *a = strcmp(arg, "-") == 0                      ? NULL
                      : strspn(arg, "0123456789") == strlen(arg) ? mp_value_int(atoll(arg))
                                                                 : mp_value_str(arg);
        mp_value *args = a ? mp_value_tuple(&a, 1) : NULL, *result;
        if (strcmp(method, "__setitem__") == 0) {
            mp_value *two[] = {mp_value_str(arg), mp_value_int(1)};
            mp_value_free(args);
            args = mp_value_tuple(two, 2);
        }
        int r = mp_proxy_call(p, method, args, NULL, &result, MP_SECONDS(20));
        if (r < 0) {
            printf("%s %s\n", mp_error_name(r), mp_error_detail());
        } else if (mp_value_kind(result) == MP_KIND_TUPLE &&
                   mp_value_len(result) == 4) { /* a token: an iterator */
            mp_proxy *it = mp_manager_proxy(m, result);
            while (it && mp_proxy_call(it, "__next__", NULL, NULL, &result, MP_SECONDS(20)) == 0)
                print(result);
            puts(mp_error_detail());
            mp_proxy_free(it);
        } else {
            print(result);
        }
        fflush(stdout);
    }
    mp_proxy_free(p);
    printf("%lld objects\n", (long long)mp_manager_count(m));
    mp_manager_free(m);
    return 0;
}

int main(int argc, char **argv)
{
    if (argc < 4)
        return 2;
    const char *address = *argv[2] ? argv[2] : NULL;
    int md5 = argc > 4;
    return strcmp(argv[1], "listen") == 0    ? listen_at(address, argv[3], md5)
           : strcmp(argv[1], "connect") == 0 ? connect_to(address, argv[3], md5)
           : strcmp(argv[1], "serve") == 0   ? serve(address, argv[3], md5)
                                             : use(address, argv[3], md5);
}
