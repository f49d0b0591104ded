/* SPDX-License-Identifier: MIT */
/*
 * Owns what managers say to each other, as Python's do: requests (id, method, args, kwargs) and answers
 * (kind, value).  Two kinds of answers hold objects, exceptions and tokens: these few are written here as
 * Python's pickle writes them, and read as descriptions.  Process-local.
 */
#include <stdio.h>

#include "manager/manager.h"

/* ---- writing: pieces of pickles, one behind the other ---- */

typedef struct writer {
    char *bytes;
    size_t size, room;
    int error;
} writer;

static void add(writer *w, const void *data, size_t size)
{
    if (w->error)
        return;
    if (w->room - w->size < size) {
        size_t room = w->size + size + 256;
        char *bytes = mp__realloc(w->bytes, room);
        if (!bytes) {
            w->error = -ENOMEM;
            return;
        }
        w->bytes = bytes;
        w->room = room;
    }
    memcpy(w->bytes + w->size, data, size);
    w->size += size;
}

static void add_text(writer *w, const char *opcode_and_text)
{
    add(w, opcode_and_text, strlen(opcode_and_text));
}

/* A value: its pickle without the head and the end.  Takes it. */
static void add_value(writer *w, mp_value *value)
{
    mp_buffer *buffer;
    int r = value ? mp_value_encode(value, &buffer) : -ENOMEM;
    if (r < 0) {
        w->error = w->error ? w->error : r;
        return;
    }
    const unsigned char *p = buffer->data;
    size_t head = buffer->size > 11 && p[2] == 0x95 ? 11 : 2;
    add(w, p + head, buffer->size - head - 1);
    mp_buffer_free(buffer);
}

static int finish(writer *w, mp__reply *reply)
{
    add_text(w, ".");
    if (w->error) {
        free(w->bytes);
        return w->error;
    }
    *reply = (mp__reply){w->bytes, w->size};
    return 0;
}

int mp__reply_value(mp__reply *reply, const char *kind, mp_value *value)
{
    writer w = {0};
    add(&w, "\x80\x04", 2);
    add_value(&w, mp_value_str(kind));
    add_value(&w, value);
    add_text(&w, "\x86");
    return finish(&w, reply);
}

int mp__reply_error(mp__reply *reply, const char *module, const char *exception, mp_value *arg)
{
    char class[128];
    writer w = {0};
    snprintf(class, sizeof class, "c%s\n%s\n", module, exception);
    add(&w, "\x80\x04", 2);
    add_value(&w, mp_value_str("#ERROR"));
    add_text(&w, class);
    if (arg)
        add_value(&w, arg);
    add_text(&w, arg ? "\x85R\x86" : ")R\x86");
    return finish(&w, reply);
}

mp_value *mp__address_value(const char *text)
{
    char host[MP__ADDRESS_TEXT] = "";
    if (text[0] == '@') { /* Python's names in the abstract name space start with a zero */
        size_t n = strlen(text);
        memcpy(host, text, n < sizeof host ? n : sizeof host - 1);
        host[0] = 0;
        return mp_value_str_n(host, n);
    }
    const char *colon = strrchr(text, ':');
    if (text[0] == '/' || text[0] == '.' || !colon)
        return mp_value_str(text);
    size_t n = (size_t)(colon - text), bracket = text[0] == '[';
    snprintf(host, sizeof host, "%.*s", (int)(n - 2 * bracket), text + bracket);
    mp_value *items[] = {mp_value_str(host), mp_value_int(atoi(colon + 1))};
    return mp_value_tuple(items, 2);
}

int mp__reply_proxy(mp__reply *reply, mp_value *exposed, const char *type, const char *address,
                    const char *id)
{
    writer w = {0};
    add(&w, "\x80\x04", 2);
    add_value(&w, mp_value_str("#PROXY"));
    add_value(&w, exposed);
    add_text(&w, "cmultiprocessing.managers\nToken\n)\x81");
    add_value(&w, mp_value_str(type));
    add_value(&w, mp__address_value(address));
    add_value(&w, mp_value_str(id));
    add_text(&w, "\x87"
                 "b\x86\x86");
    return finish(&w, reply);
}

/* ---- reading ---- */

int mp__message_read(const mp_buffer *buffer, mp_value **ret_value)
{
    mp__pickle_source source = {.data = buffer->data, .size = buffer->size, .describe = true};
    return mp__pickle_read(&source, ret_value);
}

/* "KeyError: 'x'", as the last line of a traceback. */
static int describe_error(const mp_value *exception)
{
    const char *name;
    const mp_value *args, *state;
    if (!mp__described(exception, &name, &args, &state))
        return mp__fail(MP_EREMOTE, "the server answered with an error that is none");
    const char *dot = strrchr(name, '.');
    name = dot ? dot + 1 : name;
    if (mp_value_kind(args) != MP_KIND_TUPLE || mp_value_len(args) == 0)
        return mp__fail(MP_EREMOTE, "%s", name);
    const mp_value *first = mp_value_item(args, 0);
    size_t size;
    bool plain = mp_value_len(args) == 1 && mp_value_kind(first) == MP_KIND_STR &&
                 strcmp(name, "KeyError") != 0;
    char *text = plain ? NULL : mp_value_repr(mp_value_len(args) == 1 ? first : args);
    mp__fail(MP_EREMOTE, "%s: %.400s", name,
             plain  ? mp_value_get_str(first, &size)
             : text ? text
                    : "?");
    free(text);
    return MP_EREMOTE;
}

/* The last line of a traceback says what was raised. */
static int describe_traceback(const mp_value *text)
{
    size_t size;
    const char *all = mp_value_kind(text) == MP_KIND_STR ? mp_value_get_str(text, &size) : "";
    const char *end = all + strlen(all);
    while (end > all && end[-1] == '\n')
        end--;
    const char *line = end;
    while (line > all && line[-1] != '\n')
        line--;
    return mp__fail(MP_EREMOTE, "%.*s", (int)(end - line < 400 ? end - line : 400), line);
}

/* A proxy's token: (type, address, id) */
static int take_token(const mp_value *result, mp_value **ret_value)
{
    const char *name;
    const mp_value *args, *state;
    if (mp_value_kind(result) != MP_KIND_TUPLE || mp_value_len(result) != 2 ||
        !mp__described(mp_value_item(result, 1), &name, &args, &state) ||
        mp_value_kind(state) != MP_KIND_TUPLE || mp_value_len(state) != 3 || !mp__is_plain(state))
        return mp__fail(MP_EREMOTE, "the server answered with a proxy that is none");
    mp_value *items[4];
    for (size_t i = 0; i < 3; i++)
        items[i] = mp_value_ref(mp_value_item(state, i));
    items[3] = mp_value_bool(1); /* its first reference is whoever's who makes a proxy of it */
    *ret_value = mp_value_tuple(items, 4);
    return *ret_value ? 0 : -ENOMEM;
}

/* A plain value, or a few of Python's types as values: the views of a dict, for one, come as list([...]). */
static int take_result(const mp_value *result, mp_value **ret_value)
{
    static const char *const known[] = {"builtins.list", "builtins.tuple", "builtins.set",
                                        "builtins.frozenset", "builtins.bytearray"};
    const char *name;
    const mp_value *args, *state;
    if (mp__is_plain(result)) {
        *ret_value = mp_value_ref(result);
        return 0;
    }
    if (!mp__described(result, &name, &args, &state))
        return mp__fail(MP_ETYPE, "the result holds something that is no value");
    for (size_t i = 0; i < MP__COUNT_OF(known); i++)
        if (strcmp(name, known[i]) == 0 && mp_value_kind(args) == MP_KIND_TUPLE &&
            mp_value_len(args) == 1 && mp__is_plain(args)) {
            *ret_value = mp_value_ref(mp_value_item(args, 0));
            return 0;
        }
    return mp__fail(MP_ETYPE, "the result is a %s, which is no value", name);
}

int mp__answer_take(mp_value *answer, mp_value **ret_value)
{
    size_t size;
    int r = 0;
    if (mp_value_kind(answer) != MP_KIND_TUPLE || mp_value_len(answer) != 2 ||
        mp_value_kind(mp_value_item(answer, 0)) != MP_KIND_STR) {
        mp_value_free(answer);
        return mp__fail(-EPROTO, "what came is no answer of a manager");
    }
    const char *kind = mp_value_get_str(mp_value_item(answer, 0), &size);
    const mp_value *result = mp_value_item(answer, 1);
    if (strcmp(kind, "#RETURN") == 0)
        r = take_result(result, ret_value);
    else if (strcmp(kind, "#PROXY") == 0)
        r = take_token(result, ret_value);
    else if (strcmp(kind, "#ERROR") == 0)
        r = describe_error(result);
    else
        r = describe_traceback(result);
    mp_value_free(answer);
    return r;
}
