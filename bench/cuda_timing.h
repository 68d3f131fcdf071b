/* The parts of bench_cuda share the device, its memory, and the timing of calls. */
#ifndef SB_BENCH_CUDA_TIMING_H
#define SB_BENCH_CUDA_TIMING_H

#include "kernels/backend.h"

/* The device; main opens it. */
extern sb_backend *be;

/* Ends the program with the message of the error. */
void must(sb_status status);

/* Device memory of `bytes` bytes. Ends the program where the device has too little. */
void *device(size_t bytes);
/* The same, filled with numbers of 16 or 32 bits that are near 1 as bf16, f16 and f32, or with any
 * bytes (`whole`). */
void *filled(size_t bytes, bool whole);

typedef struct timed {
  sb_status (*call)(const void *context, size_t round);
  const void *context;
} timed;
/* Seconds per call; call i is told i. */
double seconds_of(timed t);

/* Bytes per second that copies inside the device read and write; prints them. */
double copy_rate(void);

/* Prints a line: bytes per second, and the share of `limit` in bytes per second. */
void report_rate(const char *name, double bytes, double seconds, double limit);

#endif
