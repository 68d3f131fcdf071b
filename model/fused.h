/* Permutations of channels that leave the function of a Llama as it is, up to the order in which
 * floats are added, and that need nothing at inference: the permuted model is another ordinary
 * model.
 *
 *   residual stream   one permutation for the whole model: columns of embedding and LM head, of q,
 * k, v, gate and up, rows of o and down, elements of all norms (a root mean square does not know an
 * order) MLP               one a layer, of hidden channels: rows of gate and up, columns of down
 *   key-value groups  a k and a v head with the query heads that use them change places as a whole:
 * rows of q, k, v, columns of o query heads       those of one group change places among
 * themselves: rows of q, columns of o values            channels of a v head, and in the columns of
 * o those of every query head that uses it
 *
 * Inside a q or k head nothing may move. RoPE turns channels i and i + head_dim / 2 by an angle
 * that depends on i, so a pair that went elsewhere would be turned by another angle; the table of
 * angles is not ours to permute, for loaders compute it from config.json. The two channels of a
 * pair may not change places either: turning by 90 degrees, which does commute, needs a sign
 * besides.
 *
 * All functions are local. */
#ifndef SB_MODEL_FUSED_H
#define SB_MODEL_FUSED_H

#include "model/orders.h"

/* The attention of one layer, by new position. With n = heads / kv_heads: */
typedef struct sb_fused_heads {
  const uint32_t *groups; /* [kv_heads] source group */
  const uint32_t
      *queries; /* [heads]: at g n + j, which of the n query heads of source group groups[g] */
  const uint32_t
      *values; /* [kv_heads * head_dim]: at g head_dim + c, which channel of its v head */
} sb_fused_heads;

/* Where the orders of the residual stream, and of a layer's MLP, are to be written: [hidden],
 * [intermediate]. */
uint32_t *sb_fused_residual(const sb_arch *arch, sb_orders *orders);
uint32_t *sb_fused_mlp(const sb_arch *arch, sb_orders *orders, size_t layer);
/* Sets the orders of a layer's attention: rows of q, k and v, columns of o. */
void sb_fused_set_heads(const sb_arch *arch, sb_orders *orders, size_t layer,
                        const sb_fused_heads *heads);
/* Whether the four orders of every layer's attention, which are permutations, are of that kind.
 * SB_ERR_FORMAT with the name of one that is not. */
sb_status sb_fused_check(const sb_arch *arch, const sb_orders *orders);

#endif
