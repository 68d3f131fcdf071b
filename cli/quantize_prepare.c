/* shardbits quantize, before bits are chosen: the model, grids, orders. */
#include <stdio.h>
#include <sys/stat.h>

#include "base/log.h"
#include "base/progress.h"
#include "base/text.h"
#include "base/trace.h"
#include "cli/quantize.h"
#include "cli/quantize_readers.h"
#include "cli/report_json.h"
#include "folders/bits_file.h"
#include "folders/hf_load.h"
#include "folders/hf_path.h"
#include "folders/output_write.h"
#include "io/space.h"
#include "kernels/code_kind.h"
#include "model/config_read.h"
#include "model/effective_bits.h"
#include "model/exl3.h"
#include "model/file_size.h"
#include "mpi/large.h"
#include "pass/fingerprint.h"
#include "quant/importance.h"
#include "quant/scale_numbers.h"
#include "quant/scales.h"
#include "sensitivity/reorder.h"

sb_status sb_quantize_begin_out(sb_quantize_run *u) {
  const sb_quantize_request *r = u->r;
  char path[SB_PATH_MAX];
  sb_status status = SB_OK;
  if (u->world->rank == 0 && r->checkpoint) {
    sb_quantize_checkpoint_path(u, "lock", path);
    status = sb_lock_take(path, r->checkpoint, &u->checkpoint);
  }
  SB_AGREE(u->world, status);
  return sb_destination_begin(u->world, r->out, r->overwrite, r->model, &u->out);
}

/* Bytes of the file that a checkpoint still has to grow by. */
static uint64_t missing(const sb_quantize_run *u, const char *part, double bytes) {
  char path[SB_PATH_MAX];
  struct stat info;
  sb_quantize_checkpoint_path(u, part, path);
  const double has = stat(path, &info) == 0 ? (double)info.st_size : 0;
  return bytes > has ? (uint64_t)(bytes - has) : 0;
}

/* Bytes of embedding and LM head as they are written, all of them or those that get widths. */
static uint64_t table_bytes(const sb_quantize_run *u, bool all) {
  const sb_file_shape shape = sb_file_shape_of(u->model, u->r->reorder);
  unsigned bits[SB_TABLES] = {u->table_bits[0], u->table_bits[1]};
  uint64_t bytes = 0;
  sb_quantize_guess_tables(u->r->bits, bits);
  for (size_t i = 0; i < sb_file_tables(&shape); i++)
    if (all || bits[i] < SB_SOURCE_BITS) bytes += sb_file_table_bytes(&shape, i, bits[i]);
  return bytes;
}

/* Of the matrices as they are rounded, and of the scales in training, in two halves; the search
 * itself takes a byte per block. */
static uint64_t checkpoint_bytes(const sb_quantize_run *u, double quantized) {
  const sb_quantize_request *r = u->r;
  const sb_model *m = u->model;
  uint64_t bytes = m->blocks;
  const sb_sizes all = sb_sizes_even(&m->arch, &m->blocking, 1);
  if (r->quantizer == SB_QUANTIZER_GPTQ)
    bytes += missing(u, "rounded.layers", quantized + (double)table_bytes(u, false));
  if (r->tune_seqs > 0)
    bytes +=
        missing(u, "trained.scales",
                2.0 * SB_SCALES_STATE_BYTES *
                    (double)sb_scale_numbers_owned(&all, sb_quantize_trained(r, u->table_bits)));
  return bytes;
}

static sb_status require_space(const sb_quantize_run *u) {
  const sb_quantize_request *r = u->r;
  const double quantized = r->bits / 8 * (double)u->model->arch.linear_parameters;
  const sb_file_shape shape = sb_file_shape_of(u->model, r->reorder);
  uint64_t out = r->size.bytes > 0
                     ? r->size.bytes
                     : (uint64_t)quantized + table_bytes(u, true) + sb_file_fixed_bytes(&shape);
  char folder[SB_PATH_MAX];
  if (r->checkpoint) {
    const uint64_t kept = checkpoint_bytes(u, quantized);
    sb_path_parent(folder, r->checkpoint);
    if (sb_space_is_shared(folder, u->out.folder.partial))
      out += kept;
    else
      SB_TRY(sb_space_require(folder, r->checkpoint, kept));
  }
  return sb_outdir_require_space(&u->out.folder, out);
}

sb_status sb_quantize_require_space(const sb_quantize_run *u) {
  return sb_world_agree(u->world, u->world->rank == 0 ? require_space(u) : SB_OK);
}

/* Asked of config.json before weights are read, which takes long. Sets the tables' widths. */
static sb_status check_config(sb_quantize_run *u) {
  sb_quantize_request *r = u->r;
  sb_config config;
  sb_arch arch = {0};
  SB_TRY(sb_hf_path_check(r->model));
  SB_TRY(sb_config_read_stored(r->model, &config));
  SB_TRY(sb_quantize_table_bits(r, "quantize", config.tie_embeddings, u->table_bits));
  if (r->widths_for == SB_WIDTHS_FOR_ANY) return SB_OK;
  SB_TRY(sb_arch_create(&config, &arch));
  const sb_status status = r->widths_for == SB_WIDTHS_FOR_EXL3
                               ? sb_exl3_check_sides(&arch)
                               : sb_quantize_settle_model(r, "quantize", &arch);
  sb_arch_free(&arch);
  return status;
}

sb_status sb_quantize_load(sb_quantize_run *u) {
  const sb_quantize_request *r = u->r;
  SB_PHASE(phase, "load");
  SB_AGREE(u->world, check_config(u));
  const sb_blocking blocking = {r->common.block[0], r->common.block[1], sb_quantize_code_kind(r)};
  SB_TRY(sb_hf_load(u->world, r->model, blocking, true, &u->model));
  const sb_model *m = u->model;
  /* what config.json says of a tied head, the weights may deny */
  SB_TRY(sb_quantize_table_bits(r, "quantize", m->config.tie_embeddings, u->table_bits));
  const char *codes = sb_code_kind_names[blocking.code_kind];
  SB_TRY(sb_common_check_seqlen(&r->common, &m->config));
  if (r->checkpoint) SB_TRY(sb_model_fingerprint(u->model, &u->fingerprint));
  sb_log_phase("load", sb_span_seconds(&phase), 0,
               "%zu layers, %zu blocks of %zux%zu, codes of %s, %d rank%s on %d node%s",
               m->config.layers, m->blocks, r->common.block[0], r->common.block[1], codes,
               u->world->size, sb_text_s(u->world->size), u->world->nodes,
               sb_text_s(u->world->nodes));
  sb_report_text(u->report, "codes", codes);
  return SB_OK;
}

/* Fitted grids want to know how large inputs are. Before any bits are set: seen from the model as
 * it came. */
sb_status sb_quantize_importance(sb_quantize_run *u) {
  const sb_quantize_request *r = u->r;
  SB_PHASE(phase, "inputs");
  if (r->codes == SB_CODES_GRID) sb_report_text(u->report, "grid", sb_grid_names[r->grid]);
  if (r->grid != SB_GRID_FITTED) return SB_OK;
  u->backend->gemm_flops = 0;
  sb_progress_begin("inputs", 1.0);
  sb_status status = sb_importance_measure(u->model, u->backend, &u->calibration,
                                           sb_common_activation_bytes(&r->common, u->backend),
                                           sb_progress_ticker());
  sb_progress_end();
  SB_TRY(status);
  sb_log_phase("inputs", sb_span_seconds(&phase), u->backend->gemm_flops,
               "mean squares of what goes into the matrices");
  return SB_OK;
}

static sb_status find_orders(sb_quantize_run *u) {
  const sb_quantize_request *r = u->r;
  SB_PHASE(phase, "reorder");
  sb_reorder_result result;
  const sb_reorder_options options = {.mode = r->reorder,
                                      .score = r->channel_score,
                                      .bits = r->bits,
                                      .activation_bytes =
                                          sb_common_activation_bytes(&r->common, u->backend),
                                      .ticker = sb_progress_ticker()};
  sb_progress_begin("reorder", 1.0);
  sb_status status =
      sb_reorder_model(&u->model, r->model, u->backend, &u->calibration, &options, &result);
  sb_progress_end();
  SB_TRY(status);
  const double seconds = sb_span_seconds(&phase);
  sb_log_phase("reorder", seconds, 0,
               "%s, by channels scored at %u bits (loss %.4f); scores %.1f%% of the pass",
               sb_reorder_names[r->reorder], result.width, result.loss,
               100 * result.score_seconds / result.gradient_seconds);
  sb_report_real(u->report, "reorder_seconds", seconds);
  return SB_OK;
}

/* Replaces the model by the same one with its channels in a better order, or in that of a bit map
 * that is used again. */
sb_status sb_quantize_reorder(sb_quantize_run *u) {
  const sb_quantize_request *r = u->r;
  sb_orders orders = {0};
  sb_report_text(u->report, "reorder", sb_reorder_names[r->reorder]);
  if (r->reorder == SB_REORDER_NONE) return SB_OK;
  if (!u->reuses) return find_orders(u);
  SB_TRY(sb_bits_file_orders(u->world, r->allocation, &u->model->arch, r->reorder, &orders));
  sb_status status = sb_reorder_reload(&u->model, r->model, &orders);
  sb_orders_free(&orders);
  return status;
}
