/* Rules that all operations of a device share. Each header of this folder holds the operations of
 * one theme: a function type with its contract per operation, and a list of them, from which
 * backend.h makes the table.
 *
 * Memory. Pointers called "device" come from `alloc` (on the CPU: host memory). Host pointers come
 * from anywhere, but transfers from `host_alloc` memory are the fast ones. On a backend with
 * `unified` set, host and device memory are the same, and `upload` and `download` between equal
 * pointers cost nothing. Unless a contract says "host", arrays are on the device.
 *
 * Asynchrony. Operations run in the order of their stream and may return before they are done.
 * Stream NULL is the backend's default stream. Errors of the device surface at `sync`, or at any
 * later call. The CPU backend is synchronous. One thread at a time uses a backend; inside, it may
 * use OpenMP threads.
 *
 * Element types. `act`: activations. `operand`: whatever a GEMM reads (prepared weights, inputs of
 * matrices, gradients of their outputs). f32: float on every backend. Matrices are row-major and
 * contiguous; a leading dimension, where an operation takes one, is the length of a row in memory.
 * T is the number of tokens of one sequence. Shapes are in elements.
 *
 * Determinism. Every operation gives the same bits for the same input on the same device, whatever
 * the number of threads and whatever other sequences come before or after it. Because of this the
 * program's results do not depend on the number of ranks.
 *
 * Notation. "=" overwrites, "+=" adds to the previous value. An output may share the buffer of an
 * input only if its contract says "in place". Functions are local unless their contract says
 * "collective". They return SB_OK or an error with its message set. */
#ifndef SB_KERNELS_OPS_COMMON_H
#define SB_KERNELS_OPS_COMMON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/dtype.h"
#include "base/status.h"

typedef struct sb_backend sb_backend;
typedef struct sb_stream_impl *sb_stream;

#endif
