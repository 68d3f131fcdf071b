#include "pass/wave.h"

#include <string.h>

#include "base/memory.h"

sb_status sb_wave_allocate(sb_wave *w) {
  sb_backend *b = w->backend;
  const size_t rows = w->room * w->T, bytes = rows * sizeof(uint32_t);
  SB_TRY(b->op->alloc(b, bytes, "token ids", (void **)&w->ids_dev));
  SB_TRY(b->op->alloc(b, bytes, "token ids", (void **)&w->targets_dev));
  return sb_alloc(&w->host_ids, 2 * rows, sizeof *w->host_ids, "token ids");
}

size_t sb_wave_bytes(const sb_wave_sizes *w) {
  return 4 * sb_wave_sizes_rows(w) * sizeof(uint32_t); /* ids and targets, here and there */
}

void sb_wave_free(sb_wave *w) {
  if (!w->backend) return;
  w->backend->op->free(w->backend, w->ids_dev);
  w->backend->op->free(w->backend, w->targets_dev);
  sb_free(&w->host_ids);
}

sb_status sb_wave_enter(sb_wave *w, const uint32_t *tokens, size_t first, size_t count) {
  sb_backend *b = w->backend;
  w->first = first;
  w->count = count;
  const size_t rows = sb_wave_rows(w);
  uint32_t *ids = w->host_ids, *targets = ids + rows;
  if (rows == 0) return SB_OK;
  memcpy(ids, tokens, rows * sizeof *ids);
  for (size_t i = 0; i < rows; i++) targets[i] = (i + 1) % w->T == 0 ? SB_NO_TARGET : tokens[i + 1];
  SB_TRY(b->op->upload(b, w->stream, w->ids_dev, ids, rows * sizeof *ids));
  SB_TRY(b->op->upload(b, w->stream, w->targets_dev, targets, rows * sizeof *targets));
  return b->op->sync(b, w->stream);
}

void sb_wave_expect(sb_wave *w, double work) {
  w->done = 0;
  w->work = work;
}

sb_status sb_wave_progress(sb_wave *w, double work) {
  w->done += work;
  sb_tick(w->ticker, w->work > 0 ? w->done / w->work : 1.0);
  return sb_store_progress(w->model->store);
}
