/* The search for the best bits under a budget, one batch of moves after another, each checked on
 * the calibration loss.
 *
 *   path    From a uniform start, above or below the budget, to the budget in a few strides: a
 * stride closes a share of the distance, with gains measured anew where it ended. From a bad
 * starting point gradients say nothing, so a low budget is approached from above. Or none: the
 * search begins with bits that someone else chose, within the budget. trades  At the budget: the
 * best raises paid by the cheapest cuts, at most a share k of the storage. The batch stays if the
 * loss fell; else it is taken back and k halved; where that makes the same batch, its loss is
 * known. After a kept batch gains are measured anew.
 *
 * The loss that decides on trades may be that of other sequences than those that give the gains:
 * what is learned by heart does not help there (`other_loss`).
 *
 * A search can be saved after every step and go on from there, to the same bits (`save`, `resume`).
 *
 * The loss and the gains come through hooks, so the search knows neither models nor sensitivities.
 * It is collective, and its decisions are the same on all ranks if the hooks' results are. The
 * result is the best point seen within the budget.
 */
#ifndef SB_ALLOC_SEARCH_H
#define SB_ALLOC_SEARCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "alloc/greedy.h"
#include "base/status.h"

/* Losses are calibration losses, nats a token. */
typedef struct sb_search_step {
  int step;         /* from 0 */
  bool path;        /* a stride of the path; else a trade at the budget */
  double loss;      /* after a trade; before a stride, where its gains were measured */
  uint64_t storage; /* bits, over all ranks */
  uint64_t raised, cut;
  bool accepted;
  double share;   /* k of a trade; 0 for the path */
  double seconds; /* of this step */
} sb_search_step;

/* How far a search is; the bits that go with it are the applied ones. */
typedef struct sb_search_progress {
  int steps, strides, trades; /* done; trades tried */
  int accepted, gain_passes, loss_passes;
  double share;            /* k of the next trade */
  double loss, start_loss; /* at the bits, once the path is done; where the search began */
} sb_search_progress;

typedef struct sb_search_hooks {
  void *context;
  /* Makes `bits` (this rank's blocks) the model's. Collective. */
  sb_status (*apply)(void *context, const uint8_t *bits);
  /* The calibration loss at the applied bits. Collective, equal on all ranks. */
  sb_status (*loss)(void *context, double *loss);
  /* raise_gain[] and cut_loss[] of this rank's blocks at the applied bits, and the loss there.
   * Collective. */
  sb_status (*gains)(void *context, double *raise_gain, double *cut_loss, double *loss);
  /* Told after every step; may be NULL. Local. */
  void (*report)(void *context, const sb_search_step *step);
  /* The progress after a step, worth saving; may be NULL. Not called on a path that starts within
   * the budget, which has a best point to remember. Collective. */
  sb_status (*save)(void *context, const sb_search_progress *progress);
} sb_search_hooks;

typedef struct sb_search_options {
  uint64_t budget;     /* storage bits over all ranks, as sb_blocks_cost counts */
  bool begun;          /* no path: the search begins with the bits given */
  unsigned start_bits; /* uniform start of the path */
  int strides;         /* of the path, at least 1 where there is one */
  int most_trades;     /* batches tried at the budget; 0: none (one-shot) */
  double first_share;  /* k of the first trade, of the budget's storage */
  double least_share;  /* the search ends when k falls below it */
  bool other_loss;     /* the loss hook's is not comparable with that of the gains hook */
  const sb_search_progress
      *resume; /* go on from here, with the bits given; NULL: from the uniform start */
} sb_search_options;

typedef struct sb_search_result {
  double loss;       /* at the result */
  double start_loss; /* at the uniform start, or where the search began */
  double path_loss;  /* where trades began: at the end of the path, or where the search resumed */
  uint64_t storage;
  int steps, accepted; /* accepted counts trades */
  int gain_passes, loss_passes;
} sb_search_result;

/* bits[blocks->count] = the result; where it has begun, or resumes, it begins with these bits. The
 * model is left with these bits applied. SB_ERR_RANGE when the budget is below what min_bits needs.
 * Collective. */
sb_status sb_search(const sb_world *world, const sb_blocks *blocks,
                    const sb_search_options *options, const sb_search_hooks *hooks, uint8_t *bits,
                    sb_search_result *result);

#endif
