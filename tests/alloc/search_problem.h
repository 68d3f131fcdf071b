/* Problems for the search whose answer is known: a separable loss with gains that are exact, or lie
 * by a known factor, and hooks that record what the search does. */
#ifndef SB_TESTS_ALLOC_SEARCH_PROBLEM_H
#define SB_TESTS_ALLOC_SEARCH_PROBLEM_H

#include "tests/alloc/instance.h"

#include <limits.h>

#include "alloc/search.h"
#include "base/clock.h"

typedef struct problem {
  instance *x;
  double *curvature; /* of block k: the loss is the sum of curvature / 4^bits */
  double lie;        /* predictions are exact but for a random factor of up to e^lie */
  double per_change; /* added to the loss for every block away from the reference: what predictions
                        do not see */
  uint8_t *reference;
  uint8_t *applied, *scratch; /* [n], of all ranks */
  int losses, gains, steps;
  bool refuse_losses;
  int lost_gains, lost_losses; /* the call of that number overflows; 0: none */
  double gains_loss;           /* what the gains hook calls the loss, where not 0 */
  bool alone;                  /* this rank holds all blocks */
  sb_search_step step[200];
  int saves, keep; /* the save that is kept */
  sb_search_progress kept;
  uint8_t *kept_bits; /* [n]; NULL: none is */
} problem;

static double loss_at(const problem *p, const uint8_t *bits) {
  double sum = 0;
  for (size_t k = 0; k < p->x->n; k++) {
    sum += p->curvature[k] * ldexp(1, -2 * bits[k]);
    if (p->per_change > 0 && bits[k] != p->reference[k]) sum += p->per_change;
  }
  return sum;
}

static sb_status apply(void *context, const uint8_t *bits) {
  problem *p = context;
  if (p->alone)
    memcpy(p->applied, bits, p->x->n);
  else
    instance_collect(p->x, bits, p->applied);
  return SB_OK;
}

static sb_status measure(void *context, double *loss) {
  problem *p = context;
  p->losses++;
  if (p->refuse_losses || p->losses == p->lost_losses)
    return sb_fail(SB_ERR_NUMERIC, "no loss today");
  *loss = loss_at(p, p->applied);
  return SB_OK;
}

static sb_status gains(void *context, double *raise, double *cut, double *loss) {
  problem *p = context;
  p->gains++;
  if (p->gains == p->lost_gains) return sb_fail(SB_ERR_NUMERIC, "no gains today");
  for (size_t i = 0; i < (p->alone ? p->x->n : p->x->own); i++) {
    const size_t k = p->alone ? i : p->x->place[i];
    const double here = p->curvature[k] * ldexp(1, -2 * p->applied[k]);
    uint64_t s = k * 31 + p->applied[k]; /* the same at the same point */
    raise[i] = 0.75 * here * exp(p->lie * ((double)draw(&s, 1000) / 1000 - 0.5));
    cut[i] = 3 * here * exp(p->lie * ((double)draw(&s, 1000) / 1000 - 0.5));
  }
  *loss = p->gains_loss != 0 ? p->gains_loss : loss_at(p, p->applied);
  return SB_OK;
}

static void report(void *context, const sb_search_step *step) {
  problem *p = context;
  EXPECT(step->step == p->steps);
  if (p->steps < 200) p->step[p->steps] = *step;
  p->steps++;
}

/* Keeps the progress and bits of the step after which the search is to be cut off. */
static sb_status keep_progress(void *context, const sb_search_progress *progress) {
  problem *p = context;
  if (p->kept_bits && p->saves++ == p->keep) {
    p->kept = *progress;
    memcpy(p->kept_bits, p->applied, p->x->n);
  }
  return SB_OK;
}

static problem create(instance *x, uint64_t seed) {
  problem p = {.x = x};
  uint64_t s = seed;
  instance_alloc(&p.curvature, x->n, sizeof *p.curvature);
  instance_alloc(&p.reference, x->n, 1);
  instance_alloc(&p.applied, x->n, 1);
  instance_alloc(&p.scratch, x->n, 1);
  for (size_t k = 0; k < x->n; k++) p.curvature[k] = lognormal(&s);
  return p;
}

static void release(problem *p) {
  sb_free(&p->curvature);
  sb_free(&p->reference);
  sb_free(&p->applied);
  sb_free(&p->scratch);
}

static const uint8_t *all_at(problem *p, unsigned bits) {
  memset(p->scratch, (int)bits, p->x->n);
  return p->scratch;
}

/* Runs the search and checks what always holds: the result is within the budget, it is what is
 * applied, its loss and storage are as reported, no better point within the budget was seen. */
static sb_search_result run(problem *p, const sb_search_options *options) {
  const sb_search_hooks hooks = {p, apply, measure, gains, report, keep_progress};
  sb_search_result result;
  uint8_t *own = NULL;
  instance_alloc(&own, p->x->own, 1);
  for (size_t i = 0; i < p->x->own && options->begun; i++) own[i] = p->reference[p->x->place[i]];
  p->steps = p->losses = p->gains = 0;
  EXPECT_OK(sb_search(&world, &p->x->mine, options, &hooks, own, &result));
  instance_collect(p->x, own, p->scratch);
  EXPECT(memcmp(p->scratch, p->applied, p->x->n) == 0);
  EXPECT(result.storage == instance_storage(p->x, p->applied));
  EXPECT(result.storage <= options->budget);
  EXPECT(result.loss == loss_at(p, p->applied));
  EXPECT(result.gain_passes == p->gains && result.loss_passes == p->losses &&
         result.steps == p->steps);
  for (int i = 0; i < p->steps && i < 200; i++)
    if (!p->step[i].path)
      EXPECT(p->step[i].loss >= result.loss && p->step[i].storage <= options->budget);
  EXPECT(options->most_trades > 0 ? result.path_loss >= result.loss
                                  : result.path_loss == result.loss);
  EXPECT(result.start_loss ==
         loss_at(p, options->begun ? p->reference : all_at(p, options->start_bits)));
  sb_free(&own);
  return result;
}

/* Equal blocks, so the optimum is known: raise the block with the largest marginal gain, from the
 * bottom, while bits last. */
static double known_optimum(problem *p, unsigned least, unsigned most, uint64_t budget) {
  uint8_t *bits = p->scratch;
  const uint64_t a_bit = 128 * 128;
  uint64_t used;
  memset(bits, (int)least, p->x->n);
  used = instance_storage(p->x, bits);
  for (; used + a_bit <= budget; used += a_bit) {
    size_t best = 0;
    double gain = -1;
    for (size_t k = 0; k < p->x->n; k++) {
      const double g = 0.75 * p->curvature[k] * ldexp(1, -2 * bits[k]);
      if (bits[k] < most && g > gain) {
        best = k;
        gain = g;
      }
    }
    if (gain <= 0) break;
    bits[best]++;
  }
  return loss_at(p, bits);
}

#endif
