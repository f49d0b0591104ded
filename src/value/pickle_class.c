/* SPDX-License-Identifier: MIT */
/*
 * Owns what the decoder does with classes: two functions that make bytes are known, and, when the caller
 * wants descriptions, everything else becomes one: a tuple of a mark that no message can hold, the name of
 * the class, the arguments that it would be called with, and the state that would be set.  Nothing is ever
 * imported or called.  Process-local.
 */
#include "value/pickle_reader.h"

/* ---- bytes of protocol 2 ---- */

static void push_class(reader *r, const char *module, size_t nm, const char *name, size_t nn);

static bool next_line(reader *r, const char **ret_line, size_t *ret_size)
{
    const unsigned char *p = memchr(r->at, '\n', (size_t)(r->end - r->at));
    if (!p) {
        mp__reader_damaged(r, "it ends too early");
        return false;
    }
    *ret_line = (const char *)r->at;
    *ret_size = (size_t)(p - r->at);
    r->at = p + 1;
    return true;
}

static bool is_name(const char *line, size_t size, const char *name)
{
    return size == strlen(name) && memcmp(line, name, size) == 0;
}

void mp__reader_global(reader *r)
{
    const char *module, *name;
    size_t nm, nn;
    if (!next_line(r, &module, &nm) || !next_line(r, &name, &nn))
        return;
    if (is_name(module, nm, "_codecs") && is_name(name, nn, "encode"))
        mp__reader_push(r, NULL, M_ENCODE);
    else if ((is_name(module, nm, "__builtin__") || is_name(module, nm, "builtins")) &&
             is_name(name, nn, "bytes"))
        mp__reader_push(r, NULL, M_BYTES);
    else if (r->source->describe)
        push_class(r, module, nm, name, nn);
    else
        r->error = mp__fail(MP_EUNSAFE, "the pickle asks for %.*s.%.*s", (int)(nm < 80 ? nm : 80),
                            module, (int)(nn < 80 ? nn : 80), name);
}

/* The text of a str whose characters are all below U+0100, as one byte each. */
static mp_value *latin1(reader *r, const mp_value *text)
{
    mp_buffer *b = mp__reader_charge(r, text->text.size) ? mp_buffer_new(text->text.size) : NULL;
    if (!b)
        return NULL;
    unsigned char *out = b->data;
    size_t n = 0;
    for (size_t i = 0; i < text->text.size; i++) {
        unsigned char c = (unsigned char)text->text.data[i];
        if (c >= 0xc4) {
            mp__reader_damaged(r, "bytes outside of latin1");
            break;
        }
        if (c >= 0x80)
            c = (unsigned char)(c << 6 | ((unsigned char)text->text.data[++i] & 0x3f));
        out[n++] = c;
    }
    mp_value *v = r->error ? NULL : mp__value_text(MP_KIND_BYTES, out, n);
    mp_buffer_free(b);
    return v;
}

static void make(reader *r, bool kwargs);

/* REDUCE of _codecs.encode(str, 'latin1') or bytes(). */
void mp__reader_reduce(reader *r)
{
    if (r->source->describe && r->depth > 1 && r->stack[r->depth - 2].what == M_VALUE) {
        make(r, false);
        return;
    }
    mp_value *args = mp__reader_pop(r), *made = NULL;
    cell callable = r->error ? (cell){NULL, M_VALUE} : mp__reader_pop_cell(r);
    bool is_tuple = args && args->kind == MP_KIND_TUPLE;
    if (is_tuple && callable.what == M_ENCODE && args->seq.n == 2 &&
        args->seq.items[0]->kind == MP_KIND_STR && args->seq.items[1]->kind == MP_KIND_STR &&
        strcmp(args->seq.items[1]->text.data, "latin1") == 0)
        made = latin1(r, args->seq.items[0]);
    else if (is_tuple && callable.what == M_BYTES && args->seq.n == 0)
        made = mp__value_text(MP_KIND_BYTES, "", 0);
    else if (!r->error)
        r->error = mp__fail(MP_EUNSAFE, "the pickle asks to call something");
    mp_value_free(callable.value);
    mp_value_free(args);
    if (made)
        mp__reader_push(r, made, M_VALUE);
    else if (!r->error)
        r->error = -ENOMEM;
}

/* ---- descriptions ---- */

static const mp__handle_ops mark_ops = {"class", 0, NULL, NULL, NULL, NULL};
static mp_value the_mark = {.head = {(uint32_t)MP__MAGIC_VALUE, 1},
                            .kind = MP_KIND_HANDLE,
                            .immortal = true,
                            .holds_class = true,
                            .weight = 1,
                            .handle = {&mark_ops, NULL}};

static bool is_description(const mp_value *v)
{
    return v && v->kind == MP_KIND_TUPLE && v->seq.n == 4 && v->seq.items[0] == &the_mark;
}

bool mp__described(const mp_value *value, const char **ret_name, const mp_value **ret_args,
                   const mp_value **ret_state)
{
    if (!is_description(value))
        return false;
    *ret_name = value->seq.items[1]->text.data;
    *ret_args = value->seq.items[2];
    *ret_state = value->seq.items[3];
    return true;
}

bool mp__is_plain(const mp_value *value)
{
    return !value->holds_class;
}

/* Takes all of them over. */
static void push_description(reader *r, mp_value *name, mp_value *args, mp_value *state)
{
    mp_value *items[] = {&the_mark, name, args, state};
    mp_value *v = r->error ? NULL : mp__reader_new_container(r, MP_KIND_TUPLE);
    for (int i = 0; i < 4; i++) {
        bool push = v && items[i] && !r->error;
        int e = push ? mp__seq_push(v, items[i]) : -ENOMEM; /* takes it, also when it fails */
        if (e < 0 && !r->error)
            r->error = e;
        if (!push)
            mp_value_free(items[i]);
    }
    if (v && !r->error)
        mp__reader_push(r, v, M_VALUE);
    else
        mp_value_free(v);
}

static void push_class(reader *r, const char *module, size_t nm, const char *name, size_t nn)
{
    char text[256];
    if (nm + nn + 2 > sizeof text) {
        r->error = mp__fail(MP_ELIMIT, "the pickle names a class of %zu bytes", nm + nn);
        return;
    }
    memcpy(text, module, nm);
    text[nm] = '.';
    memcpy(text + nm + 1, name, nn);
    text[nm + nn + 1] = 0;
    if (!mp__utf8_valid(text, nm + nn + 1)) {
        r->error = mp__fail(-EILSEQ, "the pickle names a class in no UTF-8");
        return;
    }
    if (mp__reader_charge(r, sizeof(mp_value) + sizeof text))
        push_description(r, mp__value_text(MP_KIND_STR, text, nm + nn + 1), mp_value_none(),
                         mp_value_none());
}

static void stack_global(reader *r)
{
    mp_value *name = mp__reader_pop(r), *module = mp__reader_pop(r);
    if (!r->error && (name->kind != MP_KIND_STR || module->kind != MP_KIND_STR))
        mp__reader_damaged(r, "the name of a class is no str");
    if (!r->error)
        push_class(r, module->text.data, module->text.size, name->text.data, name->text.size);
    mp_value_free(name);
    mp_value_free(module);
}

/* The class with its arguments; `kwargs` are left out. */
static void make(reader *r, bool kwargs)
{
    if (kwargs)
        mp_value_free(mp__reader_pop(r));
    mp_value *args = mp__reader_pop(r), *class = mp__reader_pop(r);
    if (!r->error && (!is_description(class) || args->kind != MP_KIND_TUPLE))
        mp__reader_damaged(r, "what is called is no class");
    if (!r->error)
        push_description(r, mp_value_ref(class->seq.items[1]), mp_value_ref(args), mp_value_none());
    mp_value_free(args);
    mp_value_free(class);
}

static void build(reader *r)
{
    mp_value *state = mp__reader_pop(r), *object = mp__reader_top(r);
    if (r->error || !is_description(object)) {
        mp__reader_damaged(r, "there is no object to set a state of");
        mp_value_free(state);
        return;
    }
    mp_value_free(object->seq.items[3]);
    object->seq.items[3] = state;
}

bool mp__reader_describe(reader *r, unsigned char op)
{
    if (!r->source->describe)
        return false;
    if (op == 0x93)
        stack_global(r);
    else if (op == 0x81 || op == 0x92)
        make(r, op == 0x92);
    else if (op == 'b')
        build(r);
    else
        return false;
    return true;
}
