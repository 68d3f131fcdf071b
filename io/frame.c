#include "io/frame.h"

#include <stdlib.h>
#include <xxhash.h>
#include <zstd.h>

typedef struct buffer {
  void *data;
  size_t size;
} buffer;

struct sb_codec {
  ZSTD_CCtx *compressor; /* made when first needed */
  ZSTD_DCtx *decompressor;
  buffer filtered, frame, decoded;
  int level;
};

static const char no_memory[] = "not enough memory";

/* At least `bytes` bytes; the content is lost. */
static void *reserve(buffer *b, size_t bytes) {
  if (bytes > b->size || !b->data) {
    free(b->data);
    b->size = bytes ? bytes : 1;
    b->data = malloc(b->size);
    if (!b->data) b->size = 0;
  }
  return b->data;
}

sb_codec *sb_codec_create(int level) {
  sb_codec *codec = calloc(1, sizeof *codec);
  if (codec) codec->level = level;
  return codec;
}

void sb_codec_free(sb_codec *codec) {
  if (!codec) return;
  ZSTD_freeCCtx(codec->compressor);
  ZSTD_freeDCtx(codec->decompressor);
  free(codec->filtered.data);
  free(codec->frame.data);
  free(codec->decoded.data);
  free(codec);
}

uint64_t sb_checksum(const void *data, size_t bytes) {
  return XXH64(data, bytes, 0);
}

const char *sb_codec_encode(sb_codec *codec, sb_filter filter, const void *raw, size_t bytes,
                            const void **frame, size_t *frame_bytes) {
  size_t bound = ZSTD_compressBound(bytes);
  if (ZSTD_isError(bound) || !reserve(&codec->frame, bound)) return no_memory;
  if (!codec->compressor && !(codec->compressor = ZSTD_createCCtx())) return no_memory;
  if (filter != SB_FILTER_NONE) {
    if (!reserve(&codec->filtered, bytes)) return no_memory;
    sb_filter_apply(filter, codec->filtered.data, raw, bytes);
    raw = codec->filtered.data;
  }
  /* Without zstd's own checksum (the default): ours covers the filter too. */
  size_t got =
      ZSTD_compressCCtx(codec->compressor, codec->frame.data, codec->frame.size, raw, bytes, codec->level);
  if (ZSTD_isError(got)) return ZSTD_getErrorName(got);
  *frame = codec->frame.data;
  *frame_bytes = got;
  return NULL;
}

void *sb_codec_input(sb_codec *codec, size_t bytes) {
  return reserve(&codec->frame, bytes);
}

const char *sb_codec_decode(sb_codec *codec, sb_filter filter, const void *frame, size_t frame_bytes,
                            void *raw, size_t bytes, uint64_t checksum) {
  if (!codec->decompressor && !(codec->decompressor = ZSTD_createDCtx())) return no_memory;
  if (ZSTD_getFrameContentSize(frame, frame_bytes) != bytes)
    return "the frame's size is not the one the index gives";
  if (!raw) raw = reserve(&codec->decoded, bytes);
  void *target = filter == SB_FILTER_NONE ? raw : reserve(&codec->filtered, bytes);
  if (!raw || !target) return no_memory;
  size_t got = ZSTD_decompressDCtx(codec->decompressor, target, bytes, frame, frame_bytes);
  if (ZSTD_isError(got)) return ZSTD_getErrorName(got);
  if (got != bytes) return "the frame is shorter than the index says";
  if (filter != SB_FILTER_NONE) sb_filter_undo(filter, raw, target, bytes);
  if (sb_checksum(raw, bytes) != checksum) return "the checksum does not match";
  return NULL;
}
