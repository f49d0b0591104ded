/* SPDX-License-Identifier: MIT */
/* Owns the registered tasks, a list that only grows, and the failure of the task that a thread runs. */
#include <stdio.h>

#include <multiproc/typed.h>

#include "pool/pool.h"

_Thread_local mp__task_state mp__task_now;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static _Atomic(mp_task *) tasks;

const mp_task *mp__task_find(const char *name)
{
    for (const mp_task *t = atomic_load(&tasks); t; t = t->next)
        if (strcmp(t->name, name) == 0)
            return t;
    return NULL;
}

int mp_task_register(mp_task *task)
{
    MP__CHECK(task && task->name && *task->name && (task->call || task->each || task->bytes));
    mp__clear_detail();
    if (strlen(task->name) >= MP__TASK_NAME)
        return mp__fail(-EINVAL, "the name of the task '%.100s' is too long", task->name);
    pthread_mutex_lock(&lock);
    const mp_task *same = mp__task_find(task->name);
    if (!same) {
        task->next = atomic_load(&tasks);
        atomic_store(&tasks, task);
    }
    pthread_mutex_unlock(&lock);
    return same && same != task ? mp__fail(-EEXIST, "another task is named '%s'", task->name) : 0;
}

int mp_task_fail(int error, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(mp__task_now.text, sizeof mp__task_now.text, format, args);
    va_end(args);
    mp__task_now.error = error ? error : MP_EREMOTE;
    return mp__task_now.error;
}

int mp_task_cancelled(void)
{
    const mp__task_state *now = &mp__task_now;
    if (!now->board)
        return 0;
    uint64_t run = atomic_load(&now->desk->run), number = atomic_load(&now->desk->chunk);
    return atomic_load(&now->desk->quit) == run || (run & 3) == MP__RUN_CONDEMNED ||
           (atomic_load(&now->board->cancelled[number % MP__WINDOW]) & MP__CANCELLED);
}

int mp_task_refuse(const char *task, const mp_value *args, size_t i, const char *wanted)
{
    if (wanted)
        return mp_task_fail(MP_ETYPE, "argument %zu is of type %s, not %s", i + 1,
                            mp_value_type_name(mp_value_item(args, i)), wanted);
    return mp_task_fail(MP_ETYPE, "task '%s' wants %zu arguments and got %lld", task, i,
                        (long long)mp_value_len(args));
}
