/* AdamW (Loshchilov and Hutter, 1711.05101; Kingma and Ba, 1412.6980) on the weights that a rank
 * owns. With the mean gradient g, the rate of the step and t the number of the update from 1:
 *
 *   w *= 1 - rate * decay                       matrices, embedding, LM head; not vectors (norms)
 *   m += (1 - beta1) (g - m)
 *   v  = beta2 v + (1 - beta2) g^2
 *   w -= rate / (1 - beta1^t) * m / (sqrt(v) / sqrt(1 - beta2^t) + eps)
 *
 * in f32, operation for operation as torch.optim.AdamW. Master weights are the units of the store;
 * the moments m and v lie beside, 8 bytes per element of this rank. Elements do not depend on each
 * other, so results do not depend on ranks or threads. */
#ifndef SB_TRAIN_OPTIMIZER_H
#define SB_TRAIN_OPTIMIZER_H

#include <stdint.h>

#include "base/status.h"
#include "train/shares.h"

typedef struct sb_adamw {
  double beta1, beta2, eps;
  double decay; /* decoupled; 0: none */
} sb_adamw;

#define SB_ADAMW_DEFAULTS ((sb_adamw){.beta1 = 0.9, .beta2 = 0.95, .eps = 1e-8, .decay = 0.1})

/* SB_ERR_USAGE for numbers out of range: betas in [0, 1), eps above 0, decay not negative; options
 * that have these names are named. Pure. */
sb_status sb_adamw_check(const sb_adamw *adamw);

typedef struct sb_optimizer {
  const sb_shares *shares;
  float *m, *v;     /* [elements of this rank], in the order of `shares` */
  uint64_t updates; /* done so far: t of the last one */
} sb_optimizer;

/* Moments 0, no updates. `shares` is borrowed. SB_ERR_MEMORY. Local. */
sb_status sb_optimizer_create(const sb_shares *shares, sb_optimizer *out);
size_t sb_optimizer_bytes(const sb_share_sizes *sizes);
void sb_optimizer_free(sb_optimizer *optimizer);

/* One update: g = (float)(sums[i] * scale) * factor, where factor clips. `sums` has the elements of
 * this rank (train/gradient_sums.h). No group of the store is held. Local. O(elements). */
typedef struct sb_optimizer_step_args {
  sb_adamw adamw;
  double rate;
  const int64_t *sums;
  double scale, factor;
} sb_optimizer_step_args;
void sb_optimizer_step(sb_optimizer *optimizer, const sb_optimizer_step_args *args);

/* Weights, moments and number of one unit, for files of a training state: [rows, cols] of the rows
 * that shares->units[i] names. The caller may write them while no group is held; then the pass'
 * forward part is stale (sb_pass_forget). Local. */
typedef struct sb_optimizer_unit {
  float *master, *m, *v;
} sb_optimizer_unit;
static inline sb_optimizer_unit sb_optimizer_unit_at(const sb_optimizer *o, size_t i) {
  const sb_share *u = &o->shares->units[i];
  return (sb_optimizer_unit){u->master, o->m + u->first, o->v + u->first};
}

#endif
