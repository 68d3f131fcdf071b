/* Token files, raw and .npy (io/tokens.h).
 *
 * Input: u8 mode (bits 0 and 1: the width; 2: the name ends in .npy; 3: a header of NumPy is put
 * around the first `u16` bytes; 4: a large vocabulary), then the file. */
#include <stdlib.h>
#include <string.h>

#include "io/tokens.h"
#include "tests/fuzz/target.h"

enum { MOST = 2048, WIDTH = 3, NPY_NAME = 4, NPY_HEADER = 8, LARGE = 16 };

static void seed(fuzz_take take, void *context, uint8_t mode, const void *data, size_t bytes) {
  uint8_t input[1 + MOST] = {mode};
  memcpy(input + 1, data, bytes);
  take(context, input, 1 + bytes);
}

static void seed_npy(fuzz_take take, void *context, const char *header, size_t data) {
  uint8_t file[MOST] = {0};
  const size_t length = strlen(header);
  file[0] = (uint8_t)length;
  file[1] = (uint8_t)(length >> 8);
  memcpy(file + 2, header, length);
  seed(take, context, NPY_NAME | NPY_HEADER, file, 2 + length + data);
}

static void seeds(fuzz_take take, void *context) {
  uint16_t narrow[64];
  uint32_t wide[64];
  uint64_t widest[32];
  for (uint32_t i = 0; i < 64; i++) {
    narrow[i] = (uint16_t)(i * 3);
    wide[i] = i * 5;
    widest[i % 32] = i * 7;
  }
  for (uint8_t width = 0; width <= WIDTH; width++) {
    seed(take, context, width, narrow, sizeof narrow);
    seed(take, context, width, wide, sizeof wide);
    seed(take, context, width, widest, sizeof widest);
    seed(take, context, LARGE | width, wide, sizeof wide);
  }
  seed_npy(take, context, "{'descr': '<u2', 'fortran_order': False, 'shape': (12,), }\n", 24);
  seed_npy(take, context, "{'descr': '<i4', 'fortran_order': False, 'shape': (2, 3), }\n", 24);
  seed_npy(take, context, "{'descr': '<i8', 'fortran_order': True, 'shape': (3,), }\n", 24);
  seed_npy(take, context, "{'descr': '|u1', 'fortran_order': False, 'shape': (3,), }\n", 3);
}

/* The header as NumPy has it, in version 1 or 2, around `length` bytes of text. */
static const char *put_npy(fuzz_cursor *in, const char *name) {
  uint8_t file[12 + MOST] = {0x93, 'N', 'U', 'M', 'P', 'Y', 1, 0};
  size_t length = fuzz_u16(in), at = 10;
  if (length > in->left) length = in->left;
  if (length % 7 == 6) { /* version 2 */
    file[6] = 2;
    at = 12;
  }
  file[8] = (uint8_t)length;
  file[9] = (uint8_t)(length >> 8);
  memcpy(file + at, in->at, in->left);
  return fuzz_put(name, file, at + in->left, 0);
}

static void run(const uint8_t *data, size_t size) {
  static uint32_t ids[MOST];
  fuzz_cursor in = {data, size};
  const unsigned mode = fuzz_u8(&in);
  const size_t vocab = mode & LARGE ? (mode & 32 ? 0 : 100000) : 1000;
  const char *name = mode & NPY_NAME ? "tokens.npy" : "tokens.bin";
  const char *path = mode & NPY_HEADER ? put_npy(&in, name) : fuzz_put(name, in.at, in.left, 0);
  const sb_token_width width = (sb_token_width)(mode & WIDTH);
  sb_tokens *tokens = NULL;
  if (!fuzz_settle(sb_tokens_open(path, width, vocab, &tokens))) {
    fuzz_require(tokens == NULL);
    return;
  }
  const size_t count = sb_tokens_count(tokens);
  size_t sequences = 0;
  fuzz_require(count > 0 && count * sb_tokens_width(tokens) <= size + 16);
  if (fuzz_settle(sb_tokens_read(tokens, 0, count, ids)))
    for (size_t i = 0; i < count; i++) fuzz_require(vocab == 0 || ids[i] < vocab);
  if (fuzz_settle(sb_tokens_sequences(tokens, 1 + mode, 0, &sequences)))
    fuzz_require(sequences > 0 && sequences * (1 + mode) <= count);
  sb_tokens_close(&tokens);
}

const fuzz_target fuzz_tokens = {"tokens", MOST, NULL, seeds, NULL, run};
