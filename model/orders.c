#include "model/orders.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "base/memory.h"
#include "model/order_string.h"

const char *const sb_reorder_names[] = {[SB_REORDER_NONE] = "none",
                                        [SB_REORDER_FUSED] = "fused",
                                        [SB_REORDER_INDEXED] = "indexed",
                                        NULL};

enum { FUSED_A_LAYER = 5 };

/* ---- which tensors share which orders ---- */

static size_t add(sb_orders *o, const sb_model_tensor *t, bool rows) {
  sb_order *order = &o->orders[o->count];
  snprintf(order->name, sizeof order->name, "%s.%s", t->name, rows ? "rows" : "columns");
  order->size = rows ? t->rows : t->cols;
  order->rows = rows;
  return o->count++;
}

/* The roles of a layer that fused orders know. */
static const sb_role fused_roles[] = {SB_ROLE_Q,    SB_ROLE_K,  SB_ROLE_V,   SB_ROLE_O,
                                      SB_ROLE_GATE, SB_ROLE_UP, SB_ROLE_DOWN};
enum { FUSED_ROLES = sizeof fused_roles / sizeof *fused_roles };

static sb_status check_fusible(const sb_arch *arch, size_t layer) {
  const sb_config *c = &arch->config;
  size_t known = 0;
  for (size_t i = 0; i < FUSED_ROLES; i++)
    known += sb_arch_index(arch, fused_roles[i], layer) != SB_NONE;
  if (known == FUSED_ROLES && sb_arch_matrices(arch, layer) == FUSED_ROLES &&
      sb_arch_tensor(arch, SB_ROLE_Q, layer)->rows == c->heads * c->head_dim &&
      sb_arch_tensor(arch, SB_ROLE_K, layer)->rows == c->kv_heads * c->head_dim)
    return SB_OK;
  return sb_fail(SB_ERR_UNSUPPORTED,
                 "fused orders are not known for the matrices of layer %zu of %s: use indexed ones",
                 layer, arch->config.architecture);
}

static void fuse_layer(const sb_arch *arch, sb_orders *o, size_t layer, size_t residual) {
  static const sb_role first[] = {SB_ROLE_Q, SB_ROLE_K, SB_ROLE_V, SB_ROLE_GATE};
  const size_t up = sb_arch_index(arch, SB_ROLE_UP, layer),
               down = sb_arch_index(arch, SB_ROLE_DOWN, layer);
  const size_t out = sb_arch_index(arch, SB_ROLE_O, layer);
  o->layer_start[layer] = o->count;
  for (size_t i = 0; i < sizeof first / sizeof *first; i++) {
    const size_t tensor = sb_arch_index(arch, first[i], layer);
    o->row[tensor] = add(o, &arch->tensors[tensor], true);
    o->col[tensor] = residual;
  }
  o->row[up] = o->row[sb_arch_index(arch, SB_ROLE_GATE, layer)];
  o->col[up] = residual;
  o->row[down] = residual;
  o->col[down] = o->row[up];
  o->row[out] = residual;
  o->col[out] = add(o, &arch->tensors[out], false);
  for (size_t i = arch->layers[layer].first_tensor; i < arch->layers[layer + 1].first_tensor; i++)
    if (!arch->tensors[i].is_linear) o->col[i] = residual;
}

static void fuse(const sb_arch *arch, sb_orders *o) {
  const size_t embed = sb_arch_index(arch, SB_ROLE_EMBED, 0);
  const size_t residual = add(o, &arch->tensors[embed], false);
  o->col[embed] = residual;
  o->col[sb_arch_index(arch, SB_ROLE_FINAL_NORM, 0)] = residual;
  o->col[sb_arch_index(arch, SB_ROLE_LM_HEAD, 0)] = residual;
  for (size_t layer = 0; layer < arch->config.layers; layer++) fuse_layer(arch, o, layer, residual);
}

/* Rows of every matrix, columns of every input: matrices that share one share its order. */
static void index_layer(const sb_arch *arch, sb_orders *o, size_t layer) {
  o->layer_start[layer] = o->count;
  for (size_t i = 0; i < sb_arch_matrices(arch, layer); i++) {
    const sb_model_tensor *t = sb_arch_matrix(arch, layer, i);
    const size_t first = sb_arch_input_of(arch, layer, t->input)->first_matrix,
                 tensor = (size_t)(t - arch->tensors);
    o->row[tensor] = add(o, t, true);
    o->col[tensor] =
        first == i ? add(o, t, false) : o->col[sb_arch_matrix(arch, layer, first) - arch->tensors];
  }
}

static sb_status allocate_numbers(sb_orders *o) {
  size_t at = 0;
  o->channels = 0;
  for (size_t i = 0; i < o->count; i++) o->channels += o->orders[i].size;
  SB_TRY(sb_alloc_raw(&o->numbers, o->channels, sizeof *o->numbers, "orders of channels"));
  for (size_t i = 0; i < o->count; i++) {
    o->orders[i].from = o->numbers + at;
    at += o->orders[i].size;
  }
  return SB_OK;
}

static sb_status create(const sb_arch *arch, sb_reorder mode, sb_orders *o) {
  const size_t layers = arch->config.layers;
  const size_t most = mode == SB_REORDER_FUSED ? 1 + layers * FUSED_A_LAYER
                                               : arch->matrix_count + arch->input_count;
  o->mode = mode;
  if (mode == SB_REORDER_NONE) return SB_OK;
  o->tensors = arch->count;
  o->layers = layers;
  for (size_t layer = 0; mode == SB_REORDER_FUSED && layer < layers; layer++)
    SB_TRY(check_fusible(arch, layer));
  SB_TRY(sb_alloc(&o->layer_start, layers + 1, sizeof *o->layer_start, "orders of channels"));
  SB_TRY(sb_alloc(&o->orders, most, sizeof *o->orders, "orders of channels"));
  SB_TRY(sb_alloc_raw(&o->row, arch->count, sizeof *o->row, "orders of channels"));
  SB_TRY(sb_alloc_raw(&o->col, arch->count, sizeof *o->col, "orders of channels"));
  for (size_t i = 0; i < arch->count; i++) o->row[i] = o->col[i] = SB_NO_ORDER;
  if (mode == SB_REORDER_FUSED)
    fuse(arch, o);
  else
    for (size_t layer = 0; layer < layers; layer++) index_layer(arch, o, layer);
  o->layer_start[layers] = o->count;
  SB_TRY(allocate_numbers(o));
  for (size_t i = 0; i < o->count; i++)
    for (size_t k = 0; k < o->orders[i].size; k++) o->orders[i].from[k] = (uint32_t)k;
  return SB_OK;
}

sb_status sb_orders_create(const sb_arch *arch, sb_reorder mode, sb_orders *out) {
  *out = (sb_orders){0};
  sb_status status = create(arch, mode, out);
  if (status != SB_OK) sb_orders_free(out);
  return status;
}

static sb_status copy(const sb_orders *from, sb_orders *o) {
  o->mode = from->mode;
  if (from->count == 0) return SB_OK;
  o->count = from->count;
  o->tensors = from->tensors;
  o->layers = from->layers;
  SB_TRY(sb_alloc_raw(&o->orders, o->count, sizeof *o->orders, "orders of channels"));
  SB_TRY(sb_alloc_raw(&o->row, o->tensors, sizeof *o->row, "orders of channels"));
  SB_TRY(sb_alloc_raw(&o->col, o->tensors, sizeof *o->col, "orders of channels"));
  SB_TRY(
      sb_alloc_raw(&o->layer_start, o->layers + 1, sizeof *o->layer_start, "orders of channels"));
  memcpy(o->layer_start, from->layer_start, (o->layers + 1) * sizeof *o->layer_start);
  memcpy(o->orders, from->orders, o->count * sizeof *o->orders);
  memcpy(o->row, from->row, o->tensors * sizeof *o->row);
  memcpy(o->col, from->col, o->tensors * sizeof *o->col);
  SB_TRY(allocate_numbers(o));
  for (size_t i = 0; i < o->count; i++)
    memcpy(o->orders[i].from, from->orders[i].from, o->orders[i].size * sizeof(uint32_t));
  return SB_OK;
}

sb_status sb_orders_copy(const sb_orders *orders, sb_orders *out) {
  *out = (sb_orders){0};
  sb_status status = copy(orders, out);
  if (status != SB_OK) sb_orders_free(out);
  return status;
}

void sb_orders_free(sb_orders *orders) {
  sb_free(&orders->orders);
  sb_free(&orders->row);
  sb_free(&orders->col);
  sb_free(&orders->layer_start);
  sb_free(&orders->numbers);
  *orders = (sb_orders){0};
}

/* ---- one order ---- */

typedef struct ranked {
  double score;
  uint32_t channel;
} ranked;

static int by_falling_score(const void *a, const void *b) {
  const ranked *x = a, *y = b;
  if (x->score != y->score) return x->score > y->score ? -1 : 1;
  return (x->channel > y->channel) - (x->channel < y->channel);
}

sb_status sb_orders_sort(uint32_t *from, const double *scores, size_t n) {
  ranked *all = NULL;
  SB_TRY(sb_alloc_raw(&all, n, sizeof *all, "channels to be sorted"));
  for (size_t i = 0; i < n; i++) all[i] = (ranked){scores[i], (uint32_t)i};
  qsort(all, n, sizeof *all, by_falling_score);
  for (size_t i = 0; i < n; i++) from[i] = all[i].channel;
  sb_free(&all);
  return SB_OK;
}

void sb_orders_invert(uint32_t *out, const uint32_t *from, size_t n) {
  for (size_t i = 0; i < n; i++) out[from[i]] = (uint32_t)i;
}

static int rising(const void *a, const void *b) {
  const uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
  return (x > y) - (x < y);
}

void sb_orders_settle(sb_orders *orders, size_t block_rows, size_t block_cols) {
  for (size_t k = 0; k < orders->count; k++) {
    const sb_order *order = &orders->orders[k];
    const size_t block = order->rows ? block_rows : block_cols;
    for (size_t i = 0; i < order->size; i += block)
      qsort(order->from + i, sb_min_size(block, order->size - i), sizeof *order->from, rising);
  }
}

size_t sb_order_bytes(const sb_order *order, size_t block_rows, size_t block_cols) {
  return sb_order_string_bytes(order->size, order->rows ? block_rows : block_cols);
}

/* ---- all of them ---- */

uint64_t sb_orders_stored_bytes(const sb_arch *arch, sb_reorder mode, size_t block_rows,
                                size_t block_cols) {
  uint64_t bytes = 0;
  if (mode != SB_REORDER_INDEXED) return 0;
  for (size_t i = 0; i < arch->matrix_count; i++)
    bytes += sb_order_string_bytes(arch->tensors[arch->matrices[i]].rows, block_rows);
  for (size_t i = 0; i < arch->input_count; i++)
    bytes += sb_order_string_bytes(arch->inputs[i].width, block_cols);
  return bytes;
}

uint64_t sb_orders_hash(const sb_orders *orders) {
  uint64_t hash = (uint64_t)orders->mode;
  for (size_t i = 0; i < orders->count; i++)
    hash = XXH64(orders->orders[i].from, orders->orders[i].size * sizeof(uint32_t), hash);
  return hash;
}
