/* Orders of channels that leave the function of a Llama as it is, up to the order in which floats
 * are added. The permuted model is an ordinary model, so inference needs nothing more.
 *
 *   residual stream    one order for the whole model: columns of embedding, LM head, q, k, v, gate
 *                      and up; rows of o and down; elements of all norms (a root mean square does
 *                      not depend on order)
 *   MLP                one order per layer, of hidden channels: rows of gate and up, columns of
 *                      down
 *   key-value groups   a k and a v head move as a whole, with the query heads that use them: rows
 *                      of q, k and v, columns of o
 *   query heads        heads of one group trade places: rows of q, columns of o
 *   values             channels inside a v head, and in the columns of o of each query head that
 *                      uses it
 *
 * Channels inside a q or k head stay. RoPE turns channels i and i + head_dim / 2 by an angle that
 * depends on i. Loaders compute the angles from config.json, so a pair elsewhere would be turned by
 * another angle. Nor may the two channels of a pair trade places: that is a turn by 90 degrees with
 * a sign, and a permutation has no signs.
 *
 * All functions are local. */
#ifndef SB_MODEL_FUSED_H
#define SB_MODEL_FUSED_H

#include "model/orders.h"

/* The order of one layer's attention, by new position. n = heads / kv_heads. */
typedef struct sb_fused_heads {
  const uint32_t *groups; /* [kv_heads] source group */
  /* [heads] element g n + j: which of the n query heads of source group groups[g] */
  const uint32_t *queries;
  /* [kv_heads * head_dim] element g head_dim + c: which channel of the source group's v head */
  const uint32_t *values;
} sb_fused_heads;

/* Return where to write the order of the residual stream, [hidden], and of a
 * layer's MLP, [intermediate]. */
uint32_t *sb_fused_residual(const sb_arch *arch, sb_orders *orders);
uint32_t *sb_fused_mlp(const sb_arch *arch, sb_orders *orders, size_t layer);
/* Sets the orders of a layer's attention: rows of q, k and v, columns of o. */
void sb_fused_set_heads(const sb_arch *arch, sb_orders *orders, size_t layer,
                        const sb_fused_heads *heads);
/* Checks that the orders of every layer's attention, which are permutations, keep the function.
 * SB_ERR_FORMAT with the name of one that does not. */
sb_status sb_fused_check(const sb_arch *arch, const sb_orders *orders);

#endif
