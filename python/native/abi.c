#include "python/native/abi.h"

#include <pthread.h>
#include <string.h>

#include "base/memory.h"
#include "base/status.h"
#include "io/shardset.h"
#include "kernels/backend.h"
#include "kernels/blockrow.h"
#include "kernels/code_kind.h"
#include "kernels/shared/transform.h"
#include "kernels/shared/trellis.h"

struct shardbits_folder {
  sb_shardset *shards;
  sb_backend *backend;
  pthread_mutex_t turn; /* of the backend, whose operations are for one thread */
};

struct shardbits_matrix {
  shardbits_folder *folder;
  const char *name; /* of the manifest */
  sb_tiling tiling;
  sb_code_kind kind;
  uint8_t *packed, *bits; /* block rows; widths of all blocks */
  size_t *offsets, bytes;
  uint16_t *col_factors; /* of trellis codes */
  sb_packed product;
};

const char *shardbits_version(void) {
  return SB_VERSION;
}

const char *shardbits_error(void) {
  return sb_message();
}

/* ---- folders ---- */

static sb_status open_folder(shardbits_folder *f, const char *path, int threads) {
  SB_TRY(sb_shardset_open(path, &f->shards));
  return sb_backend_cpu_create(SB_COMPUTE_F32, threads, &f->backend);
}

shardbits_folder *shardbits_open(const char *path, int threads) {
  shardbits_folder *f = NULL;
  if (sb_alloc(&f, 1, sizeof *f, "folder") != SB_OK) return NULL;
  pthread_mutex_init(&f->turn, NULL);
  if (open_folder(f, path, threads) == SB_OK) return f;
  shardbits_close(f);
  return NULL;
}

void shardbits_close(shardbits_folder *f) {
  if (!f) return;
  if (f->backend) f->backend->op->destroy(f->backend);
  sb_shardset_close(&f->shards);
  pthread_mutex_destroy(&f->turn);
  sb_free(&f);
}

/* ---- frames ---- */

static const sb_manifest_tensor *tensor_of(const shardbits_folder *f, uint32_t tensor) {
  const sb_manifest *m = sb_shardset_manifest(f->shards);
  if (tensor < m->tensor_count) return &m->tensors[tensor];
  sb_fail(SB_ERR_RANGE, "tensor %u of %zu", tensor, m->tensor_count);
  return NULL;
}

int64_t shardbits_frame_bytes(const shardbits_folder *f, uint32_t tensor, uint32_t row) {
  const sb_manifest_tensor *t = tensor_of(f, tensor);
  const sb_shard_reader *reader;
  if (!t || row >= t->frames) return -1;
  return (int64_t)sb_shardset_find(f->shards, tensor, row, &reader)->raw_bytes;
}

int64_t shardbits_tensor_bytes(const shardbits_folder *f, uint32_t tensor) {
  const sb_manifest_tensor *t = tensor_of(f, tensor);
  int64_t bytes = 0;
  for (uint32_t row = 0; t && row < t->frames; row++)
    bytes += shardbits_frame_bytes(f, tensor, row);
  return t ? bytes : -1;
}

int shardbits_read_frame(const shardbits_folder *f, uint32_t tensor, uint32_t row, void *out,
                         size_t bytes) {
  const int64_t expected = shardbits_frame_bytes(f, tensor, row);
  if (expected < 0 || (size_t)expected != bytes)
    return sb_fail(SB_ERR_RANGE, "frame %u of tensor %u has %lld bytes, not %zu", row, tensor,
                   (long long)expected, bytes);
  return sb_shardset_read(f->shards, tensor, row, out, bytes);
}

/* Frames come from the disk and are decompressed by all threads; a failure is read once more, so
 * that its message is this thread's. */
static sb_status read_all(const shardbits_folder *f, uint32_t tensor, size_t frames, uint8_t *out,
                          const size_t *offsets) {
  size_t bad = frames;
#pragma omp parallel for schedule(dynamic)
  for (size_t row = 0; row < frames; row++)
    if (sb_shardset_read(f->shards, tensor, (uint32_t)row, out + offsets[row],
                         offsets[row + 1] - offsets[row]) != SB_OK)
#pragma omp critical
      if (row < bad) bad = row;
  if (bad == frames) return SB_OK;
  return sb_shardset_read(f->shards, tensor, (uint32_t)bad, out + offsets[bad],
                          offsets[bad + 1] - offsets[bad]);
}

/* *offsets [frames + 1]: where each begins, the last one the end. */
static sb_status find_offsets(const shardbits_folder *f, uint32_t tensor, size_t frames,
                              size_t **offsets) {
  SB_TRY(sb_alloc(offsets, frames + 1, sizeof **offsets, "places of frames"));
  for (size_t row = 0; row < frames; row++)
    (*offsets)[row + 1] = (*offsets)[row] + (size_t)shardbits_frame_bytes(f, tensor, (uint32_t)row);
  return SB_OK;
}

int shardbits_read_tensor(const shardbits_folder *f, uint32_t tensor, void *out, size_t bytes) {
  const sb_manifest_tensor *t = tensor_of(f, tensor);
  size_t *offsets = NULL;
  if (!t) return SB_ERR_RANGE;
  sb_status status = find_offsets(f, tensor, t->frames, &offsets);
  if (status == SB_OK && offsets[t->frames] != bytes)
    status = sb_fail(SB_ERR_RANGE, "%s has %zu bytes, not %zu", t->name, offsets[t->frames], bytes);
  SB_THEN(read_all(f, tensor, t->frames, out, offsets));
  sb_free(&offsets);
  return status;
}

/* ---- matrices ---- */

static sb_status find_kind(const char *codes, sb_code_kind *out) {
  if (sb_code_kind_find(codes, out)) return SB_OK;
  return sb_fail(SB_ERR_UNSUPPORTED, "codes of kind '%.40s' are not known here: update shardbits",
                 codes);
}

static sb_status choose_factors(shardbits_matrix *w, uint64_t signs) {
  if (!sb_is_trellis(w->kind)) return SB_OK;
  SB_TRY(sb_alloc(&w->col_factors, w->tiling.cols, sizeof *w->col_factors, "factors of columns"));
  for (size_t c = 0; c < w->tiling.cols; c++)
    w->col_factors[c] = sb_grid_to_fp16(sb_transform_sign(signs, c));
  return SB_OK;
}

static sb_status read_bits(shardbits_matrix *w) {
  const size_t across = sb_tiling_block_cols(&w->tiling);
  for (size_t i = 0; i < sb_tiling_block_rows(&w->tiling); i++) {
    const size_t bytes = w->offsets[i + 1] - w->offsets[i];
    size_t least, most;
    sb_blockrow_range(&w->tiling, i, w->kind, &least, &most);
    if (bytes < least || bytes > most)
      return sb_fail(SB_ERR_FORMAT, "%s: block row %zu has %zu bytes; its shape allows %zu to %zu",
                     w->name, i, bytes, least, most);
    const sb_status status = sb_blockrow_read_bits(w->bits + i * across, w->packed + w->offsets[i],
                                                   bytes, &w->tiling, i, w->kind);
    if (status != SB_OK) return sb_fail(status, "%s: block row %zu: %s", w->name, i, sb_message());
  }
  return SB_OK;
}

static sb_status load(shardbits_matrix *w, uint32_t tensor, const char *codes, uint64_t signs) {
  const sb_manifest *m = sb_shardset_manifest(w->folder->shards);
  const sb_manifest_tensor *t = tensor_of(w->folder, tensor);
  if (!t) return SB_ERR_RANGE;
  if (t->kind != SB_TENSOR_QUANTIZED || t->dims != 2)
    return sb_fail(SB_ERR_UNSUPPORTED, "%s is not quantized", t->name);
  w->name = t->name;
  w->tiling = (sb_tiling){t->shape[0], t->shape[1], m->block_rows, m->block_cols};
  SB_TRY(find_kind(codes, &w->kind));
  SB_TRY(choose_factors(w, signs));
  const size_t frames = t->frames, across = sb_tiling_block_cols(&w->tiling);
  SB_TRY(find_offsets(w->folder, tensor, frames, &w->offsets));
  w->bytes = w->offsets[frames];
  SB_TRY(sb_alloc_raw(&w->packed, w->bytes, 1, "packed weights"));
  SB_TRY(sb_alloc_raw(&w->bits, frames * across, 1, "widths of blocks"));
  SB_TRY(read_all(w->folder, tensor, frames, w->packed, w->offsets));
  SB_TRY(read_bits(w));
  return w->folder->backend->op->packed_create(w->folder->backend, NULL, w->packed, w->offsets,
                                               &w->tiling, w->bits, w->kind, w->col_factors,
                                               &w->product);
}

shardbits_matrix *shardbits_load(shardbits_folder *f, uint32_t tensor, const char *codes,
                                 uint64_t col_signs) {
  shardbits_matrix *w = NULL;
  if (sb_alloc(&w, 1, sizeof *w, "matrix") != SB_OK) return NULL;
  w->folder = f;
  pthread_mutex_lock(&f->turn);
  const sb_status status = load(w, tensor, codes, col_signs);
  pthread_mutex_unlock(&f->turn);
  if (status == SB_OK) return w;
  shardbits_release(w);
  return NULL;
}

void shardbits_release(shardbits_matrix *w) {
  if (!w) return;
  pthread_mutex_lock(&w->folder->turn);
  w->folder->backend->op->packed_destroy(w->folder->backend, w->product);
  pthread_mutex_unlock(&w->folder->turn);
  sb_free(&w->packed);
  sb_free(&w->bits);
  sb_free(&w->offsets);
  sb_free(&w->col_factors);
  sb_free(&w);
}

size_t shardbits_packed_bytes(const shardbits_matrix *w) {
  return w->bytes;
}

void shardbits_widths(const shardbits_matrix *w, uint8_t *bits) {
  memcpy(bits, w->bits, sb_tiling_block_rows(&w->tiling) * sb_tiling_block_cols(&w->tiling));
}

int shardbits_unpack(const shardbits_matrix *w, float *out) {
  sb_backend *b = w->folder->backend;
  pthread_mutex_lock(&w->folder->turn);
  const sb_status status = b->op->unpack_blocks(b, NULL, out, SB_F32, w->packed, w->offsets,
                                                &w->tiling, w->bits, w->kind, w->col_factors);
  pthread_mutex_unlock(&w->folder->turn);
  return status;
}

int shardbits_product(const shardbits_matrix *w, float *y, const float *x, size_t tokens) {
  sb_backend *b = w->folder->backend;
  pthread_mutex_lock(&w->folder->turn);
  const sb_status status = b->op->packed_gemm(b, NULL, y, x, tokens, w->product, false);
  pthread_mutex_unlock(&w->folder->turn);
  return status;
}

int shardbits_rows(const shardbits_matrix *w, float *out, const uint32_t *ids, size_t count) {
  sb_backend *b = w->folder->backend;
  for (size_t i = 0; i < count; i++)
    if (ids[i] >= w->tiling.rows)
      return sb_fail(SB_ERR_RANGE, "%s: token id %u, and it has %zu rows", w->name, ids[i],
                     w->tiling.rows);
  if (!sb_is_grid(w->kind))
    return sb_fail(SB_ERR_UNSUPPORTED, "%s: rows are looked up on grids alone", w->name);
  pthread_mutex_lock(&w->folder->turn);
  const sb_status status = b->op->embed_packed(b, NULL, out, ids, w->product, count, 0);
  pthread_mutex_unlock(&w->folder->turn);
  return status;
}
