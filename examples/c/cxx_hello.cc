// SPDX-License-Identifier: MIT
// From C++11: handles in unique_ptr, and the same typed targets as in C.
#include <memory>
#include <string>

#include "example.h"

namespace
{
struct Free {
    void operator()(mp_process *p) const
    {
        mp_process_free(p);
    }
    void operator()(mp_connection *c) const
    {
        mp_connection_free(c);
    }
    void operator()(mp_value *v) const
    {
        mp_value_free(v);
    }
};
template <typename T> using handle = std::unique_ptr<T, Free>;
} // namespace

MP_TARGET(hello, (mp_connection *, conn), (const char *, name), (bool, loud))
{
    const std::string text = std::string("hello ") + name + (loud ? "!" : "");
    check(mp_connection_send(conn, mp_list_of(mp_v(text.c_str()), mp_v(text.size())), MP_FOREVER));
    return 0;
}

int main(int argc, char **argv)
{
    mp_main(argc, argv);
    example_start_method(argc, argv);

    mp_connection *reader, *writer;
    check(mp_pipe(0, &reader, &writer));
    const handle<mp_connection> in(reader);
    handle<mp_connection> out(writer);

    const handle<mp_process> p(MP_PROCESS(hello, out.get(), "Robert", true));
    made(p.get());
    check(mp_process_start(p.get()));
    out.reset();

    mp_value *received;
    check(mp_connection_recv(in.get(), &received, MP_FOREVER));
    const handle<mp_value> message(received);
    std::printf("%s\n", mp_value_get_str(mp_value_item(message.get(), 0), nullptr));
    check(mp_process_join(p.get(), MP_FOREVER));
    return 0;
}
