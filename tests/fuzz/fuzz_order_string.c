/* Stored orders (model/order_string.h): what is unpacked is a permutation, settled, and packs to
 * the same string. Input: u16 channels, u16 channels of a block, then the string. */
#include <stdlib.h>
#include <string.h>

#include "model/order_string.h"
#include "tests/fuzz/target.h"
#include "tests/support/random.h"

enum { MOST = 2048 };

static void seed(fuzz_take take, void *context, uint16_t n, uint16_t block) {
  uint8_t input[4 + MOST] = {(uint8_t)n, (uint8_t)(n >> 8), (uint8_t)block, (uint8_t)(block >> 8)};
  uint32_t *from = malloc(n * sizeof *from);
  for (uint32_t i = 0; i < n; i++) from[i] = (n + block) % 2 ? i : n - 1 - i;
  sb_order_string_pack(input + 4, from, n, block);
  take(context, input, 4 + sb_order_string_bytes(n, block));
  free(from);
}

static void seeds(fuzz_take take, void *context) {
  seed(take, context, 48, 16);
  seed(take, context, 96, 32);
  seed(take, context, 7, 1);
  seed(take, context, 130, 128);
  seed(take, context, 5, 9);
  seed(take, context, 1000, 3);
}

static int compare(const void *a, const void *b) {
  const uint32_t *x = a, *y = b;
  return *x < *y ? -1 : *x > *y;
}

static void run(const uint8_t *data, size_t size) {
  fuzz_cursor in = {data, size};
  const size_t n = fuzz_u16(&in), block = fuzz_u16(&in);
  if (n == 0 || n > MOST || block == 0 || in.left < sb_order_string_bytes(n, block)) return;
  const size_t bytes = sb_order_string_bytes(n, block);
  uint32_t *from = malloc(n * sizeof *from);
  uint8_t *string = malloc(bytes + 1);
  memcpy(string, in.at, bytes);
  if (fuzz_settle(sb_order_string_unpack(from, string, n, block)) && bytes > 0) {
    sb_order_string_pack(string, from, n, block);
    if (bytes > 1) fuzz_require(memcmp(string, in.at, bytes - 1) == 0); /* padding is not kept */
    qsort(from, n, sizeof *from, compare);
    for (uint32_t i = 0; i < n; i++) fuzz_require(from[i] == i);
  }
  free(from);
  free(string);
}

const fuzz_target fuzz_order_string = {"order_string", MOST, NULL, seeds, NULL, run};
