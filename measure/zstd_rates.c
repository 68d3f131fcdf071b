#include "measure/zstd_rates.h"

#include <omp.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "io/frame.h"
#include "measure/timing.h"

enum { LEVEL = 1 };

typedef struct work {
  const uint8_t *data;
  const size_t *starts;
  size_t frames;
  int threads;
  sb_codec **codecs; /* [threads] */
  void **compressed; /* [frames] malloc */
  size_t *compressed_bytes;
  uint64_t *checksums;
  uint8_t *back; /* [most bytes of a frame, threads] */
  size_t most;
  bool keep; /* compressed frames are kept, once, for reading */
} work;

static sb_status reason(const char *what) {
  return what ? sb_fail(SB_ERR_INTERNAL, "zstd: %s", what) : SB_OK;
}

static const char *encode_frame(work *w, size_t k) {
  const size_t bytes = w->starts[k + 1] - w->starts[k];
  const void *frame;
  size_t frame_bytes;
  const char *wrong = sb_codec_encode(w->codecs[omp_get_thread_num()], SB_FILTER_NONE, NULL, 0,
                                      w->data + w->starts[k], bytes, &frame, &frame_bytes);
  if (wrong || !w->keep) return wrong;
  w->compressed[k] = malloc(frame_bytes);
  if (!w->compressed[k]) return "not enough memory";
  memcpy(w->compressed[k], frame, frame_bytes);
  w->compressed_bytes[k] = frame_bytes;
  w->checksums[k] = sb_checksum(w->data + w->starts[k], bytes);
  return NULL;
}

static const char *decode_frame(work *w, size_t k) {
  const int thread = omp_get_thread_num();
  return sb_codec_decode(w->codecs[thread], SB_FILTER_NONE, w->compressed[k],
                         w->compressed_bytes[k], w->back + (size_t)thread * w->most,
                         w->starts[k + 1] - w->starts[k], w->checksums[k]);
}

static sb_status all_frames(work *w, const char *(*frame)(work *, size_t)) {
  const char *wrong = NULL;
#pragma omp parallel for schedule(dynamic, 1)
  for (size_t k = 0; k < w->frames; k++) {
    const char *here = frame(w, k);
    if (here) {
#pragma omp critical
      wrong = here;
    }
  }
  return reason(wrong);
}

static sb_status compress(void *context) {
  return all_frames(context, encode_frame);
}

static sb_status decompress(void *context) {
  return all_frames(context, decode_frame);
}

static sb_status prepare(work *w) {
  w->threads = omp_get_max_threads();
  for (size_t k = 0; k < w->frames; k++)
    w->most = sb_max_size(w->most, w->starts[k + 1] - w->starts[k]);
  SB_TRY(sb_alloc(&w->codecs, (size_t)w->threads, sizeof *w->codecs, "codecs"));
  SB_TRY(sb_alloc(&w->compressed, w->frames, sizeof *w->compressed, "frames"));
  SB_TRY(sb_alloc(&w->compressed_bytes, w->frames, sizeof *w->compressed_bytes, "frames"));
  SB_TRY(sb_alloc(&w->checksums, w->frames, sizeof *w->checksums, "frames"));
  SB_TRY(sb_alloc(&w->back, w->most, (size_t)w->threads, "frames"));
  for (int t = 0; t < w->threads; t++) {
    w->codecs[t] = sb_codec_create(LEVEL);
    if (!w->codecs[t]) return sb_fail(SB_ERR_MEMORY, "not enough memory for zstd");
  }
  w->keep = true;
  const sb_status status = compress(w);
  w->keep = false;
  return status;
}

static void release(work *w) {
  for (int t = 0; w->codecs && t < w->threads; t++) sb_codec_free(w->codecs[t]);
  for (size_t k = 0; w->compressed && k < w->frames; k++) free(w->compressed[k]);
  sb_free(&w->codecs);
  sb_free(&w->compressed);
  sb_free(&w->compressed_bytes);
  sb_free(&w->checksums);
  sb_free(&w->back);
}

sb_status sb_zstd_rates(const sb_world *world, const uint8_t *data, const size_t *starts,
                        size_t frames, int rounds, sb_machine *out) {
  work w = {.data = data, .starts = starts, .frames = frames};
  const double bytes = (double)(starts[frames] - starts[0]);
  double seconds;
  sb_status status = sb_world_agree(world, prepare(&w));
  SB_THEN(sb_time_best(world, rounds, compress, &w, &seconds));
  if (status == SB_OK) out->value[SB_FIGURE_COMPRESS] = bytes / seconds;
  SB_THEN(sb_time_best(world, rounds, decompress, &w, &seconds));
  if (status == SB_OK) out->value[SB_FIGURE_DECOMPRESS] = bytes / seconds;
  release(&w);
  return status;
}
