#include "io/tokens.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/memory.h"
#include "io/bytes.h"
#include "io/file.h"
#include "io/token_find.h"

struct sb_tokens {
  char *path;
  int fd;
  size_t vocab;
  sb_token_layout layout;
};

/* Opens the file alone. */
static sb_status begin(const char *path, size_t vocab, uint64_t *bytes, sb_tokens **out) {
  SB_TRY(sb_alloc(out, 1, sizeof **out, "token file"));
  sb_tokens *t = *out;
  t->fd = -1;
  t->vocab = vocab;
  t->path = strdup(path);
  const sb_status status = t->path
                               ? sb_file_open(path, &t->fd, bytes)
                               : sb_fail(SB_ERR_MEMORY, "%s: not enough memory to open it", path);
  if (status != SB_OK) sb_tokens_close(out);
  return status;
}

sb_status sb_tokens_open(const char *path, sb_token_width width, size_t vocab, sb_tokens **out) {
  uint64_t bytes;
  SB_TRY(begin(path, vocab, &bytes, out));
  const sb_status status =
      sb_token_layout_find((*out)->fd, path, bytes, width, vocab, &(*out)->layout);
  if (status != SB_OK) sb_tokens_close(out);
  return status;
}

sb_status sb_tokens_open_as(const char *path, const sb_token_layout *layout, size_t vocab,
                            sb_tokens **out) {
  uint64_t bytes;
  SB_TRY(begin(path, vocab, &bytes, out));
  (*out)->layout = *layout;
  if (bytes >= layout->data_offset &&
      (bytes - layout->data_offset) / layout->width >= layout->count)
    return SB_OK;
  sb_tokens_close(out);
  return sb_fail(SB_ERR_FORMAT,
                 "%s: is shorter for this rank than for rank 0; is it being written?", path);
}

void sb_tokens_close(sb_tokens **tokens) {
  if (!*tokens) return;
  if ((*tokens)->fd >= 0) close((*tokens)->fd);
  free((*tokens)->path);
  sb_free(tokens);
}

size_t sb_tokens_count(const sb_tokens *tokens) {
  return tokens->layout.count;
}

const sb_token_layout *sb_tokens_layout(const sb_tokens *tokens) {
  return &tokens->layout;
}

/* An id of 64 bits that is larger than any int64_t becomes the largest one. */
static int64_t decode(const sb_token_layout *layout, const unsigned char *at) {
  if (layout->width == 2) {
    const uint16_t value = sb_get_u16(at);
    return layout->is_signed ? (int16_t)value : value;
  }
  if (layout->width == 8) {
    const uint64_t value = sb_get_u64(at);
    return layout->is_signed || value <= INT64_MAX ? (int64_t)value : INT64_MAX;
  }
  const uint32_t value = sb_get_u32(at);
  return layout->is_signed ? (int32_t)value : (int64_t)value;
}

static sb_status refuse(const sb_tokens *t, size_t position, int64_t id) {
  if (id < 0 || t->vocab == 0)
    return sb_fail(
        SB_ERR_RANGE,
        "%s: token %zu is %lld, which is no token id; is this a token file, and of this width?",
        t->path, position, (long long)id);
  return sb_fail(SB_ERR_RANGE,
                 "%s: token %zu has id %lld but the model's vocabulary has %zu ids; was it "
                 "tokenized for another model, or is --token-dtype another?",
                 t->path, position, (long long)id, t->vocab);
}

sb_status sb_tokens_read(const sb_tokens *t, size_t start, size_t n, uint32_t *dst) {
  enum { CHUNK = 8192 };
  unsigned char buffer[CHUNK * 8];
  const sb_token_layout *layout = &t->layout;
  if (start > layout->count || n > layout->count - start)
    return sb_fail(SB_ERR_INTERNAL, "%s: tokens %zu + %zu were asked for, it has %zu", t->path,
                   start, n, layout->count);
  int64_t limit = t->vocab ? (int64_t)t->vocab : (int64_t)UINT32_MAX + 1;
  while (n > 0) {
    size_t now = sb_min_size(n, CHUNK);
    SB_TRY(sb_file_read_at(t->fd, t->path, layout->data_offset + (uint64_t)start * layout->width,
                           buffer, now * layout->width));
    for (size_t i = 0; i < now; i++) {
      int64_t id = decode(layout, buffer + i * layout->width);
      if (id < 0 || id >= limit) return refuse(t, start + i, id);
      dst[i] = (uint32_t)id;
    }
    start += now;
    dst += now;
    n -= now;
  }
  return SB_OK;
}

void sb_tokens_expect(const sb_tokens *t, size_t start, size_t n) {
  const sb_token_layout *layout = &t->layout;
  (void)posix_fadvise(t->fd, (off_t)(layout->data_offset + (uint64_t)start * layout->width),
                      (off_t)(n * layout->width), POSIX_FADV_WILLNEED);
}

sb_status sb_tokens_sequences(const sb_tokens *t, size_t seqlen, size_t max_seqs, size_t *n) {
  if (seqlen == 0) return sb_fail(SB_ERR_USAGE, "the sequence length is 0; it must be at least 1");
  size_t whole = t->layout.count / seqlen;
  if (whole == 0)
    return sb_fail(SB_ERR_RANGE,
                   "%s: has %zu tokens, fewer than one sequence of %zu; use a longer file or a "
                   "shorter --seqlen",
                   t->path, t->layout.count, seqlen);
  *n = max_seqs ? sb_min_size(whole, max_seqs) : whole;
  return SB_OK;
}
