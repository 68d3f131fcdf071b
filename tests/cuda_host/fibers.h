/* Threads of a block as fibers: each runs until it has to wait for the others of
 * its warp or block. */
#ifndef SB_TESTS_CUDA_HOST_FIBERS_H
#define SB_TESTS_CUDA_HOST_FIBERS_H

#include <stddef.h>
#include <stdint.h>

#include <functional>

struct dim3;

/* The operation that a warp meets for: all its lanes must mean the same. */
enum sb_host_meeting {
  SB_HOST_SYNC,
  SB_HOST_SHUFFLE,
  SB_HOST_BALLOT,
  SB_HOST_MMA_BF16,
  SB_HOST_MMA_F16,
  SB_HOST_LOAD,
  SB_HOST_LOAD_TRANSPOSED
};

enum { SB_HOST_SHARED_BYTES = 227 << 10 };
extern unsigned char *sb_host_shared; /* the block's dynamic shared memory */

/* Where the running thread is; NULL outside of kernels, and in blocks that are not watched. Good
 * until the thread waits. */
const struct sb_host_place *sb_host_here();
bool sb_host_is_stack(const void *at); /* a thread's own variable */

/* Number of the running thread in its warp. */
int sb_host_lane();
/* A slot of 64 bytes per lane. The running thread leaves values there for reads after the next
 * sb_host_warp_sync; sb_host_read gives the slot that lane `lane` left before it. */
void *sb_host_slot(int lane);
const void *sb_host_read(int lane);
void sb_host_warp_sync(sb_host_meeting what);

/* An asynchronous copy. The bytes arrive at the wait that covers it; from the call to that wait
 * `shared` holds neither the old bytes nor the new ones. */
void sb_host_copy16(void *shared, const void *global, unsigned valid);
void sb_host_copy_commit();
void sb_host_copy_wait(int left);

float sb_host_fp16(uint16_t bits);
[[noreturn]] void sb_host_die(const char *what);

/* Runs all blocks of a grid of `kernel`, one after another. */
void sb_host_run(const void *kernel, dim3 grid, dim3 block, size_t shared,
                 const std::function<void()> &thread);

#endif
