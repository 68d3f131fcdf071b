#include "pass/device_layer.h"

#include "base/memory.h"

/* Indices of a matrix of an ordered model: where the row or column of each place is in the store,
 * and the reverse. */
enum { ROW_PLACE, COL_PLACE, ROW_ORDER, COL_ORDER, INDICES };

enum { NO_LAYER = -1 };

struct sb_device_layer {
  const sb_model *model;
  sb_backend *backend;
  bool keep_packed;
  void *linear[SB_LINEARS]; /* own buffers; NULL where matrices stay packed */
  /* own copies of the source or packed rows, of the layer at hand and of the next one; NULL on a
   * unified backend */
  void *source[2][SB_LINEARS];
  int at_hand;      /* which of the two */
  long ahead;       /* the layer that the other has, or NO_LAYER */
  sb_stream copies; /* of it */
  void *ordered;    /* a matrix before its rows and columns go to their places; NULL where they are
                       there */
  uint32_t *index[SB_LINEARS][INDICES];
  uint32_t *host_index; /* [largest dimension] */
  float *norms[2];
  void *raw_norm; /* a norm in the source's type, on its way */
  const void *source_now[SB_LINEARS];
  float *importance[SB_LINEARS];           /* own copies; NULL on a unified backend */
  const float *importance_now[SB_LINEARS]; /* NULL where grids are not fitted */
  uint8_t *fits[SB_LINEARS];
  sb_layer_weights weights;
};

sb_status sb_device_agree(const sb_world *world, const sb_backend *backend, sb_status status) {
  return backend->peers[SB_PEERS_NODE] > 1 ? sb_world_agree(world, status) : status;
}

static size_t weight_bytes(const sb_backend *b, const sb_matrix *matrix) {
  return matrix->grid.rows * matrix->grid.cols * sb_dtype_size(b->operand);
}

/* Bytes of a place's rows in an image. */
static size_t place_bytes(const sb_model *m, const sb_place *place) {
  return sb_store_offset(m->store, place->group, place->first_unit + place->units) -
         sb_store_offset(m->store, place->group, place->first_unit);
}

/* A matrix has the same shape in every layer, but its type, or its bits where rows are packed, may
 * differ: the largest counts. */
static size_t largest_source(const sb_model *m, int which) {
  size_t largest = 0;
  for (size_t i = m->group_place[m->layer_first];
       i < m->group_place[m->layer_first + m->config.layers]; i++) {
    const sb_place *place = &m->places[i];
    if ((int)sb_linear_of_role(m->arch.tensors[place->tensor].role) == which)
      largest = sb_max_size(largest, place_bytes(m, place));
  }
  return largest;
}

static bool is_ordered(const sb_model *m) {
  return m->orders.mode == SB_REORDER_INDEXED;
}

static size_t largest_weight(const sb_model *m, const sb_backend *b) {
  size_t largest = 0;
  for (int which = 0; which < SB_LINEARS; which++)
    largest = sb_max_size(largest, weight_bytes(b, sb_model_matrix(m, 0, (sb_linear)which)));
  return largest;
}

static size_t group_count(const sb_matrix *matrix) {
  return matrix->grid.rows * sb_tiling_block_cols(&matrix->grid);
}

size_t sb_prepared_bytes(const sb_model *m, const sb_backend *b, bool keep_packed) {
  size_t bytes = 3 * m->config.hidden * sizeof(float);
  if (is_ordered(m) && !keep_packed) bytes += largest_weight(m, b);
  for (int which = 0; which < SB_LINEARS; which++) {
    const sb_matrix *matrix = sb_model_matrix(m, 0, (sb_linear)which);
    if (is_ordered(m)) bytes += 2 * (matrix->grid.rows + matrix->grid.cols) * sizeof(uint32_t);
    if (!b->unified) bytes += 2 * sb_shared_room(b, largest_source(m, which));
    if (keep_packed) continue;
    bytes += weight_bytes(b, matrix) + group_count(matrix);
    if (!b->unified) bytes += matrix->grid.cols * sizeof(float);
  }
  return bytes;
}

static sb_status create_indices(sb_device_layer *p) {
  const sb_model *m = p->model;
  sb_backend *b = p->backend;
  size_t most = 0;
  if (!p->keep_packed)
    SB_TRY(b->op->alloc(b, largest_weight(m, b), "a matrix out of order", &p->ordered));
  for (int which = 0; which < SB_LINEARS; which++) {
    const sb_tiling *grid = &sb_model_matrix(m, 0, (sb_linear)which)->grid;
    most = sb_max_size(most, sb_max_size(grid->rows, grid->cols));
    for (int i = 0; i < INDICES; i++)
      SB_TRY(b->op->alloc(
          b, (i == ROW_PLACE || i == ROW_ORDER ? grid->rows : grid->cols) * sizeof(uint32_t),
          "order of a matrix", (void **)&p->index[which][i]));
    sb_product *product = &p->weights.linear[which];
    product->row_order_dev = p->index[which][ROW_ORDER];
    product->col_order_dev = p->index[which][COL_ORDER];
    product->row_position_dev = p->index[which][ROW_PLACE];
  }
  return sb_alloc(&p->host_index, most, sizeof *p->host_index, "order of a matrix");
}

static void create_products(sb_device_layer *p) {
  for (int which = 0; which < SB_LINEARS; which++) {
    const sb_tiling *grid = &sb_model_matrix(p->model, 0, (sb_linear)which)->grid;
    p->weights.linear[which] =
        (sb_product){.form = p->keep_packed ? &sb_product_packed : &sb_product_dense,
                     .rows = grid->rows,
                     .cols = grid->cols};
  }
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
  for (int i = 0; !b->unified && i < 2; i++)
    for (int which = 0; which < SB_LINEARS; which++)
      SB_GO(b->op->alloc(b, sb_shared_room(b, largest_source(model, which)),
                         "source rows of a layer", &p->source[i][which]));
  if (!b->unified) SB_GO(b->op->stream_create(b, &p->copies));
  for (int which = 0; !keep_packed && which < SB_LINEARS; which++) {
    SB_GO(b->op->alloc(b, weight_bytes(b, sb_model_matrix(model, 0, (sb_linear)which)),
                       "weights of one layer", &p->linear[which]));
    const sb_matrix *matrix = sb_model_matrix(model, 0, (sb_linear)which);
    SB_GO(b->op->alloc(b, group_count(matrix), "fits of one layer", (void **)&p->fits[which]));
    if (!b->unified)
      SB_GO(b->op->alloc(b, matrix->grid.cols * sizeof(float), "importance of input channels",
                         (void **)&p->importance[which]));
  }
  create_products(p);
  if (is_ordered(model)) SB_GO(create_indices(p));
  for (int i = 0; i < 2; i++)
    SB_GO(b->op->alloc(b, model->config.hidden * sizeof(float), "norms of one layer",
                       (void **)&p->norms[i]));
  p->weights.attention_norm_dev = p->norms[0];
  p->weights.mlp_norm_dev = p->norms[1];
  SB_GO(b->op->alloc(b, model->config.hidden * sizeof(float), "norms of one layer", &p->raw_norm));
done:
  if (status != SB_OK) sb_device_layer_free(out);
  return status;
}

void sb_device_layer_free(sb_device_layer **prepared) {
  sb_device_layer *p = *prepared;
  if (!p) return;
  p->backend->op->stream_destroy(p->backend, p->copies); /* waits for it */
  for (int which = 0; which < SB_LINEARS; which++) {
    p->backend->op->packed_destroy(p->backend, p->weights.linear[which].packed);
    p->backend->op->free(p->backend, p->linear[which]);
    for (int i = 0; i < 2; i++) p->backend->op->free(p->backend, p->source[i][which]);
    p->backend->op->free(p->backend, p->importance[which]);
    p->backend->op->free(p->backend, p->fits[which]);
    for (int i = 0; i < INDICES; i++) p->backend->op->free(p->backend, p->index[which][i]);
  }
  p->backend->op->free(p->backend, p->ordered);
  sb_free(&p->host_index);
  p->backend->op->free(p->backend, p->norms[0]);
  p->backend->op->free(p->backend, p->norms[1]);
  p->backend->op->free(p->backend, p->raw_norm);
  sb_free(prepared);
}

const void *sb_place_image(const sb_model *m, const sb_place *place, const void *image) {
  return (const char *)image + sb_store_offset(m->store, place->group, place->first_unit);
}

static sb_status prepare_norm(sb_device_layer *p, sb_stream stream, const sb_place *place,
                              const void *rows, float *out) {
  sb_backend *b = p->backend;
  const sb_model *m = p->model;
  SB_TRY(b->op->upload(b, stream, p->raw_norm, rows, sb_model_row_bytes(m, place->tensor)));
  return b->op->convert(b, stream, out, SB_F32, p->raw_norm, m->dtypes[place->tensor],
                        m->config.hidden);
}

/* One direction of a matrix: its order, and where each row or column is to be found in the store.
 */
static sb_status upload_order(sb_device_layer *p, sb_stream stream, const uint32_t *from, size_t n,
                              uint32_t *order, uint32_t *place) {
  sb_backend *b = p->backend;
  sb_orders_invert(p->host_index, from, n);
  SB_TRY(b->op->upload(b, stream, order, from, n * sizeof *from));
  SB_TRY(b->op->upload(b, stream, place, p->host_index, n * sizeof *from));
  return b->op->sync(b, stream); /* host_index is used again */
}

static sb_status upload_orders(sb_device_layer *p, sb_stream stream, sb_linear which,
                               const sb_matrix *matrix) {
  const sb_orders *o = &p->model->orders;
  uint32_t *const *index = p->index[which];
  SB_TRY(upload_order(p, stream, sb_orders_rows(o, matrix->tensor), matrix->grid.rows,
                      index[ROW_ORDER], index[ROW_PLACE]));
  return upload_order(p, stream, sb_orders_cols(o, matrix->tensor), matrix->grid.cols,
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
    const sb_linear which = sb_linear_of_role(m->arch.tensors[place->tensor].role);
    if (which == SB_LINEARS) continue;
    SB_TRY(p->backend->op->upload_shared(p->backend, stream, p->source[set][which],
                                         sb_place_image(m, place, image), place_bytes(m, place)));
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
  const bool there = p->ahead == (long)layer;
  p->ahead = NO_LAYER;
  if (p->backend->unified) return SB_OK;
  if (!there) return copy_rows(p, stream, layer, image, p->at_hand);
  p->at_hand = 1 - p->at_hand;
  return p->backend->op->stream_wait(p->backend, stream, p->copies);
}

/* The weights of a matrix from `ordered`, as the store has it. */
static sb_status put_in_place(sb_device_layer *p, sb_stream stream, sb_linear which,
                              const sb_matrix *matrix, const void *ordered) {
  sb_backend *b = p->backend;
  SB_TRY(upload_orders(p, stream, which, matrix));
  return b->op->gather_matrix(b, stream, p->linear[which], ordered, b->operand, matrix->grid.rows,
                              matrix->grid.cols, p->index[which][ROW_PLACE],
                              p->index[which][COL_PLACE]);
}

static bool untouched(const sb_model *m, const sb_matrix *matrix) {
  size_t blocks = sb_tiling_block_rows(&matrix->grid) * sb_tiling_block_cols(&matrix->grid);
  for (size_t k = 0; k < blocks; k++)
    if (m->bits[matrix->first_block + k] != 0) return false;
  return true;
}

static sb_status prepare_importance(sb_device_layer *p, sb_stream stream, size_t layer,
                                    sb_linear which, const sb_matrix *matrix) {
  sb_backend *b = p->backend;
  p->importance_now[which] = sb_model_importance(p->model, layer, which);
  if (!p->importance_now[which] || b->unified) return SB_OK;
  SB_TRY(b->op->upload(b, stream, p->importance[which], p->importance_now[which],
                       matrix->grid.cols * sizeof(float)));
  p->importance_now[which] = p->importance[which];
  return SB_OK;
}

static sb_status prepare_fits(sb_device_layer *p, sb_stream stream, sb_linear which,
                              const sb_matrix *matrix) {
  const sb_model *m = p->model;
  sb_backend *b = p->backend;
  if (!p->importance_now[which]) return SB_OK;
  return b->op->fit_blocks(b, stream, p->fits[which], p->source_now[which],
                           m->dtypes[matrix->tensor], p->importance_now[which], &matrix->grid,
                           m->bits + matrix->first_block, m->blocking.symmetry);
}

static sb_status prepare_source(sb_device_layer *p, sb_stream stream, size_t layer, sb_linear which,
                                const sb_matrix *matrix, const void *source) {
  const sb_model *m = p->model;
  sb_backend *b = p->backend;
  sb_dtype dtype = m->dtypes[matrix->tensor];
  p->source_now[which] = source;
  p->weights.linear[which].dense_dev = p->linear[which];
  SB_TRY(prepare_importance(p, stream, layer, which, matrix));
  void *out = is_ordered(m) ? p->ordered : p->linear[which];
  const void *rounded = out;
  if (!untouched(m, matrix)) {
    SB_TRY(prepare_fits(p, stream, which, matrix));
    SB_TRY(b->op->quantize_blocks(b, stream, out, b->operand, source, dtype, &matrix->grid,
                                  m->bits + matrix->first_block, m->blocking.symmetry,
                                  sb_device_layer_fits(p, which)));
  } else if (dtype != b->operand) {
    SB_TRY(b->op->convert(b, stream, out, b->operand, source, dtype,
                          matrix->grid.rows * matrix->grid.cols));
  } else {
    rounded = source;
  }
  if (is_ordered(m)) return put_in_place(p, stream, which, matrix, rounded);
  p->weights.linear[which].dense_dev = rounded;
  return SB_OK;
}

static sb_status unpack_rows(sb_device_layer *p, sb_stream stream, sb_linear which,
                             const sb_matrix *matrix, const void *rows, const size_t *offsets) {
  const sb_model *m = p->model;
  sb_backend *b = p->backend;
  void *out = is_ordered(m) ? p->ordered : p->linear[which];
  p->weights.linear[which].dense_dev = p->linear[which];
  SB_TRY(b->op->unpack_blocks(b, stream, out, b->operand, rows, offsets, &matrix->grid,
                              m->bits + matrix->first_block, m->blocking.symmetry));
  return is_ordered(m) ? put_in_place(p, stream, which, matrix, out) : SB_OK;
}

static sb_status keep_rows(sb_device_layer *p, sb_stream stream, sb_linear which,
                           const sb_matrix *matrix, const void *rows, const size_t *offsets) {
  const sb_model *m = p->model;
  sb_backend *b = p->backend;
  sb_product *product = &p->weights.linear[which];
  b->op->packed_destroy(b, product->packed);
  product->packed = NULL;
  if (is_ordered(m)) SB_TRY(upload_orders(p, stream, which, matrix));
  return b->op->packed_create(b, stream, rows, offsets, &matrix->grid,
                              m->bits + matrix->first_block, m->blocking.symmetry,
                              &product->packed);
}

static sb_status prepare_packed(sb_device_layer *p, sb_stream stream, sb_linear which,
                                const sb_matrix *matrix, const sb_place *place, const void *rows) {
  const sb_model *m = p->model;
  size_t *offsets, start = sb_store_offset(m->store, place->group, place->first_unit);
  SB_TRY(sb_alloc(&offsets, place->units, sizeof *offsets, "offsets of packed rows"));
  for (size_t u = 0; u < place->units; u++)
    offsets[u] = sb_store_offset(m->store, place->group, place->first_unit + u) - start;
  p->source_now[which] = NULL;
  sb_status status = p->keep_packed ? keep_rows(p, stream, which, matrix, rows, offsets)
                                    : unpack_rows(p, stream, which, matrix, rows, offsets);
  sb_free(&offsets);
  return status;
}

sb_status sb_device_layer_load(sb_device_layer *p, sb_stream stream, size_t layer,
                               const void *image) {
  const sb_model *m = p->model;
  size_t group = m->layer_first + layer;
  SB_TRY(bring_rows(p, stream, layer, image));
  for (size_t i = m->group_place[group]; i < m->group_place[group + 1]; i++) {
    const sb_place *place = &m->places[i];
    const void *rows = sb_place_image(m, place, image);
    sb_role role = m->arch.tensors[place->tensor].role;
    sb_linear which = sb_linear_of_role(role);
    if (which == SB_LINEARS) {
      SB_TRY(prepare_norm(p, stream, place, rows, p->norms[role == SB_ROLE_POST_NORM]));
    } else {
      const sb_matrix *matrix = sb_model_matrix(m, layer, which);
      if (!p->backend->unified) rows = p->source[p->at_hand][which];
      SB_TRY(m->coding == SB_CODING_CODES ? prepare_packed(p, stream, which, matrix, place, rows)
                                          : prepare_source(p, stream, layer, which, matrix, rows));
    }
  }
  return SB_OK;
}

const sb_layer_weights *sb_device_layer_weights(const sb_device_layer *p) {
  return &p->weights;
}

sb_status sb_device_layer_stored(const sb_device_layer *p, sb_stream stream, sb_linear which,
                                 const void **w) {
  const sb_tiling *grid = &sb_model_matrix(p->model, 0, which)->grid;
  sb_backend *b = p->backend;
  *w = p->weights.linear[which].dense_dev;
  if (!is_ordered(p->model)) return SB_OK;
  const void *natural = *w;
  *w = p->ordered;
  return b->op->gather_matrix(b, stream, p->ordered, natural, b->operand, grid->rows, grid->cols,
                              p->index[which][ROW_ORDER], p->index[which][COL_ORDER]);
}

const void *sb_device_layer_source(const sb_device_layer *p, sb_linear which) {
  return p->source_now[which];
}

const float *sb_device_layer_importance(const sb_device_layer *p, sb_linear which) {
  return p->importance_now[which];
}

const uint8_t *sb_device_layer_fits(const sb_device_layer *p, sb_linear which) {
  return p->importance_now[which] ? p->fits[which] : NULL;
}
