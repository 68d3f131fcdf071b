/* The search for the best bits under a budget: one batch of moves after another, each checked on
 * the calibration loss.
 *
 * - Path: from uniform widths, above or below the budget, to the budget in a few strides. A
 *   stride closes a share of the distance; gains are measured anew after it. A stride moves a
 *   block by one bit at most, so a far budget takes more of them. A low budget is
 *   approached from above, because at a bad starting point gradients say nothing. There is no
 *   path where the search begins with given bits within the budget (`begun`).
 * - Trades, at the budget: the best raises, paid for by the cheapest cuts, up to a share k of
 *   the storage. The batch is kept if the loss fell, and gains are measured anew. Otherwise it
 *   is undone and k halved; where half the share bounds nothing, the batch is the same and its
 *   loss is known.
 *
 * Trades may be decided by the loss on other sequences than those that give the gains
 * (`other_loss`): it does not fall for bits that only fit the calibration.
 *
 * The search can be saved after every step and resumed from there, to the same bits (`save`,
 * `resume`).
 *
 * Loss and gains come through hooks, so the search knows neither models nor sensitivities. Its
 * decisions are equal on all ranks if the hooks' results are. The result is the best point within
 * the budget that it has seen.
 *
 * Numbers that overflow in a trade (SB_ERR_NUMERIC of a hook) do not end a search whose path is
 * done: a batch whose loss overflows is undone as one that costs more, and where gains overflow
 * there are no more trades. */
#ifndef SB_ALLOC_SEARCH_H
#define SB_ALLOC_SEARCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "alloc/greedy.h"
#include "base/status.h"

/* Losses are in nats per token. */
typedef struct sb_search_step {
  int step;             /* from 0 */
  bool path;            /* a stride of the path; else a trade at the budget */
  double loss;          /* after a trade; before a stride, where its gains were measured */
  uint64_t storage;     /* bits, over all ranks */
  uint64_t raised, cut; /* blocks, over all ranks */
  bool accepted;
  double share;   /* k of a trade; 0 for the path */
  double seconds; /* of this step */
} sb_search_step;

/* The progress of a search. It belongs to the bits applied last. */
typedef struct sb_search_progress {
  int steps, strides, trades; /* done; trades: tried */
  int accepted, gain_passes, loss_passes;
  double share;      /* k of the next trade */
  double loss;       /* at these bits, once the path is done */
  double start_loss; /* where the search began */
} sb_search_progress;

typedef struct sb_search_hooks {
  void *context;
  /* Makes `bits` (this rank's blocks) the model's. Collective. */
  sb_status (*apply)(void *context, const uint8_t *bits);
  /* The calibration loss at the applied bits. Collective, equal on all ranks. */
  sb_status (*loss)(void *context, double *loss);
  /* raise_gain[] and cut_loss[] of this rank's blocks at the applied bits, and the loss
   * at these. Collective. */
  sb_status (*gains)(void *context, double *raise_gain, double *cut_loss, double *loss);
  /* Called after every step; may be NULL. Local. */
  void (*report)(void *context, const sb_search_step *step);
  /* Saves the progress after a step; may be NULL. Not called while the search remembers a best
   * point of the path, which the progress does not have. Collective. */
  sb_status (*save)(void *context, const sb_search_progress *progress);
} sb_search_hooks;

typedef struct sb_search_options {
  uint64_t budget;                  /* storage bits over all ranks, as sb_blocks_cost counts */
  bool begun;                       /* no path: the search begins with the bits given */
  unsigned start_bits;              /* uniform width where the path begins */
  int strides;                      /* of the path, at least 1 if it has one */
  int most_trades;                  /* batches tried at the budget; 0: one shot */
  double first_share;               /* k of the first trade, as a share of the budget */
  double least_share;               /* the search ends when k falls below it */
  bool other_loss;                  /* the losses of the two hooks are of different sequences */
  const sb_search_progress *resume; /* resume here, with the bits given; NULL: begin */
} sb_search_options;

typedef struct sb_search_result {
  double loss;       /* at the result */
  double start_loss; /* where the search began */
  double path_loss;  /* where trades began or were resumed */
  uint64_t storage;
  bool went_back;      /* a point that the path had passed was better than its end */
  int steps, accepted; /* accepted counts trades */
  int gain_passes, loss_passes;
} sb_search_result;

/* bits[blocks->count] = the result, which is also applied. On entry they are the bits to begin with
 * (`begun`) or to resume from. SB_ERR_RANGE when every block at min_bits exceeds the budget; errors
 * of hooks are passed on. Collective. Memory: 19 bytes per block of this rank. */
sb_status sb_search(const sb_world *world, const sb_blocks *blocks,
                    const sb_search_options *options, const sb_search_hooks *hooks, uint8_t *bits,
                    sb_search_result *result);
/* Most bytes that sb_search takes for `count` blocks, beside its hooks. Pure. */
size_t sb_search_bytes(size_t count);

#endif
