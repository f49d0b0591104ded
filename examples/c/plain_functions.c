/* SPDX-License-Identifier: MIT */
/*
 * The same without macros, as from C99 or through another language's C interface: a target is a
 * name and a function, which takes its arguments from a tuple.
 */
#include "example.h"

static int worker(const mp_value *args)
{
    mp_connection *conn;
    int64_t num;
    if (mp_value_get_connection(mp_value_item(args, 0), &conn) < 0)
        return mp_target_refuse("worker", args, 0, "connection");
    if (mp_value_get_int(mp_value_item(args, 1), &num) < 0)
        return mp_target_refuse("worker", args, 1, "int");
    check(mp_connection_send(conn, mp_value_int(num * num), MP_FOREVER));
    return 0;
}

int main(int argc, char **argv)
{
    check(mp_target_add("worker", worker)); /* before mp_main(): every image needs it */
    mp_main(argc, argv);
    example_start_method(argc, argv);

    mp_connection *reader, *writer;
    check(mp_pipe(0, &reader, &writer));
    mp_value *items[2] = {mp_value_connection(writer), mp_value_int(12)};
    mp_process *p = mp_process_new("worker", mp_value_tuple(items, 2), NULL);
    made(p);
    check(mp_process_start(p));
    mp_connection_free(writer);

    mp_value *answer;
    int64_t square;
    int code;
    check(mp_connection_recv(reader, &answer, MP_FOREVER));
    check(mp_value_get_int(answer, &square));
    check(mp_process_join(p, MP_FOREVER));
    check(mp_process_exit_code(p, &code));
    printf("12 * 12 = %lld, exit code %d\n", (long long)square, code);

    mp_value_free(answer);
    mp_process_free(p);
    mp_connection_free(reader);
    return 0;
}
