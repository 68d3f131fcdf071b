#include <errno.h>
#include <fcntl.h>
#include <omp.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zstd.h>

#include "base/memory.h"
#include "io/file.h"
#include "io/frame.h"
#include "io/shard_layout.h"

/* Writing to the disk is started in steps of this size, so that it overlaps with compression. */
static const uint64_t flush_step = (uint64_t)8 << 20;

struct sb_shard_writer {
  char *path;
  int fd, level;
  bool failed, finished;
  uint64_t position; /* where the next frame goes */
  uint64_t flushed;  /* up to where writing to the disk has been started */
  uint64_t expected; /* size of the whole file; 0 when unknown */
  uint64_t raw_bytes;
  sb_shard_entry *entries;
  size_t count, capacity;
  sb_codec **codecs; /* one per thread */
  int codec_count;
};

static sb_status write_header(sb_shard_writer *w) {
  uint8_t header[SB_SHARD_HEADER_BYTES] = {0};
  sb_put_u32(header, sb_shard_header_skip);
  sb_put_u32(header + 4, SB_SHARD_HEADER_BYTES - SB_SHARD_SKIP_BYTES);
  memcpy(header + 8, sb_shard_magic, sizeof sb_shard_magic);
  sb_put_u32(header + 16, SB_SHARD_VERSION);
  SB_TRY(sb_file_write_at(w->fd, w->path, 0, header, sizeof header, w->expected));
  w->position = sizeof header;
  return SB_OK;
}

sb_status sb_shard_writer_create(const char *path, int level, sb_shard_writer **out) {
  *out = NULL;
  if (level < ZSTD_minCLevel() || level > ZSTD_maxCLevel())
    return sb_fail(SB_ERR_RANGE, "zstd level %d does not exist; choose one from 1 to %d", level,
                   ZSTD_maxCLevel());
  SB_TRY(sb_alloc(out, 1, sizeof **out, "shard writer"));
  sb_shard_writer *w = *out;
  w->fd = -1;
  w->level = level;
  w->path = strdup(path);
  sb_status status = w->path ? sb_file_create(path, &w->fd)
                             : sb_fail(SB_ERR_MEMORY, "%s: not enough memory", path);
  SB_THEN(write_header(w));
  if (status != SB_OK) sb_shard_writer_free(out);
  return status;
}

void sb_shard_writer_expect(sb_shard_writer *writer, uint64_t bytes) {
  writer->expected = bytes;
}

static sb_status make_codecs(sb_shard_writer *w, int threads) {
  if (threads <= w->codec_count) return SB_OK;
  sb_codec **grown = realloc(w->codecs, (size_t)threads * sizeof *grown);
  if (!grown)
    return sb_fail(SB_ERR_MEMORY, "%s: not enough memory to compress with %d threads", w->path,
                   threads);
  w->codecs = grown;
  for (; w->codec_count < threads; w->codec_count++)
    if (!(grown[w->codec_count] = sb_codec_create(w->level)))
      return sb_fail(SB_ERR_MEMORY, "%s: not enough memory to compress with %d threads", w->path,
                     threads);
  return SB_OK;
}

static sb_status make_room(sb_shard_writer *w, size_t more) {
  size_t needed;
  if (!sb_add_size(w->count, more, &needed))
    return sb_fail(SB_ERR_MEMORY, "%s: too many frames", w->path);
  if (needed <= w->capacity) return SB_OK;
  size_t capacity = sb_max_size(needed, w->capacity * 2);
  sb_shard_entry *grown = NULL;
  SB_TRY(sb_alloc(&grown, capacity, sizeof *grown, "shard index"));
  if (w->count) memcpy(grown, w->entries, w->count * sizeof *grown);
  sb_free(&w->entries);
  w->entries = grown;
  w->capacity = capacity;
  return SB_OK;
}

static sb_status append(sb_shard_writer *w, const sb_frame_in *in, const void *frame, size_t bytes,
                        uint64_t checksum) {
  SB_TRY(sb_file_write_at(w->fd, w->path, w->position, frame, bytes, w->expected));
  w->entries[w->count++] = (sb_shard_entry){.tensor = in->tensor,
                                            .row = in->row,
                                            .offset = w->position,
                                            .bytes = bytes,
                                            .raw_bytes = in->bytes,
                                            .checksum = checksum,
                                            .filter = in->filter};
  w->position += bytes;
  w->raw_bytes += in->bytes;
  if (w->position - w->flushed >= flush_step) {
    /* A hint; where the file system has no such call, the final fsync does it all. */
    (void)sync_file_range(w->fd, (off_t)w->flushed, (off_t)(w->position - w->flushed),
                          SYNC_FILE_RANGE_WRITE);
    w->flushed = w->position;
  }
  return SB_OK;
}

static sb_status encode_error(const sb_shard_writer *w, const sb_frame_in *in, const char *why) {
  return sb_fail(SB_ERR_INTERNAL,
                 "%s: tensor %u, block row %u (%zu bytes) cannot be compressed: %s", w->path,
                 in->tensor, in->row, in->bytes, why);
}

/* ---- many frames at once ----
 * Threads take frames in order, compress them, and leave the result in the frame's slot. Whoever
 * finds the next frame to be written ready, and nobody writing, writes all that are ready. So no
 * thread waits for another, except that nobody starts a frame while too much is waiting to be
 * written (a slow disk); the frame that is due is then always ready or in work. */

static const size_t max_pending = (size_t)32 << 20;

typedef struct slot {
  void *frame; /* malloc */
  size_t bytes;
  uint64_t checksum;
  const char *why; /* compression failed */
  bool ready;
} slot;

typedef struct pipeline {
  sb_shard_writer *writer;
  const sb_frame_in *frames;
  size_t count;
  pthread_mutex_t lock; /* guards what follows */
  pthread_cond_t room;
  slot *slots; /* [count] */
  size_t next_taken, next_written, pending;
  bool writing;
  sb_status status;
  char message[2048]; /* of the first failure, in the order of the frames */
} pipeline;

/* The next frame to compress; false when there is none. */
static bool take(pipeline *p, size_t *i) {
  pthread_mutex_lock(&p->lock);
  while (p->pending > max_pending && p->status == SB_OK) pthread_cond_wait(&p->room, &p->lock);
  bool more = p->status == SB_OK && p->next_taken < p->count;
  if (more) *i = p->next_taken++;
  pthread_mutex_unlock(&p->lock);
  return more;
}

static void compress(const pipeline *p, sb_codec *codec, size_t i, slot *out) {
  const sb_frame_in *in = &p->frames[i];
  const void *frame;
  out->checksum = sb_checksum(in->raw, in->bytes);
  out->why = sb_codec_encode(codec, in->filter, in->sections, in->section_count, in->raw, in->bytes,
                             &frame, &out->bytes);
  if (out->why) return;
  out->frame = malloc(out->bytes);
  if (out->frame)
    memcpy(out->frame, frame, out->bytes);
  else
    out->why = "not enough memory";
}

/* Writes what is ready and due. Called, and returns, with the lock held; gives it
 * up while it writes. */
static void write_ready(pipeline *p) {
  p->writing = true;
  while (p->status == SB_OK && p->next_written < p->count && p->slots[p->next_written].ready) {
    size_t i = p->next_written++;
    slot *s = &p->slots[i];
    pthread_mutex_unlock(&p->lock);
    const sb_frame_in *in = &p->frames[i];
    sb_status status = s->why ? encode_error(p->writer, in, s->why)
                              : append(p->writer, in, s->frame, s->bytes, s->checksum);
    free(s->frame);
    s->frame = NULL;
    pthread_mutex_lock(&p->lock);
    p->pending -= s->bytes;
    if (status != SB_OK) {
      p->status = status;
      strcpy(p->message, sb_message());
    }
    pthread_cond_broadcast(&p->room);
  }
  p->writing = false;
}

static void work(pipeline *p, sb_codec *codec) {
  size_t i;
  while (take(p, &i)) {
    slot done = {.ready = true};
    compress(p, codec, i, &done);
    pthread_mutex_lock(&p->lock);
    p->slots[i] = done;
    p->pending += done.bytes;
    if (!p->writing) write_ready(p);
    pthread_mutex_unlock(&p->lock);
  }
}

sb_status sb_shard_writer_add_batch(sb_shard_writer *w, const sb_frame_in *frames, size_t count) {
  if (w->failed || w->finished)
    return sb_fail(SB_ERR_INTERNAL, "%s: a frame was added after a failure or the end", w->path);
  for (size_t i = 0; i < count; i++)
    if (!sb_filter_known(frames[i].filter))
      return sb_fail(SB_ERR_INTERNAL, "%s: filter %d of tensor %u, block row %u is unknown",
                     w->path, (int)frames[i].filter, frames[i].tensor, frames[i].row);
  int threads = (int)sb_min_size((size_t)omp_get_max_threads(), sb_max_size(count, 1));
  pipeline p = {.writer = w, .frames = frames, .count = count};
  SB_TRY(make_codecs(w, threads));
  SB_TRY(make_room(w, count));
  SB_TRY(sb_alloc(&p.slots, count, sizeof *p.slots, "frames being compressed"));
  pthread_mutex_init(&p.lock, NULL);
  pthread_cond_init(&p.room, NULL);
#pragma omp parallel num_threads(threads)
  work(&p, w->codecs[omp_get_thread_num()]);
  pthread_cond_destroy(&p.room);
  pthread_mutex_destroy(&p.lock);
  for (size_t i = 0; i < count; i++) free(p.slots[i].frame); /* left there by a failure */
  sb_free(&p.slots);
  if (p.status == SB_OK) return SB_OK;
  w->failed = true;
  return sb_fail(p.status, "%s", p.message);
}

sb_status sb_shard_writer_add(sb_shard_writer *w, uint32_t tensor, uint32_t row, sb_filter filter,
                              const void *raw, size_t bytes) {
  const sb_frame_in frame = {
      .tensor = tensor, .row = row, .filter = filter, .raw = raw, .bytes = bytes};
  return sb_shard_writer_add_batch(w, &frame, 1);
}

static int by_key(const void *a, const void *b) {
  return sb_shard_compare_keys(a, b);
}

/* Index and footer, as one skippable frame. */
static sb_status write_index(sb_shard_writer *w, uint64_t *checksum) {
  size_t entries_bytes = w->count * SB_SHARD_ENTRY_BYTES;
  size_t total = SB_SHARD_SKIP_BYTES + entries_bytes + SB_SHARD_FOOTER_BYTES;
  uint8_t *image = NULL;
  if (w->count) qsort(w->entries, w->count, sizeof *w->entries, by_key);
  for (size_t i = 1; i < w->count; i++)
    if (sb_shard_compare_keys(&w->entries[i - 1], &w->entries[i]) == 0)
      return sb_fail(SB_ERR_INTERNAL, "%s: tensor %u, block row %u was added twice", w->path,
                     w->entries[i].tensor, w->entries[i].row);
  if (total - SB_SHARD_SKIP_BYTES > UINT32_MAX)
    return sb_fail(SB_ERR_RANGE, "%s: %zu frames are too many for one shard; use more ranks",
                   w->path, w->count);
  SB_TRY(sb_alloc(&image, total, 1, "shard index"));
  sb_put_u32(image, sb_shard_index_skip);
  sb_put_u32(image + 4, (uint32_t)(total - SB_SHARD_SKIP_BYTES));
  uint8_t *entries = image + SB_SHARD_SKIP_BYTES, *footer = entries + entries_bytes;
  for (size_t i = 0; i < w->count; i++)
    sb_shard_put_entry(entries + i * SB_SHARD_ENTRY_BYTES, &w->entries[i]);
  *checksum = sb_checksum(entries, entries_bytes);
  sb_put_u64(footer, w->position + SB_SHARD_SKIP_BYTES);
  sb_put_u64(footer + 8, w->count);
  sb_put_u64(footer + 16, *checksum);
  memcpy(footer + 24, sb_shard_end_magic, sizeof sb_shard_end_magic);
  sb_status status = sb_file_write_at(w->fd, w->path, w->position, image, total, w->expected);
  if (status == SB_OK) w->position += total;
  sb_free(&image);
  return status;
}

sb_status sb_shard_writer_finish(sb_shard_writer *w, sb_shard_stats *stats) {
  uint64_t checksum = 0;
  if (w->failed || w->finished)
    return sb_fail(SB_ERR_INTERNAL, "%s: was finished after a failure or twice", w->path);
  w->failed = true; /* until all is done */
  SB_TRY(write_index(w, &checksum));
  SB_TRY(sb_file_sync(w->fd, w->path));
  int fd = w->fd;
  w->fd = -1;
  if (close(fd) != 0) return sb_file_write_error(w->path, errno, w->position, 0);
  w->failed = false;
  w->finished = true;
  if (stats)
    *stats = (sb_shard_stats){.frames = w->count,
                              .raw_bytes = w->raw_bytes,
                              .file_bytes = w->position,
                              .index_checksum = checksum};
  return SB_OK;
}

void sb_shard_writer_free(sb_shard_writer **writer) {
  sb_shard_writer *w = *writer;
  if (!w) return;
  bool created = w->fd >= 0 || w->failed;
  if (w->fd >= 0) close(w->fd);
  if (created && !w->finished) unlink(w->path);
  for (int i = 0; i < w->codec_count; i++) sb_codec_free(w->codecs[i]);
  free(w->codecs);
  free(w->path);
  sb_free(&w->entries);
  sb_free(writer);
}
