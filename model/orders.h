/* Orders of the rows and columns of a model's tensors, which gather sensitive channels in whole
 * blocks.
 *
 * An order is a permutation: new position i holds source channel from[i]. Several tensors may share
 * one. The mode says how many orders a model has and who shares them:
 *
 *   fused     orders that leave the function of the network as it is (model/fused.h): one of the
 *             residual stream for the whole model, and five per layer: rows of q, of k and of v,
 *             columns of o, hidden channels of the MLP
 *   indexed   any order: rows of each matrix, columns of each input (model/arch.h). The output
 *             stores which channel went where.
 *
 * Inside a block of an indexed matrix the order of columns changes nothing that is stored, because
 * a group is a row of a block. So only the number of the block is stored: ceil(log2 blocks) bits
 * per channel, channels of a block in rising order. sb_orders_settle brings an order into that
 * form.
 *
 * All functions are local. Memory: 4 bytes per channel of every order, equal on all ranks. */
#ifndef SB_MODEL_ORDERS_H
#define SB_MODEL_ORDERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"
#include "model/arch.h"

typedef enum sb_reorder { SB_REORDER_NONE, SB_REORDER_FUSED, SB_REORDER_INDEXED } sb_reorder;

/* "none", "fused", "indexed", NULL. */
extern const char *const sb_reorder_names[];

typedef struct sb_order {
  /* Of the first tensor that has it: "model.layers.0.mlp.down_proj.weight.columns". */
  char name[112];
  size_t size;
  bool rows;      /* of that tensor; else its columns */
  uint32_t *from; /* [size], into sb_orders.numbers */
} sb_order;

typedef struct sb_orders {
  sb_reorder mode;
  size_t count;
  sb_order *orders;
  size_t tensors;
  size_t *row, *col; /* [tensors] which order, or SB_NO_ORDER; a vector is one row */
  size_t layers;
  size_t *layer_start; /* [layers + 1] each layer's first order; orders shared by all lie before */
  size_t channels;     /* of all orders */
  uint32_t *numbers;   /* [channels] */
} sb_orders;

#define SB_NO_ORDER SIZE_MAX

/* The orders that `mode` has for this architecture, each the identity. Zero-initialised orders are
 * those of SB_REORDER_NONE. Release with sb_orders_free. SB_ERR_MEMORY, SB_ERR_UNSUPPORTED for
 * fused orders of layers that are not Llama's. */
sb_status sb_orders_create(const sb_arch *arch, sb_reorder mode, sb_orders *out);
sb_status sb_orders_copy(const sb_orders *orders, sb_orders *out);
void sb_orders_free(sb_orders *orders);

/* Source rows, or columns, of a tensor by new position; NULL: unchanged.
 * `orders` may be zero-initialised. */
static inline const uint32_t *sb_orders_rows(const sb_orders *orders, size_t tensor) {
  return orders->count && orders->row[tensor] != SB_NO_ORDER
             ? orders->orders[orders->row[tensor]].from
             : NULL;
}
static inline const uint32_t *sb_orders_cols(const sb_orders *orders, size_t tensor) {
  return orders->count && orders->col[tensor] != SB_NO_ORDER
             ? orders->orders[orders->col[tensor]].from
             : NULL;
}

/* from[i] = i-th channel by falling score, ties by channel. O(n log n). SB_ERR_MEMORY. */
sb_status sb_orders_sort(uint32_t *from, const double *scores, size_t n);
/* out[from[i]] = i. */
void sb_orders_invert(uint32_t *out, const uint32_t *from, size_t n);
/* Sorts the channels of every block: the form in which indexed orders are stored. */
void sb_orders_settle(sb_orders *orders, size_t block_rows, size_t block_cols);

/* Bytes of one stored order (model/order_string.h), and of all that `mode` stores for this
 * architecture: 0 unless it is indexed. */
size_t sb_order_bytes(const sb_order *order, size_t block_rows, size_t block_cols);
uint64_t sb_orders_stored_bytes(const sb_arch *arch, sb_reorder mode, size_t block_rows,
                                size_t block_cols);

/* Equal for equal orders of equal modes (up to chance, 2^-64); 0 for none. */
uint64_t sb_orders_hash(const sb_orders *orders);

#endif
