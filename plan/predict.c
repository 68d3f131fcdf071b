#include "plan/predict.h"

#include <string.h>

#include "base/memory.h"

static double over(double work, double rate) {
  return rate > 0.0 ? work / rate : 0.0;
}

static double longer(double a, double b) {
  return a > b ? a : b;
}

/* A node's ranks share its network. */
static double send_seconds(const sb_footprint_setup *s, const sb_rates *r, double traffic) {
  return over(traffic * (double)sb_min_size(s->ranks, s->ranks_per_node), r->network);
}

/* Every rank rounds every layer for itself each time it comes by: forward, and in a gradient pass
 * once more. Fitted grids are found anew each time, in a gradient pass also for one bit less and
 * one more. */
static void predict_passes(const sb_footprint_setup *s, const sb_footprint *f, const sb_rates *r,
                           sb_prediction *out) {
  const double weights = (double)s->arch->linear_parameters * (double)f->waves,
               fit = s->fitted ? over(weights, r->fit) : 0.0, quantize = over(weights, r->quantize);
  const bool check = s->check_seqs > 0;
  const double scored = (double)s->arch->linear_parameters * (double)f->local_seqs;
  out->loss_flop_seconds = over(check ? f->check_flops : f->loss_flops, r->forward);
  out->loss_grid_seconds =
      (fit + quantize) * (check ? (double)f->check_waves / (double)f->waves : 1.0);
  out->loss_send_seconds = send_seconds(s, r, check ? f->check_traffic : f->loss_traffic);
  out->gradient_flop_seconds =
      over(f->loss_flops, r->forward) + over(f->gradient_flops - f->loss_flops, r->backward);
  out->gradient_grid_seconds = 4.0 * fit + 2.0 * quantize + over(scored, r->score);
  out->gradient_send_seconds = send_seconds(s, r, f->gradient_traffic);
  out->loss_seconds =
      longer(out->loss_flop_seconds + out->loss_grid_seconds, out->loss_send_seconds);
  out->gradient_seconds =
      longer(out->gradient_flop_seconds + out->gradient_grid_seconds, out->gradient_send_seconds);
}

/* The forward half of a gradient pass is that of the loss pass just before it where one wave
 * carries all sequences and the loss is theirs: so it is for every trade. A search without strides,
 * or by divergence, takes one gradient pass more, at full precision for the costs of widths, which
 * tells what the source weights say too; one by divergence with sequences that decide a forward
 * pass of these. */
static void predict_search(const sb_footprint_setup *s, const sb_footprint *f, size_t strides,
                           size_t trades, sb_prediction *out) {
  const double again = f->waves == 1 && s->check_seqs == 0
                           ? out->gradient_seconds - out->loss_seconds
                           : out->gradient_seconds;
  const size_t source = s->gains == SB_GAINS_DIVERGENCE ? 1 : 0;
  const size_t costs = source || strides == 0 ? 1 : 0;
  out->gradient_passes = costs + strides + trades;
  out->loss_passes = (source && s->check_seqs > 0 ? 1 : 0) + 1 + trades;
  out->seconds[SB_PART_GRADIENT] =
      (double)(costs + strides) * out->gradient_seconds + (double)trades * longer(again, 0.0);
  out->seconds[SB_PART_LOSS] = (double)out->loss_passes * out->loss_seconds;
}

/* Every rank decodes every layer forwards and back, for each wave of each step, and once before and
 * after all. */
static double tune_seconds(const sb_footprint_setup *s, const sb_footprint *f, const sb_rates *r) {
  const double walks = 2.0 * (double)(f->tune_steps * f->tune_step_waves + 1);
  const double work = over(f->tune_learn_flops + f->tune_forward_flops, r->forward) +
                      over(f->tune_flops - f->tune_forward_flops, r->backward) +
                      over(walks * (double)s->arch->linear_parameters, r->unpack);
  return longer(work, send_seconds(s, r, f->tune_traffic));
}

void sb_predict(const sb_footprint_setup *s, const sb_footprint *f, const sb_rates *r,
                size_t strides, size_t trades, sb_prediction *out) {
  const double ranks = (double)s->ranks,
               packed = (double)s->arch->linear_parameters * s->bits / 8.0;
  const double rest =
      f->model_bytes - (double)s->arch->linear_parameters * (double)sb_dtype_size(s->source);
  memset(out, 0, sizeof *out);
  predict_passes(s, f, r, out);
  predict_search(s, f, strides, trades, out);
  out->seconds[SB_PART_READ] = over(f->model_bytes / ranks, r->read);
  out->seconds[SB_PART_WRITE] = over((packed + rest) / ranks, r->write);
  if (!s->gptq) /* else they are packed by then; for tuning too, but it is the same work */
    out->seconds[SB_PART_WRITE] += over((double)s->arch->linear_parameters / ranks, r->pack);
  if (s->fitted)
    out->seconds[SB_PART_IMPORTANCE] =
        longer(over(f->loss_flops, r->forward), send_seconds(s, r, f->loss_traffic));
  if (s->reorder != SB_REORDER_NONE)
    out->seconds[SB_PART_REORDER] = out->gradient_seconds + out->seconds[SB_PART_READ];
  if (s->gptq) {
    const double decode = over((double)s->arch->linear_parameters, r->unpack);
    out->seconds[SB_PART_FORWARD] =
        longer(over(f->round_flops, r->forward) + decode, send_seconds(s, r, f->round_traffic));
    out->seconds[SB_PART_MOMENTS] = over(f->moment_flops, r->moments);
    out->seconds[SB_PART_FACTOR] = over(f->factor_flops, r->factor);
    out->seconds[SB_PART_ROUNDING] = over(f->rounding_flops, r->rounding);
    out->seconds[SB_PART_REFINE] = over(f->refine_flops, r->refine);
  }
  if (s->tune_seqs > 0) out->seconds[SB_PART_TUNE] = tune_seconds(s, f, r);
  for (int p = 0; p < SB_PARTS; p++) out->total += out->seconds[p];
}
