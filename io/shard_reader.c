#include <omp.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/memory.h"
#include "io/file.h"
#include "io/frame.h"
#include "io/shard_layout.h"

typedef unsigned long long ull;

/* Of a frame's beginning: a zstd block, which has at most 128 KiB, and what comes before it. */
enum { HEAD_BYTES = (128 << 10) + 64 };

struct sb_shard_reader {
  char *path;
  int fd;
  uint64_t file_bytes, index_checksum;
  sb_shard_entry *entries; /* sorted by key */
  size_t count;
};

static sb_status damaged(const sb_shard_reader *r, const char *what) {
  return sb_fail(SB_ERR_FORMAT,
                 "%s: %s; the shard is damaged or incomplete: copy it again, or quantize again",
                 r->path, what);
}

static sb_status check_header(const sb_shard_reader *r) {
  uint8_t header[SB_SHARD_HEADER_BYTES];
  if (r->file_bytes < SB_SHARD_HEADER_BYTES + SB_SHARD_SKIP_BYTES + SB_SHARD_FOOTER_BYTES)
    return damaged(r, "the file is too short for a shard");
  SB_TRY(sb_file_read_at(r->fd, r->path, 0, header, sizeof header));
  if (sb_get_u32(header) != sb_shard_header_skip ||
      memcmp(header + 8, sb_shard_magic, sizeof sb_shard_magic) != 0)
    return sb_fail(SB_ERR_FORMAT,
                   "%s: does not start as a shard does; copy it again, or quantize again", r->path);
  uint32_t version = sb_get_u32(header + 16);
  if (version == 0 || version > SB_SHARD_VERSION)
    return sb_fail(SB_ERR_UNSUPPORTED,
                   "%s: is a shard of format version %u; this program reads version %d: update it",
                   r->path, version, SB_SHARD_VERSION);
  static const uint8_t reserved[12];
  if (sb_get_u32(header + 4) != SB_SHARD_HEADER_BYTES - SB_SHARD_SKIP_BYTES ||
      memcmp(header + 20, reserved, sizeof reserved) != 0)
    return damaged(r, "its header has bytes that no version 1 shard has");
  return SB_OK;
}

static int by_offset(const void *a, const void *b) {
  const sb_shard_entry *x = a, *y = b;
  return x->offset < y->offset ? -1 : x->offset > y->offset;
}

/* Keys rise strictly, filters are known, and the frames follow one another without gaps from the
 * header to the index. */
static sb_status check_entries(const sb_shard_reader *r, uint64_t frames_end) {
  sb_shard_entry *sorted = NULL;
  for (size_t i = 0; i < r->count; i++) {
    const sb_shard_entry *e = &r->entries[i];
    if (i > 0 && sb_shard_compare_keys(e - 1, e) >= 0)
      return damaged(r, "its index is not in order");
    if (!sb_filter_known(e->filter))
      return sb_fail(
          SB_ERR_UNSUPPORTED,
          "%s: tensor %u, block row %u uses filter %d, unknown to this program: update it", r->path,
          e->tensor, e->row, (int)e->filter);
  }
  SB_TRY(sb_alloc_raw(&sorted, r->count, sizeof *sorted, "shard index"));
  if (r->count) memcpy(sorted, r->entries, r->count * sizeof *sorted);
  qsort(sorted, r->count, sizeof *sorted, by_offset);
  uint64_t at = SB_SHARD_HEADER_BYTES;
  bool tiled = true;
  for (size_t i = 0; tiled && i < r->count; i++) {
    tiled = sorted[i].offset == at && sorted[i].bytes <= frames_end - at;
    at += tiled ? sorted[i].bytes : 0;
  }
  sb_free(&sorted);
  if (!tiled || at != frames_end) return damaged(r, "its index does not match its frames");
  return SB_OK;
}

/* The footer, whose index has *count entries from *index_at on. */
static sb_status read_footer(sb_shard_reader *r, uint64_t *index_at, uint64_t *count) {
  uint8_t footer[SB_SHARD_FOOTER_BYTES];
  const uint64_t footer_at = r->file_bytes - SB_SHARD_FOOTER_BYTES;
  uint64_t bytes;
  SB_TRY(sb_file_read_at(r->fd, r->path, footer_at, footer, sizeof footer));
  if (memcmp(footer + 24, sb_shard_end_magic, sizeof sb_shard_end_magic) != 0)
    return damaged(r, "does not end as a shard does");
  *index_at = sb_get_u64(footer);
  *count = sb_get_u64(footer + 8);
  r->index_checksum = sb_get_u64(footer + 16);
  if (*index_at < SB_SHARD_HEADER_BYTES + SB_SHARD_SKIP_BYTES || *index_at > footer_at ||
      __builtin_mul_overflow(*count, (uint64_t)SB_SHARD_ENTRY_BYTES, &bytes) ||
      bytes != footer_at - *index_at)
    return damaged(r, "its footer contradicts its size");
  return SB_OK;
}

static sb_status check_expected(const sb_shard_reader *r, uint64_t count,
                                const sb_shard_expected *e) {
  if (!e || (r->file_bytes == e->file_bytes && count == e->frames &&
             r->index_checksum == e->index_checksum))
    return SB_OK;
  return sb_fail(SB_ERR_FORMAT,
                 "%s: has %llu bytes, %llu frames and index checksum %016llx, the manifest says "
                 "%llu, %llu and %016llx; it belongs to another run",
                 r->path, (ull)r->file_bytes, (ull)count, (ull)r->index_checksum,
                 (ull)e->file_bytes, (ull)e->frames, (ull)e->index_checksum);
}

static sb_status read_index(sb_shard_reader *r, const sb_shard_expected *expected) {
  uint8_t skip[SB_SHARD_SKIP_BYTES], *image = NULL;
  sb_status status = SB_OK;
  uint64_t index_at = 0, count = 0;
  SB_TRY(read_footer(r, &index_at, &count));
  SB_TRY(check_expected(r, count, expected));
  const uint64_t bytes = count * SB_SHARD_ENTRY_BYTES;
  SB_TRY(sb_file_read_at(r->fd, r->path, index_at - SB_SHARD_SKIP_BYTES, skip, sizeof skip));
  if (sb_get_u32(skip) != sb_shard_index_skip || sb_get_u32(skip + 4) != r->file_bytes - index_at)
    return damaged(r, "its index does not start as one");
  SB_GO(sb_alloc_raw(&image, (size_t)bytes, 1, "shard index"));
  SB_GO(sb_file_read_at(r->fd, r->path, index_at, image, (size_t)bytes));
  if (sb_checksum(image, (size_t)bytes) != r->index_checksum) {
    status = damaged(r, "the checksum of its index does not match");
    goto done;
  }
  r->count = (size_t)count;
  SB_GO(sb_alloc(&r->entries, r->count, sizeof *r->entries, "shard index"));
  for (size_t i = 0; i < r->count; i++)
    sb_shard_get_entry(image + i * SB_SHARD_ENTRY_BYTES, &r->entries[i]);
  status = check_entries(r, index_at - SB_SHARD_SKIP_BYTES);
done:
  sb_free(&image);
  return status;
}

sb_status sb_shard_reader_open_expected(const char *path, const sb_shard_expected *expected,
                                        sb_shard_reader **out) {
  SB_TRY(sb_alloc(out, 1, sizeof **out, "shard reader"));
  sb_shard_reader *r = *out;
  r->fd = -1;
  r->path = strdup(path);
  sb_status status = r->path ? sb_file_open(path, &r->fd, &r->file_bytes)
                             : sb_fail(SB_ERR_MEMORY, "%s: not enough memory", path);
  SB_THEN(check_header(r));
  SB_THEN(read_index(r, expected));
  if (status != SB_OK) sb_shard_reader_close(out);
  return status;
}

sb_status sb_shard_reader_open(const char *path, sb_shard_reader **out) {
  return sb_shard_reader_open_expected(path, NULL, out);
}

void sb_shard_reader_close(sb_shard_reader **reader) {
  sb_shard_reader *r = *reader;
  if (!r) return;
  if (r->fd >= 0) close(r->fd);
  free(r->path);
  sb_free(&r->entries);
  sb_free(reader);
}

const char *sb_shard_reader_path(const sb_shard_reader *r) {
  return r->path;
}

uint64_t sb_shard_reader_file_bytes(const sb_shard_reader *r) {
  return r->file_bytes;
}

uint64_t sb_shard_reader_index_checksum(const sb_shard_reader *r) {
  return r->index_checksum;
}

size_t sb_shard_reader_count(const sb_shard_reader *r) {
  return r->count;
}

const sb_shard_entry *sb_shard_reader_at(const sb_shard_reader *r, size_t i) {
  return &r->entries[i];
}

static int by_key(const void *a, const void *b) {
  return sb_shard_compare_keys(a, b);
}

const sb_shard_entry *sb_shard_reader_find(const sb_shard_reader *r, uint32_t tensor,
                                           uint32_t row) {
  const sb_shard_entry key = {.tensor = tensor, .row = row};
  return bsearch(&key, r->entries, r->count, sizeof *r->entries, by_key);
}

/* Reads and decodes with the given codec, to dst or (NULL) to the codec's memory; NULL or the
 * reason. */
static const char *decode(const sb_shard_reader *r, const sb_shard_entry *e, sb_codec *codec,
                          void *dst) {
  if (e->bytes > sb_codec_most_bytes(e->raw_bytes))
    return "it has more bytes than its content can take";
  void *frame = codec ? sb_codec_input(codec, (size_t)e->bytes) : NULL;
  if (!frame) return "not enough memory";
  if (sb_file_read_at(r->fd, r->path, e->offset, frame, (size_t)e->bytes) != SB_OK)
    return "it cannot be read";
  return sb_codec_decode(codec, e->filter, frame, (size_t)e->bytes, dst, (size_t)e->raw_bytes,
                         e->checksum);
}

static sb_status frame_error(const sb_shard_reader *r, const sb_shard_entry *e, const char *why) {
  return sb_fail(
      SB_ERR_FORMAT,
      "%s: tensor %u, block row %u (frame of %llu bytes at byte %llu): %s; the shard is damaged: "
      "copy it again, or quantize again",
      r->path, e->tensor, e->row, (ull)e->bytes, (ull)e->offset, why);
}

sb_status sb_shard_read_frame(const sb_shard_reader *r, const sb_shard_entry *e, void *dst,
                              size_t bytes) {
  if (bytes != e->raw_bytes)
    return sb_fail(
        SB_ERR_FORMAT,
        "%s: tensor %u, block row %u holds %llu bytes where %zu are expected; manifest and shard "
        "do not belong together",
        r->path, e->tensor, e->row, (ull)e->raw_bytes, bytes);
  sb_codec *codec = sb_codec_create(0);
  const char *why = decode(r, e, codec, dst);
  sb_codec_free(codec);
  return why ? frame_error(r, e, why) : SB_OK;
}

sb_status sb_shard_read_head(const sb_shard_reader *r, const sb_shard_entry *e, void *dst,
                             size_t bytes) {
  const size_t begun = sb_min_size((size_t)e->bytes, HEAD_BYTES + 8 * bytes);
  sb_codec *codec = sb_codec_create(0);
  void *frame = codec ? sb_codec_input(codec, begun) : NULL;
  const char *why = frame ? NULL : "not enough memory";
  if (!why && bytes > e->raw_bytes) why = "it is too short";
  if (!why && sb_file_read_at(r->fd, r->path, e->offset, frame, begun) != SB_OK)
    why = "it cannot be read";
  if (!why) why = sb_codec_decode_head(codec, e->filter, frame, begun, dst, bytes);
  sb_codec_free(codec);
  return why ? frame_error(r, e, why) : SB_OK;
}

sb_status sb_shard_read_batch(const sb_shard_reader *r, const sb_frame_out *frames, size_t count) {
  size_t bad = count;
  const char *reason = NULL;
#pragma omp parallel num_threads(                                                                  \
    (int)sb_min_size((size_t)omp_get_max_threads(), sb_max_size(count, 1)))
  {
    sb_codec *codec = sb_codec_create(0);
#pragma omp for schedule(dynamic, 1)
    for (size_t i = 0; i < count; i++) {
      const char *why = decode(r, frames[i].entry, codec, frames[i].dst);
      if (why) {
#pragma omp critical(sb_shard_read_batch)
        if (i < bad) {
          bad = i;
          reason = why;
        }
      }
    }
    sb_codec_free(codec);
  }
  return reason ? frame_error(r, frames[bad].entry, reason) : SB_OK;
}

sb_status sb_shard_verify(const sb_shard_reader *r, sb_ticker ticker) {
  return sb_shard_verify_content(r, ticker, NULL, NULL);
}

sb_status sb_shard_verify_content(const sb_shard_reader *r, sb_ticker ticker, sb_frame_check check,
                                  void *context) {
  size_t bad = r->count, bad_count = 0;
  const char *reason = NULL;
  uint64_t done = 0, total = 0;
  for (size_t i = 0; i < r->count; i++) total += r->entries[i].bytes;
#pragma omp parallel
  {
    sb_codec *codec = sb_codec_create(0);
#pragma omp for schedule(dynamic, 4)
    for (size_t i = 0; i < r->count; i++) {
      const sb_shard_entry *e = &r->entries[i];
      const char *why = decode(r, e, codec, NULL);
      if (!why && check) why = check(context, e, sb_codec_content(codec));
#pragma omp critical(sb_shard_verify)
      {
        if (why) bad_count++;
        if (why && i < bad) {
          bad = i;
          reason = why;
        }
        done += e->bytes;
        sb_tick(ticker, (double)done / (double)total);
      }
    }
    sb_codec_free(codec);
  }
  if (!reason) return SB_OK;
  const sb_shard_entry *e = &r->entries[bad];
  return sb_fail(
      SB_ERR_FORMAT,
      "%s: %zu of %zu frames are damaged, the first is tensor %u, block row %u at byte %llu: %s; "
      "copy the shard again, or quantize again",
      r->path, bad_count, r->count, e->tensor, e->row, (ull)e->offset, reason);
}

sb_status sb_shard_content_hash(sb_shard_reader *const *readers, size_t count, uint64_t *hash) {
  sb_status status = SB_OK;
  sb_shard_entry *all = NULL;
  uint8_t *image = NULL;
  size_t total = 0, at = 0;
  for (size_t i = 0; i < count; i++) total += readers[i]->count;
  SB_GO(sb_alloc_raw(&all, total, sizeof *all, "list of all frames"));
  SB_GO(sb_alloc_raw(&image, total, 16, "list of all checksums"));
  for (size_t i = 0; i < count; at += readers[i++]->count)
    if (readers[i]->count) memcpy(all + at, readers[i]->entries, readers[i]->count * sizeof *all);
  qsort(all, total, sizeof *all, by_key);
  for (size_t i = 0; i < total; i++) {
    if (i > 0 && sb_shard_compare_keys(&all[i - 1], &all[i]) == 0) {
      status = sb_fail(SB_ERR_FORMAT,
                       "%s: two of the %zu shards beside it hold tensor %u, block row %u; they do "
                       "not belong together",
                       readers[0]->path, count, all[i].tensor, all[i].row);
      goto done;
    }
    sb_put_u32(image + 16 * i, all[i].tensor);
    sb_put_u32(image + 16 * i + 4, all[i].row);
    sb_put_u64(image + 16 * i + 8, all[i].checksum);
  }
  *hash = sb_checksum(image, total * 16);
done:
  sb_free(&all);
  sb_free(&image);
  return status;
}
