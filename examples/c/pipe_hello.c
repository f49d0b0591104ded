/* SPDX-License-Identifier: MIT */
/* A pipe carries a value from the child to the parent; the child was given its end as an argument.
 */
#include "example.h"

MP_TARGET(f, (mp_connection *, conn))
{
    mp_value *message = mp_list_of(mp_v(42), mp_value_none(), mp_v("hello"));
    check(mp_connection_send(conn, message, MP_FOREVER));
    check(mp_connection_close(conn));
    return 0;
}

int main(int argc, char **argv)
{
    mp_main(argc, argv);
    example_start_method(argc, argv);

    mp_connection *parent_conn, *child_conn;
    check(mp_pipe(1, &parent_conn, &child_conn));
    mp_process *p = MP_PROCESS(f, child_conn);
    made(p);
    check(mp_process_start(p));
    mp_connection_free(child_conn); /* now it is the child's alone: its death would be MP_EOF */

    mp_value *message;
    check(mp_connection_recv(parent_conn, &message, MP_FOREVER));
    char *text = mp_value_repr(message);
    made(text);
    printf("%s\n", text); /* prints [42, None, 'hello'] */
    check(mp_process_join(p, MP_FOREVER));

    free(text);
    mp_value_free(message);
    mp_process_free(p);
    mp_connection_free(parent_conn);
    return 0;
}
