#include "pass/device_layer.h"

#include "base/memory.h"
#include "kernels/shared/trellis.h"
#include "pass/coded_weights.h"

/* Indices of a matrix of an ordered model: the stored position of each row and column (PLACE), and
 * the reverse (ORDER). */
enum { ROW_PLACE, COL_PLACE, ROW_ORDER, COL_ORDER, INDICES };

enum { NO_LAYER = -1 };

/* Device memory of matrix number i of the layer at hand, with room for the largest matrix of that
 * number in any layer. */
typedef struct slot {
  void *dense_dev; /* weights; NULL where matrices stay packed */
  /* own copies of the source or packed rows, of the layer at hand and of the next one; NULL on a
   * unified backend */
  void *source_dev[2];
  uint32_t *index_dev[INDICES]; /* NULL unless the model is ordered */
  float *importance_dev;        /* own copy; NULL on a unified backend */
  uint8_t *fits_dev;
  uint16_t *factors_dev; /* of columns: own copy; NULL on a unified backend or for grids */
  /* of the layer at hand */
  const void *source_now;
  const float *importance_now; /* NULL where grids are not fitted */
  const uint16_t *factors_now; /* NULL on grids */
} slot;

struct sb_device_layer {
  const sb_model *model;
  sb_backend *backend;
  bool keep_packed;
  slot *slots;          /* [arch.most_matrices] */
  int at_hand;          /* which of the two source_dev */
  long ahead;           /* the layer that the other has, or NO_LAYER */
  sb_stream copies;     /* of it */
  void *stored_dev;     /* a matrix in its stored order; NULL unless the model is ordered */
  uint32_t *host_index; /* [largest dimension] */
  float *vector_dev[SB_ROLE_COUNT]; /* NULL for roles that are no vector of a layer */
  void *raw_vector_dev;             /* a vector in the source's type, on its way */
  sb_layer_weights weights;         /* its products: [arch.most_matrices], owned */
  sb_coded_weights *coded;          /* NULL: no GEMM is emulated */
};

sb_status sb_device_agree(const sb_world *world, const sb_backend *backend, sb_status status) {
  return backend->peers[SB_PEERS_NODE] > 1 ? sb_world_agree(world, status) : status;
}

/* ---- buffers: sized once for the largest matrix of each number; no layer allocates ---- */

static sb_status create_slot(sb_device_layer *p, slot *s, const sb_device_layer_room *most) {
  sb_backend *b = p->backend;
  for (int i = 0; !b->unified && i < 2; i++)
    SB_TRY(b->op->alloc(b, sb_shared_room(b, most->source_bytes), "source rows of a layer",
                        &s->source_dev[i]));
  for (int i = 0; sb_model_is_indexed(p->model) && i < INDICES; i++)
    SB_TRY(b->op->alloc(
        b, (i == ROW_PLACE || i == ROW_ORDER ? most->rows : most->cols) * sizeof(uint32_t),
        "order of a matrix", (void **)&s->index_dev[i]));
  if (sb_device_layer_copies_factors(p->model, b))
    SB_TRY(b->op->alloc(b, most->cols * sizeof(uint16_t), "factors of columns",
                        (void **)&s->factors_dev));
  if (p->keep_packed) return SB_OK;
  SB_TRY(b->op->alloc(b, most->weights * sb_dtype_size(b->operand), "weights of one layer",
                      &s->dense_dev));
  SB_TRY(b->op->alloc(b, most->groups, "fits of one layer", (void **)&s->fits_dev));
  if (b->unified) return SB_OK;
  return b->op->alloc(b, most->cols * sizeof(float), "importance of input channels",
                      (void **)&s->importance_dev);
}

static sb_status create_slots(sb_device_layer *p) {
  const sb_model *m = p->model;
  sb_backend *b = p->backend;
  const size_t count = m->arch.most_matrices;
  size_t largest = 0, longest = 0;
  SB_TRY(sb_alloc(&p->slots, count, sizeof *p->slots, "prepared layer"));
  SB_TRY(sb_alloc(&p->weights.products, count, sizeof *p->weights.products, "prepared layer"));
  for (size_t i = 0; i < count; i++) {
    const sb_device_layer_room most = sb_device_layer_room_of(m, i);
    SB_TRY(create_slot(p, &p->slots[i], &most));
    largest = sb_max_size(largest, most.weights);
    longest = sb_max_size(longest, sb_max_size(most.rows, most.cols));
  }
  if (!sb_model_is_indexed(m)) return SB_OK;
  SB_TRY(sb_alloc(&p->host_index, longest, sizeof *p->host_index, "order of a matrix"));
  if (p->keep_packed) return SB_OK;
  return b->op->alloc(b, largest * sb_dtype_size(b->operand), "a matrix out of order",
                      &p->stored_dev);
}

static sb_status create_vectors(sb_device_layer *p) {
  sb_backend *b = p->backend;
  const sb_arch *arch = &p->model->arch;
  for (int role = 0; role < SB_ROLE_COUNT; role++) {
    const size_t size = sb_device_layer_vector(arch, (sb_role)role);
    if (size > 0)
      SB_TRY(b->op->alloc(b, size * sizeof(float), "norms of one layer",
                          (void **)&p->vector_dev[role]));
    p->weights.vector_dev[role] = p->vector_dev[role];
  }
  return b->op->alloc(b, sb_device_layer_longest_vector(arch) * sizeof(float), "norms of one layer",
                      &p->raw_vector_dev);
}

sb_status sb_device_layer_create(const sb_model *model, sb_backend *b, bool keep_packed,
                                 sb_device_layer **out) {
  sb_status status = SB_OK;
  SB_TRY(sb_alloc(out, 1, sizeof **out, "prepared layer"));
  sb_device_layer *p = *out;
  p->model = model;
  p->backend = b;
  p->keep_packed = keep_packed;
  p->ahead = NO_LAYER;
  p->weights.arch = &model->arch;
  if (!b->unified) SB_GO(b->op->stream_create(b, &p->copies));
  SB_GO(create_slots(p));
  SB_GO(create_vectors(p));
done:
  if (status != SB_OK) sb_device_layer_free(out);
  return status;
}

static void free_slot(sb_backend *b, slot *s) {
  b->op->free(b, s->dense_dev);
  for (int i = 0; i < 2; i++) b->op->free(b, s->source_dev[i]);
  for (int i = 0; i < INDICES; i++) b->op->free(b, s->index_dev[i]);
  b->op->free(b, s->importance_dev);
  b->op->free(b, s->fits_dev);
  b->op->free(b, s->factors_dev);
}

void sb_device_layer_free(sb_device_layer **prepared) {
  sb_device_layer *p = *prepared;
  if (!p) return;
  sb_backend *b = p->backend;
  b->op->stream_destroy(b, p->copies); /* waits for it */
  for (size_t i = 0; i < p->model->arch.most_matrices; i++) {
    if (p->weights.products) b->op->packed_destroy(b, p->weights.products[i].packed);
    if (p->slots) free_slot(b, &p->slots[i]);
  }
  for (int role = 0; role < SB_ROLE_COUNT; role++) b->op->free(b, p->vector_dev[role]);
  sb_coded_weights_free(&p->coded);
  b->op->free(b, p->raw_vector_dev);
  b->op->free(b, p->stored_dev);
  sb_free(&p->host_index);
  sb_free(&p->slots);
  sb_free(&p->weights.products);
  sb_free(prepared);
}

sb_status sb_device_layer_emulate(sb_device_layer *p, const sb_precision_map *map,
                                  const sb_lowprec_options *options) {
  sb_coded_weights_free(&p->coded);
  if (!map || !sb_precision_map_is_low(map)) return SB_OK;
  if (p->model->coding != SB_CODING_SOURCE || sb_model_is_indexed(p->model))
    return sb_fail(SB_ERR_INTERNAL, "only source weights as stored have emulated products");
  return sb_coded_weights_create(p->model, p->backend, map, options, &p->coded);
}

/* ---- rows on their way: on a device with memory of its own, copied one layer ahead ---- */

static sb_status prepare_vector(sb_device_layer *p, sb_stream stream, const sb_place *place,
                                const void *rows) {
  sb_backend *b = p->backend;
  const sb_model *m = p->model;
  const sb_model_tensor *t = &m->arch.tensors[place->tensor];
  SB_TRY(b->op->upload(b, stream, p->raw_vector_dev, rows, sb_model_row_bytes(m, place->tensor)));
  return b->op->convert(b, stream, p->vector_dev[t->role], SB_F32, p->raw_vector_dev,
                        m->dtypes[place->tensor], t->cols);
}

/* One direction of a matrix: its order, and where each row or column is to be
 * found in the store. */
static sb_status upload_order(sb_device_layer *p, sb_stream stream, const uint32_t *from, size_t n,
                              uint32_t *order, uint32_t *place) {
  sb_backend *b = p->backend;
  sb_orders_invert(p->host_index, from, n);
  SB_TRY(b->op->upload(b, stream, order, from, n * sizeof *from));
  SB_TRY(b->op->upload(b, stream, place, p->host_index, n * sizeof *from));
  return b->op->sync(b, stream); /* host_index is used again */
}

static sb_status upload_orders(sb_device_layer *p, sb_stream stream, size_t which,
                               const sb_matrix *matrix) {
  const sb_orders *o = &p->model->orders;
  uint32_t *const *index = p->slots[which].index_dev;
  SB_TRY(upload_order(p, stream, sb_orders_rows(o, matrix->tensor), matrix->tiling.rows,
                      index[ROW_ORDER], index[ROW_PLACE]));
  return upload_order(p, stream, sb_orders_cols(o, matrix->tensor), matrix->tiling.cols,
                      index[COL_ORDER], index[COL_PLACE]);
}

/* All rows of a layer's matrices into one of the two sets of buffers; norms are small and wait for
 * their turn. */
static sb_status copy_rows(sb_device_layer *p, sb_stream stream, size_t layer, const void *image,
                           int set) {
  const sb_model *m = p->model;
  const size_t group = m->layer_first + layer;
  for (size_t i = m->group_place[group]; i < m->group_place[group + 1]; i++) {
    const sb_place *place = &m->places[i];
    const size_t which = m->arch.tensors[place->tensor].matrix;
    if (which == SB_NONE) continue;
    SB_TRY(p->backend->op->upload_shared(p->backend, stream, p->slots[which].source_dev[set],
                                         sb_place_image(m, place, image),
                                         sb_place_bytes(m, place)));
  }
  return SB_OK;
}

sb_status sb_device_layer_fetch(sb_device_layer *p, size_t layer, const void *image) {
  if (p->backend->unified) return SB_OK;
  SB_TRY(copy_rows(p, p->copies, layer, image, 1 - p->at_hand));
  p->ahead = (long)layer;
  return SB_OK;
}

/* The rows of the layer are at hand for what comes on `stream`, copied ahead or now. */
static sb_status bring_rows(sb_device_layer *p, sb_stream stream, size_t layer, const void *image) {
  const bool copied = p->ahead == (long)layer;
  p->ahead = NO_LAYER;
  if (p->backend->unified) return SB_OK;
  if (!copied) return copy_rows(p, stream, layer, image, p->at_hand);
  p->at_hand = 1 - p->at_hand;
  return p->backend->op->stream_wait(p->backend, stream, p->copies);
}

/* ---- source rows: rounded here, so that the store keeps one copy for all bit maps ---- */

/* The weights of a matrix from its stored order to the natural one. */
static sb_status put_in_place(sb_device_layer *p, sb_stream stream, size_t which,
                              const sb_matrix *matrix, const void *stored_dev) {
  sb_backend *b = p->backend;
  SB_TRY(upload_orders(p, stream, which, matrix));
  const slot *to = &p->slots[which];
  return b->op->gather_matrix(b, stream, to->dense_dev, stored_dev, b->operand, matrix->tiling.rows,
                              matrix->tiling.cols, to->index_dev[ROW_PLACE],
                              to->index_dev[COL_PLACE]);
}

static bool untouched(const sb_model *m, const sb_matrix *matrix) {
  size_t blocks = sb_tiling_block_rows(&matrix->tiling) * sb_tiling_block_cols(&matrix->tiling);
  for (size_t k = 0; k < blocks; k++)
    if (m->bits[matrix->first_block + k] != 0) return false;
  return true;
}

static sb_status prepare_importance(sb_device_layer *p, sb_stream stream, size_t which,
                                    const sb_matrix *matrix) {
  sb_backend *b = p->backend;
  slot *s = &p->slots[which];
  s->importance_now = sb_model_importance(p->model, matrix);
  if (!s->importance_now || b->unified) return SB_OK;
  SB_TRY(b->op->upload(b, stream, s->importance_dev, s->importance_now,
                       matrix->tiling.cols * sizeof(float)));
  s->importance_now = s->importance_dev;
  return SB_OK;
}

static sb_status prepare_fits(sb_device_layer *p, sb_stream stream, size_t which,
                              const sb_matrix *matrix) {
  const sb_model *m = p->model;
  sb_backend *b = p->backend;
  const slot *s = &p->slots[which];
  if (!s->importance_now) return SB_OK;
  return b->op->fit_blocks(b, stream, s->fits_dev,
                           &(sb_block_weights){.w = s->source_now,
                                               .dtype = m->dtypes[matrix->tensor],
                                               .tiling = &matrix->tiling,
                                               .bits = m->bits + matrix->first_block,
                                               .code_kind = m->blocking.code_kind},
                           s->importance_now);
}

static sb_status prepare_factors(sb_device_layer *p, sb_stream stream, size_t which,
                                 const sb_matrix *matrix) {
  sb_backend *b = p->backend;
  slot *s = &p->slots[which];
  s->factors_now = sb_model_col_factors(p->model, matrix);
  if (!s->factors_now || b->unified) return SB_OK;
  SB_TRY(b->op->upload(b, stream, s->factors_dev, s->factors_now,
                       matrix->tiling.cols * sizeof *s->factors_now));
  s->factors_now = s->factors_dev;
  return SB_OK;
}

/* Source weights at the model's bits. */
static sb_status round_source(sb_device_layer *p, sb_stream stream, size_t which,
                              const sb_matrix *matrix, void *out) {
  const sb_model *m = p->model;
  sb_backend *b = p->backend;
  const sb_block_weights weights = {.w = p->slots[which].source_now,
                                    .dtype = m->dtypes[matrix->tensor],
                                    .tiling = &matrix->tiling,
                                    .bits = m->bits + matrix->first_block,
                                    .code_kind = m->blocking.code_kind};
  if (sb_is_trellis(weights.code_kind))
    return b->op->trellis_quantize(b, stream, out, b->operand, &weights,
                                   sb_model_row_key(m, matrix), p->slots[which].factors_now);
  SB_TRY(prepare_fits(p, stream, which, matrix));
  return b->op->quantize_blocks(b, stream, out, b->operand, &weights,
                                sb_device_layer_fits(p, which));
}

static sb_status prepare_source(sb_device_layer *p, sb_stream stream, size_t which,
                                const sb_matrix *matrix, const void *source) {
  const sb_model *m = p->model;
  sb_backend *b = p->backend;
  sb_dtype dtype = m->dtypes[matrix->tensor];
  p->slots[which].source_now = source;
  p->weights.products[which].dense_dev = p->slots[which].dense_dev;
  SB_TRY(prepare_importance(p, stream, which, matrix));
  void *out = sb_model_is_indexed(m) ? p->stored_dev : p->slots[which].dense_dev;
  const void *rounded = out;
  if (!untouched(m, matrix)) {
    SB_TRY(round_source(p, stream, which, matrix, out));
  } else if (dtype != b->operand) {
    SB_TRY(b->op->convert(b, stream, out, b->operand, source, dtype,
                          matrix->tiling.rows * matrix->tiling.cols));
  } else {
    rounded = source;
  }
  if (sb_model_is_indexed(m)) return put_in_place(p, stream, which, matrix, rounded);
  p->weights.products[which].dense_dev = rounded;
  return SB_OK;
}

/* ---- codes: decoded, or kept for products that read them ---- */

static sb_status unpack_rows(sb_device_layer *p, sb_stream stream, size_t which,
                             const sb_matrix *matrix, const void *rows, const size_t *offsets) {
  const sb_model *m = p->model;
  sb_backend *b = p->backend;
  void *out = sb_model_is_indexed(m) ? p->stored_dev : p->slots[which].dense_dev;
  p->weights.products[which].dense_dev = p->slots[which].dense_dev;
  SB_TRY(b->op->unpack_blocks(b, stream, out, b->operand, rows, offsets, &matrix->tiling,
                              m->bits + matrix->first_block, m->blocking.code_kind,
                              p->slots[which].factors_now));
  return sb_model_is_indexed(m) ? put_in_place(p, stream, which, matrix, out) : SB_OK;
}

static sb_status keep_rows(sb_device_layer *p, sb_stream stream, size_t which,
                           const sb_matrix *matrix, const void *rows, const size_t *offsets) {
  const sb_model *m = p->model;
  sb_backend *b = p->backend;
  sb_product *product = &p->weights.products[which];
  b->op->packed_destroy(b, product->packed);
  product->packed = NULL;
  if (sb_model_is_indexed(m)) SB_TRY(upload_orders(p, stream, which, matrix));
  return b->op->packed_create(b, stream, rows, offsets, &matrix->tiling,
                              m->bits + matrix->first_block, m->blocking.code_kind,
                              p->slots[which].factors_now, &product->packed);
}

static sb_status prepare_packed(sb_device_layer *p, sb_stream stream, size_t which,
                                const sb_matrix *matrix, const sb_place *place, const void *rows) {
  size_t *offsets;
  SB_TRY(sb_place_offsets(p->model, place, &offsets));
  p->slots[which].source_now = NULL;
  sb_status status = p->keep_packed ? keep_rows(p, stream, which, matrix, rows, offsets)
                                    : unpack_rows(p, stream, which, matrix, rows, offsets);
  sb_free(&offsets);
  return status;
}

/* ---- a whole layer ---- */

/* Shape and orders: the layer before may have had another matrix in this slot. */
static void begin_product(sb_device_layer *p, size_t which, const sb_matrix *matrix) {
  const slot *s = &p->slots[which];
  sb_product *product = &p->weights.products[which];
  product->form = p->keep_packed ? &sb_product_packed : &sb_product_dense;
  product->emulation = NULL;
  product->rows = matrix->tiling.rows;
  product->cols = matrix->tiling.cols;
  product->row_order_dev = s->index_dev[ROW_ORDER];
  product->col_order_dev = s->index_dev[COL_ORDER];
  product->row_position_dev = s->index_dev[ROW_PLACE];
}

static sb_status emulate_product(sb_device_layer *p, sb_stream stream, size_t layer, size_t which) {
  sb_product *product = &p->weights.products[which];
  if (!p->coded) return SB_OK;
  SB_TRY(sb_coded_weights_load(p->coded, stream, layer, which, product->dense_dev,
                               &product->emulation));
  if (product->emulation) product->form = &sb_product_emulated;
  return SB_OK;
}

sb_status sb_device_layer_load(sb_device_layer *p, sb_stream stream, size_t layer,
                               const void *image) {
  const sb_model *m = p->model;
  size_t group = m->layer_first + layer;
  p->weights.layer = layer;
  SB_TRY(bring_rows(p, stream, layer, image));
  for (size_t i = m->group_place[group]; i < m->group_place[group + 1]; i++) {
    const sb_place *place = &m->places[i];
    const void *rows = sb_place_image(m, place, image);
    const sb_matrix *matrix = sb_model_place_matrix(m, place);
    const size_t which = m->arch.tensors[place->tensor].matrix;
    if (!matrix) {
      SB_TRY(prepare_vector(p, stream, place, rows));
      continue;
    }
    begin_product(p, which, matrix);
    SB_TRY(prepare_factors(p, stream, which, matrix));
    if (!p->backend->unified) rows = p->slots[which].source_dev[p->at_hand];
    SB_TRY(m->coding == SB_CODING_CODES ? prepare_packed(p, stream, which, matrix, place, rows)
                                        : prepare_source(p, stream, which, matrix, rows));
    SB_TRY(emulate_product(p, stream, layer, which));
  }
  return SB_OK;
}

const sb_layer_weights *sb_device_layer_weights(const sb_device_layer *p) {
  return &p->weights;
}

sb_status sb_device_layer_stored(const sb_device_layer *p, sb_stream stream, size_t matrix,
                                 const void **w_dev) {
  const sb_product *product = &p->weights.products[matrix];
  const slot *s = &p->slots[matrix];
  sb_backend *b = p->backend;
  *w_dev = product->dense_dev;
  if (!sb_model_is_indexed(p->model)) return SB_OK;
  *w_dev = p->stored_dev;
  return b->op->gather_matrix(b, stream, p->stored_dev, product->dense_dev, b->operand,
                              product->rows, product->cols, s->index_dev[ROW_ORDER],
                              s->index_dev[COL_ORDER]);
}

const void *sb_device_layer_source(const sb_device_layer *p, size_t matrix) {
  return p->slots[matrix].source_now;
}

const uint16_t *sb_device_layer_col_factors(const sb_device_layer *p, size_t matrix) {
  return p->slots[matrix].factors_now;
}

const float *sb_device_layer_importance(const sb_device_layer *p, size_t matrix) {
  return p->slots[matrix].importance_now;
}

const uint8_t *sb_device_layer_fits(const sb_device_layer *p, size_t matrix) {
  return p->slots[matrix].importance_now ? p->slots[matrix].fits_dev : NULL;
}
