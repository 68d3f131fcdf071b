#include "io/frame.h"

#include <stdbool.h>
#include <stdlib.h>
#include <xxhash.h>
#include <zstd.h>

#include "io/bytes.h"

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

/* Filters into the codec's buffer. *runs parts of the result end at run_ends[]. */
static const char *filter_in(sb_codec *codec, sb_filter filter, const sb_section *sections,
                             size_t section_count, const void *raw, size_t bytes, size_t *run_ends,
                             size_t *runs) {
  size_t size = bytes;
  if (filter == SB_FILTER_SECTIONS && !(size = sb_sections_size(sections, section_count, bytes)))
    return "its sections do not add up to its size";
  if (!reserve(&codec->filtered, size)) return no_memory;
  if (filter == SB_FILTER_SECTIONS) {
    *runs = sb_sections_apply(codec->filtered.data, raw, sections, section_count, run_ends);
  } else {
    sb_filter_apply(filter, codec->filtered.data, raw, bytes);
    run_ends[0] = size;
    *runs = 1;
  }
  return NULL;
}

/* One zstd frame in which each run starts a new block, with tables of its own. */
static const char *compress_runs(sb_codec *codec, const uint8_t *data, const size_t *run_ends,
                                 size_t runs, size_t *frame_bytes) {
  ZSTD_outBuffer out = {codec->frame.data, codec->frame.size, 0};
  ZSTD_CCtx_reset(codec->compressor, ZSTD_reset_session_and_parameters);
  size_t got = ZSTD_CCtx_setParameter(codec->compressor, ZSTD_c_compressionLevel, codec->level);
  if (!ZSTD_isError(got)) got = ZSTD_CCtx_setPledgedSrcSize(codec->compressor, run_ends[runs - 1]);
  if (ZSTD_isError(got)) return ZSTD_getErrorName(got);
  for (size_t i = 0, begin = 0; i < runs; begin = run_ends[i++]) {
    ZSTD_inBuffer in = {data + begin, run_ends[i] - begin, 0};
    got = ZSTD_compressStream2(codec->compressor, &out, &in,
                               i + 1 == runs ? ZSTD_e_end : ZSTD_e_flush);
    if (ZSTD_isError(got)) return ZSTD_getErrorName(got);
    if (got != 0 || in.pos != in.size) return "zstd wants more room than it said";
  }
  *frame_bytes = out.pos;
  return NULL;
}

const char *sb_codec_encode(sb_codec *codec, sb_filter filter, const sb_section *sections,
                            size_t section_count, const void *raw, size_t bytes, const void **frame,
                            size_t *frame_bytes) {
  size_t run_ends[SB_SECTION_MAX_RUNS] = {bytes}, runs = 1;
  if (filter != SB_FILTER_NONE) {
    const char *why =
        filter_in(codec, filter, sections, section_count, raw, bytes, run_ends, &runs);
    if (why) return why;
    raw = codec->filtered.data;
  }
  size_t bound = ZSTD_compressBound(run_ends[runs - 1]);
  if (ZSTD_isError(bound) || !reserve(&codec->frame, bound + 16 * runs)) return no_memory;
  if (!codec->compressor && !(codec->compressor = ZSTD_createCCtx())) return no_memory;
  *frame = codec->frame.data;
  if (runs > 1) return compress_runs(codec, raw, run_ends, runs, frame_bytes);
  /* Without zstd's own checksum (the default): ours covers the filter too. */
  size_t got = ZSTD_compressCCtx(codec->compressor, codec->frame.data, codec->frame.size, raw,
                                 run_ends[0], codec->level);
  if (ZSTD_isError(got)) return ZSTD_getErrorName(got);
  *frame_bytes = got;
  return NULL;
}

/* Content after the filter, at most: sections are at most 8/5 of the content, and their list has 5
 * bytes for each, of which none but a few are empty. */
static uint64_t most_filtered(uint64_t raw_bytes) {
  return raw_bytes > UINT64_MAX / 16 ? UINT64_MAX / 2 : 8 * raw_bytes + 32768;
}

uint64_t sb_codec_most_bytes(uint64_t raw_bytes) {
  const size_t bound = ZSTD_compressBound((size_t)most_filtered(raw_bytes));
  return ZSTD_isError(bound) ? UINT64_MAX : bound + 16 * SB_SECTION_MAX_RUNS;
}

const void *sb_codec_content(const sb_codec *codec) {
  return codec->decoded.data;
}

void *sb_codec_input(sb_codec *codec, size_t bytes) {
  return reserve(&codec->frame, bytes);
}

const char *sb_codec_decode(sb_codec *codec, sb_filter filter, const void *frame,
                            size_t frame_bytes, void *raw, size_t bytes, uint64_t checksum) {
  if (!codec->decompressor && !(codec->decompressor = ZSTD_createDCtx())) return no_memory;
  unsigned long long size = ZSTD_getFrameContentSize(frame, frame_bytes);
  bool sized = filter == SB_FILTER_SECTIONS ? size <= most_filtered(bytes) : size == bytes;
  if (size >= ZSTD_CONTENTSIZE_ERROR || !sized)
    return "the frame's size is not the one the index gives";
  if (!raw) raw = reserve(&codec->decoded, bytes);
  void *target = filter == SB_FILTER_NONE ? raw : reserve(&codec->filtered, (size_t)size);
  if (!raw || !target) return no_memory;
  size_t got = ZSTD_decompressDCtx(codec->decompressor, target, (size_t)size, frame, frame_bytes);
  if (ZSTD_isError(got)) return ZSTD_getErrorName(got);
  if (got != size) return "the frame is shorter than the index says";
  if (filter == SB_FILTER_SECTIONS) {
    if (!sb_sections_undo(raw, bytes, target, got)) return "its sections do not add up to its size";
  } else if (filter != SB_FILTER_NONE) {
    sb_filter_undo(filter, raw, target, bytes);
  }
  if (sb_checksum(raw, bytes) != checksum) return "the checksum does not match";
  return NULL;
}

/* ---- beginnings ---- */

/* Sections of a frame whose beginning is asked for: so many, and four for each byte of it. */
enum { MOST_LISTED = 1 << 16 };

/* The next `bytes` bytes of what a zstd frame holds. */
static const char *next_bytes(sb_codec *codec, ZSTD_inBuffer *in, void *to, size_t bytes) {
  ZSTD_outBuffer out = {to, bytes, 0};
  while (out.pos < out.size) {
    const size_t before = in->pos + out.pos;
    const size_t got = ZSTD_decompressStream(codec->decompressor, &out, in);
    if (ZSTD_isError(got)) return ZSTD_getErrorName(got);
    if (in->pos + out.pos == before) return "the frame ends before its content";
  }
  return NULL;
}

const char *sb_codec_decode_head(sb_codec *codec, sb_filter filter, const void *frame,
                                 size_t frame_bytes, void *raw, size_t bytes) {
  uint8_t number[4];
  const char *why;
  ZSTD_inBuffer in = {frame, frame_bytes, 0};
  if (filter != SB_FILTER_NONE && filter != SB_FILTER_SECTIONS) return "its filter mixes its bytes";
  if (!codec->decompressor && !(codec->decompressor = ZSTD_createDCtx())) return no_memory;
  ZSTD_DCtx_reset(codec->decompressor, ZSTD_reset_session_only);
  if (filter == SB_FILTER_SECTIONS) {
    if ((why = next_bytes(codec, &in, number, sizeof number))) return why;
    const size_t count = sb_get_u32(number);
    if (count > MOST_LISTED + 4 * bytes) return "it has too many sections";
    uint8_t *list = reserve(&codec->filtered, 5 * count);
    if (!list) return no_memory;
    if ((why = next_bytes(codec, &in, list, 5 * count))) return why;
    if (count == 0 || sb_get_u32(list) < bytes || list[4 * count] != SB_SECTION_PLAIN)
      return "its first section is another one";
  }
  return next_bytes(codec, &in, raw, bytes);
}
