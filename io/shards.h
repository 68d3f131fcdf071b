/* The shard container: one file of independently compressed frames, each found by (tensor, row).
 * One rank writes it in one go; readers seek. docs/format.md gives the bytes.
 *
 * A frame is the content of one block row of one tensor, which the container does not interpret.
 * Every frame has a checksum of its raw content (before filter and zstd), and so has the index. The
 * file is one valid zstd stream, so the plain zstd tool can list and test it. The bytes of a frame
 * depend only on content, filter, level and version of zstd, not on threads, ranks or neighbours.
 * All functions are local. */
#ifndef SB_IO_SHARDS_H
#define SB_IO_SHARDS_H

#include <stddef.h>
#include <stdint.h>

#include "base/status.h"
#include "base/ticker.h"
#include "io/filter.h"
#include "io/sections.h"

/* ---- writing ---- */

typedef struct sb_shard_writer sb_shard_writer;

typedef struct sb_frame_in {
  uint32_t tensor, row; /* key: index of the tensor in the manifest, number of the block row */
  sb_filter filter;
  const void *raw;
  size_t bytes;
  const sb_section *sections; /* for SB_FILTER_SECTIONS: the parts of raw in their order, adding up
                                 to `bytes`; else NULL */
  size_t section_count;
} sb_frame_in;

typedef struct sb_shard_stats {
  uint64_t frames;
  uint64_t raw_bytes; /* of all frames before compression */
  uint64_t file_bytes;
  uint64_t index_checksum; /* for the manifest */
} sb_shard_stats;

/* Creates the file. `level` is zstd's (1..19; 20..22 need much memory); negative levels
 * are zstd's fast ones. */
sb_status sb_shard_writer_create(const char *path, int level, sb_shard_writer **out);
/* Expected size of the whole file, for the message when space runs out. Without it the message has
 * the sizes so far. */
void sb_shard_writer_expect(sb_shard_writer *writer, uint64_t bytes);
/* Compresses and appends one frame. SB_ERR_IO names the bytes written so far when the disk is full.
 * After a failure the writer takes no more frames and cannot be finished. */
sb_status sb_shard_writer_add(sb_shard_writer *writer, uint32_t tensor, uint32_t row,
                              sb_filter filter, const void *raw, size_t bytes);
/* The same for many frames, compressed by all OpenMP threads and written in the order given, while
 * the next ones are being compressed. Memory: about twice the largest frame per thread, and up to
 * 32 MiB that wait to be written. */
sb_status sb_shard_writer_add_batch(sb_shard_writer *writer, const sb_frame_in *frames,
                                    size_t count);
/* Writes index and footer, brings the file to the disk, closes it. SB_ERR_INTERNAL when a key was
 * added twice. `stats` may be NULL. */
sb_status sb_shard_writer_finish(sb_shard_writer *writer, sb_shard_stats *stats);
/* Releases the writer; a file that was not finished is removed. Sets *writer to NULL; a
 * NULL *writer is fine. */
void sb_shard_writer_free(sb_shard_writer **writer);

/* ---- reading ---- */

typedef struct sb_shard_reader sb_shard_reader;

typedef struct sb_shard_entry {
  uint32_t tensor, row;
  uint64_t offset;    /* of the frame in the file */
  uint64_t bytes;     /* compressed */
  uint64_t raw_bytes; /* of the content */
  uint64_t checksum;  /* XXH64 of the content */
  sb_filter filter;
} sb_shard_entry;

typedef struct sb_frame_out {
  const sb_shard_entry *entry;
  void *dst; /* entry->raw_bytes bytes */
} sb_frame_out;

/* What a manifest says of a shard. */
typedef struct sb_shard_expected {
  uint64_t file_bytes, frames, index_checksum;
} sb_shard_expected;

/* Opens a shard and checks header, footer and index (not the frames). SB_ERR_FORMAT: damaged or not
 * a shard; SB_ERR_UNSUPPORTED: of a newer version. */
sb_status sb_shard_reader_open(const char *path, sb_shard_reader **out);
/* The same for a shard that is known to be `expected`. SB_ERR_FORMAT for another, before memory is
 * taken for its index. */
sb_status sb_shard_reader_open_expected(const char *path, const sb_shard_expected *expected,
                                        sb_shard_reader **out);
/* Sets *reader to NULL; a NULL *reader is fine. */
void sb_shard_reader_close(sb_shard_reader **reader);

const char *sb_shard_reader_path(const sb_shard_reader *reader);
uint64_t sb_shard_reader_file_bytes(const sb_shard_reader *reader);
uint64_t sb_shard_reader_index_checksum(const sb_shard_reader *reader);
/* Entries sorted by (tensor, row). */
size_t sb_shard_reader_count(const sb_shard_reader *reader);
const sb_shard_entry *sb_shard_reader_at(const sb_shard_reader *reader, size_t i);
/* NULL when the shard has no such frame. O(log n). */
const sb_shard_entry *sb_shard_reader_find(const sb_shard_reader *reader, uint32_t tensor,
                                           uint32_t row);

/* Reads one frame into dst; `bytes` must be entry->raw_bytes. SB_ERR_FORMAT, naming file, tensor,
 * row and offset, when the frame is damaged. May be called by several threads. */
sb_status sb_shard_read_frame(const sb_shard_reader *reader, const sb_shard_entry *entry, void *dst,
                              size_t bytes);
/* dst = the first `bytes` bytes of a frame's content, as far as its filter leaves them together
 * (sb_codec_decode_head), without a look at its checksum. SB_ERR_FORMAT as above. Reads the
 * beginning of the frame alone. */
sb_status sb_shard_read_head(const sb_shard_reader *reader, const sb_shard_entry *entry, void *dst,
                             size_t bytes);
/* Reads many whole frames with OpenMP threads. On damage the first damaged frame in the order
 * given is reported. */
sb_status sb_shard_read_batch(const sb_shard_reader *reader, const sb_frame_out *frames,
                              size_t count);

/* Looks at the content of a frame, raw[entry->raw_bytes]: NULL, or what is wrong with it, a
 * constant string. Called by several threads at once. */
typedef const char *(*sb_frame_check)(void *context, const sb_shard_entry *entry, const void *raw);

/* Decodes every frame with OpenMP threads, compares the checksums, and has `check` (NULL: none)
 * look at the content. SB_ERR_FORMAT reports how many frames are damaged and the first of them by
 * (tensor, row). `ticker` is told the share of compressed bytes that is done, by one thread at a
 * time. Memory of a thread: the largest frame, in each form. */
sb_status sb_shard_verify_content(const sb_shard_reader *reader, sb_ticker ticker,
                                  sb_frame_check check, void *context);
/* The same without looking at the content. */
sb_status sb_shard_verify(const sb_shard_reader *reader, sb_ticker ticker);

/* XXH64 over all frames of several shards in the order of (tensor, row), of tensor (u32), row
 * (u32) and content checksum (u64), little-endian: the same for any distribution of the frames
 * over files. SB_ERR_FORMAT when two shards have the same frame. O(n log n) time and O(n) memory
 * in the number of frames. */
sb_status sb_shard_content_hash(sb_shard_reader *const *readers, size_t count, uint64_t *hash);

#endif
