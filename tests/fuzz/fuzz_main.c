/* libFuzzer's side: one program per target, which FUZZ_TARGET names. */
#include <omp.h>
#include <stddef.h>
#include <stdint.h>

#include "tests/fuzz/target.h"

size_t LLVMFuzzerMutate(uint8_t *data, size_t bytes, size_t limit);
int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t bytes, size_t limit, unsigned seed);

#ifndef FUZZ_TARGET /* for linters: the build names one */
#define FUZZ_TARGET fuzz_manifest
#endif
static const fuzz_target *const target = &FUZZ_TARGET;

int LLVMFuzzerInitialize(int *argc, char ***argv) {
  (void)argc, (void)argv;
  omp_set_num_threads(1); /* regions of a few microseconds: waking threads takes longer */
  if (target->begin) target->begin();
  return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes) {
  if (bytes <= target->limit) target->run(data, bytes);
  return 0;
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t bytes, size_t limit, unsigned seed) {
  uint64_t random = seed;
  if (limit > target->limit && bytes <= target->limit) limit = target->limit;
  if (seed % 4 == 0)
    bytes = fuzz_change(data, bytes, limit, &random);
  else
    bytes = LLVMFuzzerMutate(data, bytes, limit);
  if (target->mend && seed % 8 < 7) target->mend(data, bytes);
  return bytes;
}
