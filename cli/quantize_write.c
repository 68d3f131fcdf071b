/* shardbits quantize, when bits are chosen: rounding and the output folder. */
#include <math.h>
#include <stdio.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/progress.h"
#include "base/text.h"
#include "base/trace.h"
#include "cli/quantize.h"
#include "cli/report_json.h"
#include "cli/report_widths.h"
#include "folders/output_write.h"
#include "io/file.h"
#include "quant/encode.h"
#include "quant/gptq.h"
#include "quant/gptq_checkpoint.h"
#include "quant/scale_reach.h"
#include "quant/tune_checkpoint.h"

void sb_quantize_checkpoint_path(const sb_quantize_run *u, const char *part, char *out) {
  snprintf(out, SB_PATH_MAX, "%.*s.%s", SB_PATH_MAX - 16, u->r->checkpoint, part);
}

/* The model's packed form takes its place; the model stays where scales are to be trained. */
static void replace(sb_quantize_run *u, sb_model *packed) {
  if (u->r->tune_seqs > 0)
    u->source = u->model;
  else
    sb_model_free(&u->model);
  u->model = packed;
}

static sb_status adopt(sb_quantize_run *u, sb_model *packed) {
  uint64_t groups;
  replace(u, packed);
  SB_TRY(sb_scale_reach_count_cuts(u->model, &groups));
  if (groups > 0) sb_report_count(u->report, "groups_cut_off", groups);
  return SB_OK;
}

static sb_status round_to_nearest(sb_quantize_run *u) {
  sb_model *packed;
  sb_report_text(u->report, "quantizer", sb_quantizer_names[SB_QUANTIZER_RTN]);
  SB_TRY(sb_encode_nearest(u->model, &packed));
  return adopt(u, packed);
}

/* Where moments overflow, or cannot be factorised, the bits that took hours to find are rounded
 * without them. */
static sb_status fall_back(sb_quantize_run *u) {
  sb_log_line("warning: weights are rounded to nearest instead (--quantizer rtn): %s",
              sb_message());
  sb_report_text(u->report, "rounding_left_out", sb_message());
  SB_TRY(sb_store_give_back(u->model->store));
  return round_to_nearest(u);
}

/* Takes errors[layers] over. */
static void report_errors(const sb_quantize_run *u, double **errors) {
  json_t *list = u->report ? json_array() : NULL;
  for (size_t i = 0; list && i < u->model->config.layers; i++)
    json_array_append_new(list, isfinite((*errors)[i]) ? json_real((*errors)[i]) : json_null());
  if (list) json_object_set_new(u->report, "layer_errors", list);
  sb_free(errors);
}

sb_gptq_options sb_quantize_gptq_options(const sb_quantize_run *u, char checkpoint[SB_PATH_MAX]) {
  const sb_quantize_request *r = u->r;
  if (r->checkpoint) sb_quantize_checkpoint_path(u, "rounded", checkpoint);
  return (sb_gptq_options){.damping = 0.01,
                           .fitted = r->grid == SB_GRID_FITTED,
                           .refine = r->refine,
                           .table_fitted = sb_quantize_fits_tables(r),
                           .table_refine = sb_quantize_table_refine(r),
                           .factor = r->factor,
                           .tables = u->table_stats,
                           .checkpoint = r->checkpoint ? checkpoint : NULL,
                           .input_bytes = sb_common_activations(&r->common, 0),
                           .ticker = sb_progress_ticker()};
}

/* The search has rounded the bits that it chose. */
static sb_status take_rounded(sb_quantize_run *u) {
  const sb_quantizer quantizer = u->rounded_nearest ? SB_QUANTIZER_RTN : u->r->quantizer;
  sb_model *packed = u->rounded;
  u->rounded = NULL;
  sb_report_text(u->report, "quantizer", sb_quantizer_names[quantizer]);
  if (quantizer == SB_QUANTIZER_GPTQ)
    sb_report_text(u->report, "factor", sb_factor_mode_names[u->rounded_stats.factor]);
  return adopt(u, packed);
}

/* Replaces the model by its packed form. */
sb_status sb_quantize_round(sb_quantize_run *u) {
  const sb_quantize_request *r = u->r;
  sb_model *packed;
  sb_gptq_stats stats;
  SB_PHASE(phase, "round");
  if (u->rounded) return take_rounded(u);
  if (r->quantizer == SB_QUANTIZER_RTN) return round_to_nearest(u);
  sb_report_text(u->report, "quantizer", sb_quantizer_names[r->quantizer]);
  u->backend->gemm_flops = u->backend->gemm_seconds = 0;
  sb_progress_begin("round", 1.0);
  char checkpoint[SB_PATH_MAX];
  sb_gptq_options options = sb_quantize_gptq_options(u, checkpoint);
  double *errors = NULL;
  SB_AGREE(u->world,
           sb_alloc(&errors, u->model->config.layers, sizeof *errors, "errors of layers"));
  options.layer_errors = errors;
  sb_status status = sb_gptq(u->model, u->backend, &u->rounding, &options, &packed, &stats);
  sb_progress_end();
  if (status == SB_OK)
    report_errors(u, &errors);
  else
    sb_free(&errors);
  if (status == SB_ERR_NUMERIC) return fall_back(u);
  SB_TRY(status);
  if (stats.resumed + stats.resumed_tables > 0)
    sb_log_line("round     went on from %s, %zu of %zu layers done before", checkpoint,
                stats.resumed, u->model->config.layers);
  SB_TRY(adopt(u, packed));
  double seconds = sb_span_seconds(&phase);
  sb_log_phase("round", seconds, u->backend->gemm_flops,
               "forward %.0f%%, second moments %.0f%%, factors %.0f%%, rounding %.0f%%, refining "
               "%.0f%%, embedding and LM head %.0f%%; %zu inputs dead, %zu damped more",
               100 * stats.forward_seconds / seconds, 100 * stats.moment_seconds / seconds,
               100 * stats.factor_seconds / seconds, 100 * stats.round_seconds / seconds,
               100 * stats.refine_seconds / seconds, 100 * stats.table_seconds / seconds,
               stats.dead, stats.repaired);
  sb_report_text(u->report, "factor", sb_factor_mode_names[stats.factor]);
  sb_report_count(u->report, "refine", (uint64_t)r->refine);
  sb_report_real(u->report, "round_seconds", seconds);
  return SB_OK;
}

/* The output is complete: what was kept to go on from is in the way. */
static void remove_checkpoints(const sb_quantize_run *u) {
  char path[SB_PATH_MAX];
  if (!u->r->checkpoint) return;
  sb_quantize_checkpoint_path(u, "rounded", path);
  sb_gptq_checkpoint_remove(u->world, path);
  sb_quantize_checkpoint_path(u, "trained", path);
  sb_tune_checkpoint_remove(u->world, path);
}

static void count_widths(const sb_quantize_run *u, uint64_t widths[9]) {
  for (size_t k = 0; k < u->model->blocks; k++) widths[u->model->bits[k]]++;
}

static void print_result(const sb_quantize_run *u, const sb_output_stats *s,
                         const uint64_t widths[9]) {
  char shares[256] = "", tables[256] = "";
  size_t n = 0;
  for (unsigned b = 1; b <= 8; b++)
    if (widths[b])
      n += (size_t)snprintf(shares + n, sizeof shares - n, "  %u bit%s %.1f%%", b, sb_text_s(b),
                            100.0 * (double)widths[b] / (double)u->model->blocks);
  n = 0;
  for (size_t i = 0; i < u->model->table_count; i++)
    n += (size_t)snprintf(tables + n, sizeof tables - n, ", %s %.1f MiB (%.2f bits a weight)",
                          sb_quantize_table_name(u->model, i), (double)s->tables[i].bytes / 0x1p20,
                          s->tables[i].bits);
  sb_text_print(stdout, "%s: %.4f effective bits a weight of the layers (codes %.4f), blocks%s",
                u->r->out, s->effective_bits, s->code_bits_mean, shares);
  sb_text_print(
      stdout, "whole file %.2f MiB, %.4f bits a weight: layers %.1f MiB%s; stored %.1f MiB by zstd",
      (double)s->bytes / 0x1p20, s->file_bits, (double)s->quantized_bits / 8 / 0x1p20, tables,
      (double)s->stored_bytes / 0x1p20);
}

static void report_tables(const sb_quantize_run *u, const sb_output_stats *s) {
  json_t *tables = json_array();
  for (size_t i = 0; i < u->model->table_count; i++) {
    json_t *table = json_object();
    sb_report_text(table, "name", sb_quantize_table_name(u->model, i));
    sb_report_flag(table, "coded", u->model->tables[i].coded);
    sb_report_count(table, "weights", s->tables[i].weights);
    sb_report_count(table, "bytes", s->tables[i].bytes);
    sb_report_real(table, "bits", s->tables[i].bits);
    json_array_append_new(tables, table);
  }
  json_object_set_new(u->report, "tables", tables);
}

static void report_result(const sb_quantize_run *u, const sb_output_stats *s,
                          const uint64_t widths[9]) {
  char hash[32];
  sb_report_real(u->report, "effective_bits", s->effective_bits);
  sb_report_real(u->report, "code_bits", s->code_bits_mean);
  sb_report_real(u->report, "file_bits", s->file_bits);
  sb_report_count(u->report, "weights", s->weights);
  sb_report_count(u->report, "layer_weights", s->quantized_weights);
  sb_report_count(u->report, "file_bytes", s->bytes);
  if (u->r->size.bytes > 0) sb_report_count(u->report, "unused_bytes", u->r->size.bytes - s->bytes);
  sb_report_count(u->report, "stored_bytes", s->stored_bytes);
  sb_report_count(u->report, "quantized_bytes", s->quantized_bits / 8);
  sb_report_count(u->report, "other_bytes", s->other_bytes);
  sb_report_count(u->report, "frames", s->frames);
  if (!u->report) return;
  report_tables(u, s);
  snprintf(hash, sizeof hash, "%016llx", (unsigned long long)s->content_hash);
  sb_report_text(u->report, "content_hash", hash);
  json_t *shares = json_object();
  for (unsigned b = 1; b <= 8; b++) {
    char key[2] = {(char)('0' + b), 0};
    json_object_set_new(shares, key, json_integer((json_int_t)widths[b]));
  }
  json_object_set_new(u->report, "blocks_by_bits", shares);
}

sb_status sb_quantize_write(sb_quantize_run *u, double begun) {
  const sb_quantize_request *r = u->r;
  sb_output_stats stats;
  uint64_t widths[9] = {0};
  SB_PHASE(phase, "write");
  SB_TRY(sb_output_write(u->model, &u->out, r->level, &stats));
  remove_checkpoints(u);
  double seconds = sb_span_seconds(&phase);
  sb_log_phase("write", seconds, 0, "%llu frames, %.1f MiB stored, %.1f MiB/s",
               (unsigned long long)stats.frames, (double)stats.stored_bytes / 0x1p20,
               (double)stats.stored_bytes / 0x1p20 / seconds);
  count_widths(u, widths);
  if (sb_common_prints(u->world, &r->common)) print_result(u, &stats, widths);
  report_result(u, &stats, widths);
  sb_report_real(u->report, "write_seconds", seconds);
  SB_AGREE(u->world, sb_report_widths(u->report, u->model));
  SB_TRY(sb_report_peak(u->world, u->report));
  sb_report_real(u->report, "seconds", sb_now() - begun);
  return SB_OK;
}
