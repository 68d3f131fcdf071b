/* shardbits quantize: the tokens of all phases. They are read before any work, so that a bad one
 * does not end the run after hours, and a file that is gone by then is not missed. */
#include "cli/quantize.h"
#include "pass/variety.h"

/* *out = at most `seqs` sequences of the calibration file. */
static sb_status read(const sb_quantize_run *u, size_t seqs, sb_sequences *out) {
  const sb_quantize_request *r = u->r;
  return sb_sequences_read(u->world, r->calib, r->common.token_width, u->model->config.vocab,
                           sb_common_seqlen(&r->common, &u->model->config), seqs, r->common.seed,
                           out);
}

/* Sequences that give gradients, and those that decide. */
static sb_status read_calibration(sb_quantize_run *u) {
  const sb_quantize_request *r = u->r;
  const bool chooses = r->method != SB_METHOD_RTN && !u->reuses;
  const bool reorders = r->reorder != SB_REORDER_NONE && !u->reuses;
  if (!chooses && !reorders && !sb_quantize_weighs_tables(u) && r->grid != SB_GRID_FITTED)
    return SB_OK;
  if (r->method != SB_METHOD_SCALEBITS || r->check_seqs == 0)
    return read(u, sb_common_seqs(&r->common), &u->calibration);
  return sb_sequences_read_two(u->world, r->calib, r->common.token_width, u->model->config.vocab,
                               sb_common_seqlen(&r->common, &u->model->config),
                               sb_common_seqs(&r->common), r->check_seqs, r->common.seed,
                               &u->calibration, &u->check);
}

sb_status sb_quantize_tokens(sb_quantize_run *u) {
  const sb_quantize_request *r = u->r;
  SB_TRY(read_calibration(u));
  /* forward passes are cheap, and second moments want more tokens than scores */
  if (r->quantizer == SB_QUANTIZER_GPTQ) SB_TRY(read(u, r->round_seqs, &u->rounding));
  if (r->tune_seqs > 0) SB_TRY(read(u, r->tune_seqs, &u->tuning));
  const sb_sequences *most = &u->calibration;
  if (u->rounding.count > most->count) most = &u->rounding;
  if (u->tuning.count > most->count) most = &u->tuning;
  return most->count > 0 ? sb_variety_warn(u->world, most, u->model->config.vocab, r->calib)
                         : SB_OK;
}
