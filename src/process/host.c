/* SPDX-License-Identifier: MIT */
/* Owns the host hooks of this process.  Set once, before any other use; constant from then on. */
#include "process/process.h"

static mp_host hooks;
static bool is_set;

static int interrupted(void)
{
    return hooks.interrupted(hooks.data) ? -ECANCELED : 0;
}

int mp_host_set(const mp_host *host)
{
    MP__CHECK(!host || host->size >= sizeof *host);
    is_set = host != NULL;
    hooks = host ? *host : (mp_host)MP_HOST_INIT;
    mp__interrupted = hooks.interrupted ? interrupted : NULL;
    atomic_store(&mp__interruptible, hooks.interruptible != 0);
    return 0;
}

const mp_host *mp__host(void)
{
    return &hooks;
}

bool mp__host_is_set(void)
{
    return is_set;
}
