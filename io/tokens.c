#include "io/tokens.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/memory.h"
#include "io/bytes.h"
#include "io/file.h"
#include "io/npy.h"

struct sb_tokens {
  char *path;
  int fd;
  uint64_t data_offset;
  size_t count, width, vocab;
  bool is_signed;
};

static bool ends_with(const char *text, const char *end) {
  size_t length = strlen(text), end_length = strlen(end);
  return length >= end_length && strcmp(text + length - end_length, end) == 0;
}

static sb_status open_npy(sb_tokens *t, uint64_t file_bytes) {
  sb_npy array;
  SB_TRY(sb_npy_read_header(t->fd, t->path, file_bytes, &array));
  bool known = (array.kind == 'u' && (array.item_bytes == 2 || array.item_bytes == 4)) ||
               (array.kind == 'i' && (array.item_bytes == 4 || array.item_bytes == 8));
  if (!known)
    return sb_fail(
        SB_ERR_UNSUPPORTED,
        "%s: holds elements of type %c%zu; tokens are read as uint16, uint32, int32 or int64",
        t->path, array.kind, array.item_bytes);
  if (array.dims != 1 && array.dims != 2)
    return sb_fail(SB_ERR_UNSUPPORTED, "%s: has %zu dimensions; tokens are read from 1 or 2",
                   t->path, array.dims);
  if (array.dims == 2 && array.fortran_order)
    return sb_fail(SB_ERR_UNSUPPORTED,
                   "%s: is in Fortran order; save numpy.ascontiguousarray of it", t->path);
  t->data_offset = array.data_offset;
  t->count = (size_t)array.count;
  t->width = array.item_bytes;
  t->is_signed = array.kind == 'i';
  return SB_OK;
}

/* True when every odd 16-bit word among the first 64k words is 0. */
static sb_status looks_wide(const sb_tokens *t, uint64_t file_bytes, bool *wide) {
  enum { WORDS = 65536 };
  unsigned char *words = NULL;
  *wide = false;
  if (file_bytes % 4 != 0) return SB_OK;
  size_t count = file_bytes / 2 < WORDS ? (size_t)(file_bytes / 2) : WORDS;
  SB_TRY(sb_alloc_raw(&words, count, 2, "token sample"));
  sb_status status = sb_file_read_at(t->fd, t->path, 0, words, count * 2);
  *wide = true;
  for (size_t i = 1; status == SB_OK && i < count; i += 2)
    if (sb_get_u16(words + 2 * i) != 0) *wide = false;
  sb_free(&words);
  return status;
}

static sb_status open_raw(sb_tokens *t, sb_token_width width, uint64_t file_bytes) {
  if (width == SB_TOKENS_AUTO && !ends_with(t->path, ".bin"))
    return sb_fail(SB_ERR_UNSUPPORTED,
                   "%s: token files are .bin (raw uint16 or uint32) or .npy; make one with "
                   "tools/make_tokens.py",
                   t->path);
  if (ends_with(t->path, ".npy"))
    return sb_fail(SB_ERR_FORMAT, "%s: is named .npy but does not start as a .npy file does",
                   t->path);
  bool wide = width == SB_TOKENS_U32 || t->vocab > 65536;
  if (width == SB_TOKENS_AUTO && !wide) SB_TRY(looks_wide(t, file_bytes, &wide));
  if (width == SB_TOKENS_U16) wide = false;
  t->width = wide ? 4 : 2;
  if (file_bytes % t->width != 0)
    return sb_fail(SB_ERR_FORMAT,
                   "%s: has %llu bytes, not a whole number of uint%zu tokens; it is damaged or of "
                   "another width",
                   t->path, (unsigned long long)file_bytes, 8 * t->width);
  t->count = (size_t)(file_bytes / t->width);
  return SB_OK;
}

static sb_status open_any(sb_tokens *t, const char *path, sb_token_width width) {
  unsigned char start[8] = {0};
  uint64_t bytes;
  t->path = strdup(path);
  if (!t->path) return sb_fail(SB_ERR_MEMORY, "%s: not enough memory to open it", path);
  SB_TRY(sb_file_open(path, &t->fd, &bytes));
  if (bytes == 0) return sb_fail(SB_ERR_FORMAT, "%s: is empty; it should hold token ids", path);
  size_t first = bytes < sizeof start ? (size_t)bytes : sizeof start;
  SB_TRY(sb_file_read_at(t->fd, path, 0, start, first));
  SB_TRY(sb_npy_is(start, first) ? open_npy(t, bytes) : open_raw(t, width, bytes));
  if (t->count == 0) return sb_fail(SB_ERR_FORMAT, "%s: holds no tokens", path);
  return SB_OK;
}

sb_status sb_tokens_open(const char *path, sb_token_width width, size_t vocab, sb_tokens **out) {
  SB_TRY(sb_alloc(out, 1, sizeof **out, "token file"));
  (*out)->fd = -1;
  (*out)->vocab = vocab;
  sb_status status = open_any(*out, path, width);
  if (status != SB_OK) sb_tokens_close(out);
  return status;
}

void sb_tokens_close(sb_tokens **tokens) {
  if (!*tokens) return;
  if ((*tokens)->fd >= 0) close((*tokens)->fd);
  free((*tokens)->path);
  sb_free(tokens);
}

size_t sb_tokens_count(const sb_tokens *tokens) {
  return tokens->count;
}

size_t sb_tokens_width(const sb_tokens *tokens) {
  return tokens->width;
}

static int64_t decode(const sb_tokens *t, const unsigned char *at) {
  if (t->width == 2) return sb_get_u16(at);
  if (t->width == 8) return (int64_t)sb_get_u64(at);
  uint32_t value = sb_get_u32(at);
  return t->is_signed ? (int64_t)(int32_t)value : (int64_t)value;
}

static sb_status refuse(const sb_tokens *t, size_t position, int64_t id) {
  if (id < 0 || t->vocab == 0)
    return sb_fail(SB_ERR_RANGE,
                   "%s: token %zu is %lld, which is no token id; is this a token file?", t->path,
                   position, (long long)id);
  return sb_fail(SB_ERR_RANGE,
                 "%s: token %zu has id %lld but the model's vocabulary has %zu ids; was it "
                 "tokenized for another model?",
                 t->path, position, (long long)id, t->vocab);
}

sb_status sb_tokens_read(const sb_tokens *t, size_t start, size_t n, uint32_t *dst) {
  enum { CHUNK = 8192 };
  unsigned char buffer[CHUNK * 8];
  if (start > t->count || n > t->count - start)
    return sb_fail(SB_ERR_INTERNAL, "%s: tokens %zu + %zu were asked for, it has %zu", t->path,
                   start, n, t->count);
  int64_t limit = t->vocab ? (int64_t)t->vocab : (int64_t)UINT32_MAX + 1;
  while (n > 0) {
    size_t now = sb_min_size(n, CHUNK);
    SB_TRY(sb_file_read_at(t->fd, t->path, t->data_offset + (uint64_t)start * t->width, buffer,
                           now * t->width));
    for (size_t i = 0; i < now; i++) {
      int64_t id = decode(t, buffer + i * t->width);
      if (id < 0 || id >= limit) return refuse(t, start + i, id);
      dst[i] = (uint32_t)id;
    }
    start += now;
    dst += now;
    n -= now;
  }
  return SB_OK;
}

sb_status sb_tokens_sequences(const sb_tokens *t, size_t seqlen, size_t max_seqs, size_t *n) {
  if (seqlen == 0) return sb_fail(SB_ERR_USAGE, "the sequence length is 0; it must be at least 1");
  size_t whole = t->count / seqlen;
  if (whole == 0)
    return sb_fail(SB_ERR_RANGE,
                   "%s: has %zu tokens, fewer than one sequence of %zu; use a longer file or a "
                   "shorter --seqlen",
                   t->path, t->count, seqlen);
  *n = max_seqs ? sb_min_size(whole, max_seqs) : whole;
  return SB_OK;
}
