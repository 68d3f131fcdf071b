#include "plan/predict.h"

#include <math.h>

#include "base/memory.h"
#include "kernels/shared/trellis.h"

double sb_rates_of_codes(const sb_rates *r, sb_code_kind kind) {
  if (!sb_is_trellis(kind)) return 0.0;
  const unsigned states = sb_trellis_of(kind, 1).state_bits;
  return r->trellis[states == 12 ? 0 : states == 14 ? 1 : 2];
}

static double over(double work, double rate) {
  return rate > 0.0 ? work / rate : 0.0;
}

/* A node's ranks share its network. */
static double send_seconds(const sb_plan_setup *s, const sb_rates *r, double sent) {
  return over(sent * (double)sb_plan_node_ranks(s), r->network);
}

static double longest(const sb_pass_time *t) {
  return fmax(t->flop_seconds + t->grid_seconds, t->send_seconds);
}

/* Every rank rounds every layer for itself each time it comes by: forward, and in a gradient pass
 * once more. Fitted grids are found anew each time, in a gradient pass also for one bit less and
 * one more. */
static void predict_passes(const sb_plan_setup *s, const sb_footprint *f, const sb_rates *r,
                           sb_prediction *out) {
  const sb_plan_search *search = &f->search;
  const double linear = (double)s->arch->linear_parameters;
  const double fit = s->fitted ? over(linear, r->fit) : 0.0, quantize = over(linear, r->quantize);
  const bool check = s->search.check_seqs > 0;
  const double loss_waves = (double)(check ? search->check.waves : search->pass.waves),
               waves = (double)search->pass.waves;
  const bool trellis = sb_is_trellis(s->blocking.code_kind);
  sb_pass_time *loss = &out->loss, *gradient = &out->gradient;
  loss->flop_seconds = over(check ? search->check_flops : search->loss_flops, r->forward);
  /* trellises: of a coded model, and gradients at full precision */
  loss->grid_seconds =
      trellis ? over(linear, r->unpack) * loss_waves : (fit + quantize) * loss_waves;
  loss->send_seconds = send_seconds(s, r, check ? search->check_sent : search->loss_sent);
  gradient->flop_seconds = over(search->loss_flops, r->forward) +
                           over(search->gradient_flops - search->loss_flops, r->backward);
  gradient->grid_seconds = (trellis ? 0.0 : 4.0 * fit + 2.0 * quantize) * waves +
                           over(linear * (double)search->pass.local, r->score);
  gradient->send_seconds = send_seconds(s, r, search->gradient_sent);
  loss->seconds = longest(loss);
  gradient->seconds = longest(gradient);
}

/* The forward half of a gradient pass is that of the loss pass just before it where one wave
 * carries all sequences and the loss is theirs: so it is for every trade. A search without strides,
 * or by divergence, takes one gradient pass more, at full precision for the costs of widths, which
 * also learns the source model's predictions; one by divergence with sequences that decide takes a
 * forward pass of these. */
static void predict_search(const sb_plan_setup *s, const sb_footprint *f, sb_prediction *out) {
  const bool reuses = f->search.pass.waves == 1 && s->search.check_seqs == 0;
  const double gradient = out->gradient.seconds,
               again = reuses ? fmax(gradient - out->loss.seconds, 0.0) : gradient;
  const bool divergence = s->search.estimator == SB_ESTIMATOR_DIVERGENCE;
  const size_t costs = divergence || s->search.strides == 0 ? 1 : 0;
  const size_t fresh = costs + s->search.strides;
  out->gradient_passes = fresh + s->search.trades;
  out->loss_passes = (divergence && s->search.check_seqs > 0 ? 1 : 0) + s->search.trades +
                     (sb_is_trellis(s->blocking.code_kind) ? s->round.times : 1);
  out->seconds[SB_PART_GRADIENT] = (double)fresh * gradient + (double)s->search.trades * again;
  out->seconds[SB_PART_LOSS] = (double)out->loss_passes * out->loss.seconds;
}

/* The search for trellis codes rounds all its candidates. */
static void predict_round(const sb_plan_setup *s, const sb_footprint *f, const sb_rates *r,
                          double *seconds) {
  const sb_plan_round *round = &f->round;
  const double times = (double)s->round.times;
  const double decode = over((double)s->arch->linear_parameters, r->unpack);
  seconds[SB_PART_FORWARD] =
      times * fmax(over(round->flops, r->forward) + decode, send_seconds(s, r, round->sent));
  seconds[SB_PART_MOMENTS] = times * over(round->moment_flops, r->moments);
  seconds[SB_PART_FACTOR] = times * over(round->factor_flops, r->factor);
  seconds[SB_PART_ROUNDING] = times * over(round->rounding_flops, r->rounding);
  seconds[SB_PART_REFINE] = over(round->refine_flops, r->refine);
  seconds[SB_PART_CODES] = times * over((double)s->arch->linear_parameters / (double)s->ranks,
                                        sb_rates_of_codes(r, s->blocking.code_kind));
}

/* Every rank decodes every layer forwards and back, for each wave of each step, and once before and
 * after all. */
static double tune_seconds(const sb_plan_setup *s, const sb_footprint *f, const sb_rates *r) {
  const sb_plan_tune *t = &f->tune;
  const double walks = 2.0 * (double)(t->steps * t->pass.waves + 1);
  const double work = over(t->learn_flops + t->forward_flops, r->forward) +
                      over(t->step_flops - t->forward_flops, r->backward) +
                      over(walks * (double)s->arch->linear_parameters, r->unpack);
  return fmax(work, send_seconds(s, r, t->sent));
}

/* At full precision: no grids of layers. */
static double tables_seconds(const sb_footprint *f, const sb_rates *r, const sb_plan_setup *s) {
  const sb_plan_tables *t = &f->tables;
  if (!s->tables.measured) return 0.0;
  const double work = over(f->search.loss_flops, r->forward) +
                      over(fmax(t->flops - f->search.loss_flops, 0.0), r->backward);
  return fmax(work, send_seconds(s, r, t->sent));
}

static void predict_files(const sb_plan_setup *s, const sb_footprint *f, const sb_rates *r,
                          double *seconds) {
  const double ranks = (double)s->ranks, linear = (double)s->arch->linear_parameters;
  seconds[SB_PART_READ] = over(f->model_bytes / ranks, r->read);
  seconds[SB_PART_WRITE] = over(f->packed.model, r->write);
  if (!s->round.gptq) /* else they are packed by then; for tuning too, but it is the same work */
    seconds[SB_PART_WRITE] += over(linear / ranks, r->pack);
}

void sb_predict(const sb_plan_setup *s, const sb_footprint *f, const sb_rates *r,
                sb_prediction *out) {
  *out = (sb_prediction){0};
  predict_passes(s, f, r, out);
  predict_search(s, f, out);
  predict_files(s, f, r, out->seconds);
  if (s->fitted)
    out->seconds[SB_PART_IMPORTANCE] =
        fmax(over(f->search.loss_flops, r->forward), send_seconds(s, r, f->search.loss_sent));
  if (s->reorder != SB_REORDER_NONE)
    out->seconds[SB_PART_REORDER] = out->gradient.seconds + out->seconds[SB_PART_READ];
  out->seconds[SB_PART_TABLES] = tables_seconds(f, r, s);
  if (s->round.gptq) predict_round(s, f, r, out->seconds);
  if (s->tune.seqs > 0) out->seconds[SB_PART_TUNE] = tune_seconds(s, f, r);
  for (int p = 0; p < SB_PARTS; p++) out->total += out->seconds[p];
}
