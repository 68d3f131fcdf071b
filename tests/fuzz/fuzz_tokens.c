/* Token files in all their forms (io/tokens.h).
 *
 * Input: u8 width (as sb_token_width), u8 form, u8 size of the vocabulary, then by form: RAW, the
 * file; NPY, u16 length of a header of NumPy, the header and the data; LLMC, u8 which magic, u8
 * version, and the ids behind a header that counts them; MEGATRON, the index of a file of zeros
 * that has the size the index ends with. */
#include <stdlib.h>
#include <string.h>

#include "io/bytes.h"
#include "io/tokens.h"
#include "tests/fuzz/target.h"

enum { HEAD = 3, MOST = 4096, LLMC_HEADER = 1024, WIDTHS = SB_TOKENS_I64 + 1 };
enum { RAW, NPY, LLMC, MEGATRON, FORMS };

static void seed(fuzz_take take, void *context, uint8_t width, uint8_t form, const void *data,
                 size_t bytes) {
  for (uint8_t vocabulary = 0; vocabulary < 3; vocabulary++) {
    uint8_t input[HEAD + MOST] = {width, form, vocabulary};
    memcpy(input + HEAD, data, bytes);
    take(context, input, HEAD + bytes);
  }
}

static void seed_npy(fuzz_take take, void *context, const char *header, size_t data) {
  uint8_t file[MOST] = {0};
  const size_t length = strlen(header);
  file[0] = (uint8_t)length;
  memcpy(file + 2, header, length);
  seed(take, context, 0, NPY, file, 2 + length + data);
}

static void seed_megatron(fuzz_take take, void *context, uint8_t code, uint8_t width) {
  uint8_t index[34 + 3 * 12 + 2 * 8] = "MMIDIDX\0";
  static const uint32_t lengths[] = {5, 7, 2}, places[] = {0, 5, 12};
  sb_put_u64(index + 9, 1);
  index[17] = code;
  sb_put_u64(index + 18, 3);
  sb_put_u64(index + 26, 2);
  for (size_t i = 0; i < 3; i++) {
    sb_put_u32(index + 34 + 4 * i, lengths[i]);
    sb_put_u64(index + 34 + 12 + 8 * i, (uint64_t)places[i] * width);
  }
  sb_put_u64(index + 34 + 36 + 8, 3);
  seed(take, context, 0, MEGATRON, index, sizeof index);
}

static void seeds(fuzz_take take, void *context) {
  uint16_t narrow[64];
  uint32_t wide[64];
  uint64_t widest[32];
  uint8_t llmc[2 + sizeof wide] = {0, 1};
  for (uint32_t i = 0; i < 64; i++) {
    narrow[i] = (uint16_t)(i * 3);
    wide[i] = i * 5;
    widest[i % 32] = i * 7;
  }
  for (unsigned width = 0; width < WIDTHS; width++) {
    seed(take, context, (uint8_t)width, RAW, narrow, sizeof narrow);
    seed(take, context, (uint8_t)width, RAW, wide, sizeof wide);
    seed(take, context, (uint8_t)width, RAW, widest, sizeof widest);
  }
  seed_npy(take, context, "{'descr': '<u2', 'fortran_order': False, 'shape': (12,), }\n", 24);
  seed_npy(take, context, "{'descr': '<i4', 'fortran_order': False, 'shape': (2, 3), }\n", 24);
  seed_npy(take, context, "{'descr': '<i8', 'fortran_order': True, 'shape': (3,), }\n", 24);
  seed_npy(take, context, "{'descr': '<U3', 'fortran_order': False, 'shape': (2,), }\n", 24);
  memcpy(llmc + 2, narrow, sizeof narrow);
  seed(take, context, 0, LLMC, llmc, 2 + sizeof narrow);
  llmc[0] = 1;
  llmc[1] = 7;
  memcpy(llmc + 2, wide, sizeof wide);
  seed(take, context, 0, LLMC, llmc, sizeof llmc);
  seed_megatron(take, context, 8, 2);
  seed_megatron(take, context, 4, 4);
}

/* The header as NumPy has it; version 2 where its length is one of seven. */
static const char *put_npy(fuzz_cursor *in) {
  uint8_t file[12 + MOST] = {0x93, 'N', 'U', 'M', 'P', 'Y', 1, 0};
  size_t length = fuzz_u16(in), at = 10;
  if (length > in->left) length = in->left;
  if (length % 7 == 6) {
    file[6] = 2;
    at = 12;
  }
  file[8] = (uint8_t)length;
  file[9] = (uint8_t)(length >> 8);
  memcpy(file + at, in->at, in->left);
  return fuzz_put("tokens.npy", file, at + in->left, 0);
}

static const char *put_llmc(fuzz_cursor *in) {
  static const uint32_t magics[] = {20240520, 20240801, 20240326, 20240928};
  uint8_t file[LLMC_HEADER + MOST] = {0};
  const uint8_t which = fuzz_u8(in), version = fuzz_u8(in);
  sb_put_u32(file, magics[which % 4]);
  sb_put_u32(file + 4, version);
  sb_put_u32(file + 8, (uint32_t)(in->left / (which % 2 ? 4 : 2)));
  memcpy(file + LLMC_HEADER, in->at, in->left);
  return fuzz_put("tokens.bin", file, LLMC_HEADER + in->left, 0);
}

/* The last sequence of the index ends where the .bin file does. */
static const char *put_megatron(fuzz_cursor *in) {
  enum { CODE = 17, SEQUENCES = 18, LENGTHS = 34, MOST_BYTES = 1 << 20 };
  static const uint64_t widths[] = {0, 1, 1, 2, 4, 8, 4, 8, 2};
  uint64_t end = 0;
  fuzz_put("indexed.idx", in->at, in->left, 0);
  if (in->left >= LENGTHS) {
    const uint64_t sequences = sb_get_u64(in->at + SEQUENCES);
    if (sequences > 0 && sequences <= (in->left - LENGTHS) / 12 && in->at[CODE] < 9)
      end = sb_get_u64(in->at + LENGTHS + 4 * sequences + 8 * (sequences - 1)) +
            sb_get_u32(in->at + LENGTHS + 4 * (sequences - 1)) * widths[in->at[CODE]];
  }
  return fuzz_put("indexed.bin", "", 0, end > MOST_BYTES ? 64 : end);
}

static void read_ids(const sb_tokens *tokens, size_t vocab, size_t file_bytes) {
  static uint32_t ids[512];
  const size_t count = sb_tokens_count(tokens), seqlen = 1 + file_bytes % 9;
  size_t sequences = 0;
  fuzz_require(count > 0 && count <= file_bytes / sb_tokens_layout(tokens)->width);
  for (size_t at = 0; at < count;) {
    const size_t n = count - at < 512 ? count - at : 512;
    if (!fuzz_settle(sb_tokens_read(tokens, at, n, ids))) break;
    for (size_t i = 0; i < n; i++) fuzz_require(vocab == 0 || ids[i] < vocab);
    at += n;
  }
  if (fuzz_settle(sb_tokens_sequences(tokens, seqlen, 0, &sequences)))
    fuzz_require(sequences > 0 && sequences * seqlen <= count);
}

static void run(const uint8_t *data, size_t size) {
  static const size_t vocabularies[] = {1000, 100000, 0};
  fuzz_cursor in = {data, size};
  const sb_token_width width = (sb_token_width)(fuzz_u8(&in) % WIDTHS);
  const unsigned form = fuzz_u8(&in) % FORMS;
  const size_t vocab = vocabularies[fuzz_u8(&in) % 3];
  const char *path = form == NPY        ? put_npy(&in)
                     : form == LLMC     ? put_llmc(&in)
                     : form == MEGATRON ? put_megatron(&in)
                                        : fuzz_put("tokens.bin", in.at, in.left, 0);
  sb_tokens *tokens = NULL;
  if (!fuzz_settle(sb_tokens_open(path, width, vocab, &tokens))) {
    fuzz_require(tokens == NULL);
    return;
  }
  read_ids(tokens, vocab, form == MEGATRON ? 1 << 20 : size + LLMC_HEADER);
  sb_tokens_close(&tokens);
}

const fuzz_target fuzz_tokens = {"tokens", HEAD + MOST, NULL, seeds, NULL, run};
