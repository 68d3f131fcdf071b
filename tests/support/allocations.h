/* Counts what the program allocates by base/memory.h, which the CPU backend and all rooms do: a
 * test that links sb_test_allocations has its calls of sb_alloc, sb_alloc_raw and sb_free go
 * through here (the linker's --wrap). Bytes as asked for. Not for several threads. */
#ifndef SB_TESTS_SUPPORT_ALLOCATIONS_H
#define SB_TESTS_SUPPORT_ALLOCATIONS_H

#include <stddef.h>

/* Bytes held now, and the most that were held since the last call of sb_test_peak_begin. */
size_t sb_test_live_bytes(void);
size_t sb_test_peak_bytes(void);
void sb_test_peak_begin(void);

#endif
