/* One frame of a shard: filter, then zstd, and the way back. A codec holds contexts and buffers
 * that frames share; each thread needs a codec of its own. Local. Reasons for failure are constant
 * strings; the caller adds the file and the place in it. */
#ifndef SB_IO_FRAME_H
#define SB_IO_FRAME_H

#include <stddef.h>
#include <stdint.h>

#include "io/filter.h"
#include "io/sections.h"

typedef struct sb_codec sb_codec;

/* NULL when memory is short. `level` is zstd's, for encoding. */
sb_codec *sb_codec_create(int level);
void sb_codec_free(sb_codec *codec);

/* XXH64 with seed 0: the checksum of frames and indexes. */
uint64_t sb_checksum(const void *data, size_t bytes);

/* Compresses `bytes` bytes. *frame (owned by the codec, valid until its next call) has *frame_bytes
 * bytes and depends only on the input, the filter, the level and the version of zstd. `sections` is
 * for SB_FILTER_SECTIONS, and must add up to `bytes`. NULL on success, else the reason. */
const char *sb_codec_encode(sb_codec *codec, sb_filter filter, const sb_section *sections,
                            size_t section_count, const void *raw, size_t bytes, const void **frame,
                            size_t *frame_bytes);
/* Most bytes that a frame of `raw_bytes` bytes of content has; UINT64_MAX where that overflows. */
uint64_t sb_codec_most_bytes(uint64_t raw_bytes);
/* A buffer of `bytes` bytes for a frame to be decoded, owned by the codec; NULL
 * when memory is short. */
void *sb_codec_input(sb_codec *codec, size_t bytes);
/* Decodes a frame to exactly `bytes` bytes whose checksum must be `checksum`, into raw[bytes] or
 * (NULL) the codec's own memory. NULL on success, else the reason. */
const char *sb_codec_decode(sb_codec *codec, sb_filter filter, const void *frame,
                            size_t frame_bytes, void *raw, size_t bytes, uint64_t checksum);
/* The first `bytes` bytes of the content of a frame, of which `frame` may be a beginning, as long
 * as it suffices; without a checksum. Of filters, none and sections, whose first part must be plain
 * and have as many bytes. NULL on success, else the reason. */
const char *sb_codec_decode_head(sb_codec *codec, sb_filter filter, const void *frame,
                                 size_t frame_bytes, void *raw, size_t bytes);
/* What was decoded last into the codec's own memory, valid until its next call. */
const void *sb_codec_content(const sb_codec *codec);

#endif
