/* SPDX-License-Identifier: MIT */
/* All of libmultiproc; start reading at multiproc/base.h, for the conventions. */
#ifndef MULTIPROC_H
#define MULTIPROC_H

#include <multiproc/base.h>
#include <multiproc/buffer.h>
#include <multiproc/connection.h>
#include <multiproc/context.h>
#include <multiproc/host.h>
#include <multiproc/listener.h>
#include <multiproc/manager.h>
#include <multiproc/pool.h>
#include <multiproc/process.h>
#include <multiproc/queue.h>
#include <multiproc/shm.h>
#include <multiproc/sync.h>
#include <multiproc/typed.h>
#include <multiproc/value.h>

#endif
