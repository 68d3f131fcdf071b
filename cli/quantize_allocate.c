/* shardbits quantize: where the bits come from. */
#include <unistd.h>

#include "alloc/allocate.h"
#include "alloc/allocate_table.h"
#include "alloc/size_budget.h"
#include "base/log.h"
#include "base/progress.h"
#include "base/text.h"
#include "base/trace.h"
#include "cli/quantize.h"
#include "cli/quantize_readers.h"
#include "cli/report_json.h"
#include "folders/bits_file.h"
#include "folders/output_write.h"
#include "model/exl3.h"
#include "mpi/large.h"

static const double TOLD_REST = 0.005;  /* effective bits */
static const double OVER_BUDGET = 1e-9; /* of it: what is more than rounding */

static const char *const scope_names[] = {[SB_WIDTH_OF_BLOCK] = "block",
                                          [SB_WIDTH_OF_MATRIX] = "matrix",
                                          [SB_WIDTH_OF_TIE] = "set of fused matrices",
                                          [SB_WIDTH_OF_MODEL] = "model"};

/* The baselines without a search. */
static sb_status from_table(sb_quantize_run *u) {
  const sb_quantize_request *r = u->r;
  SB_PHASE(phase, "table");
  const sb_estimator asked = r->estimator;
  sb_allocate_table_result result;
  const sb_allocate_table_options options = {
      .bits = r->bits,
      .min_bits = r->min_bits,
      .max_bits = r->max_bits,
      .estimator = sb_estimator_of_moves(asked) ? SB_ESTIMATOR_DIAGONAL : asked,
      .scope = sb_quantize_scope(r),
      .widths = sb_quantize_widths(r),
      .activation_bytes = sb_common_activation_bytes(&r->common, u->backend),
      .ticker = sb_progress_ticker()};
  u->backend->gemm_flops = 0;
  sb_progress_begin("table", 1.0);
  sb_status status = sb_allocate_table(u->model, u->backend, &u->calibration, &options, &result);
  sb_progress_end();
  SB_TRY(status);
  const double seconds = sb_span_seconds(&phase);
  sb_log_phase("table", seconds, u->backend->gemm_flops,
               "%s, one width a %s; loss %.4f at full precision",
               sb_estimator_names[options.estimator], scope_names[options.scope], result.loss);
  sb_report_real(u->report, "search_seconds", seconds);
  sb_report_real(u->report, "predicted_rise", result.predicted);
  return SB_OK;
}

/* --allocation reuses a file that is there and saves to one that is not. Rank 0 looks, so that all
 * ranks do the same. */
sb_status sb_quantize_find_bits(sb_quantize_run *u) {
  const sb_quantize_request *r = u->r;
  u->reuses = r->allocation && access(r->allocation, F_OK) == 0;
  SB_TRY(sb_mpi_bcast(&u->reuses, sizeof u->reuses, 0, u->world->comm));
  const bool asked =
      r->given.embed_bits || r->given.head_bits || r->widths_for != SB_WIDTHS_FOR_ANY;
  for (size_t i = 0; u->reuses && !asked && i < SB_TABLES; i++)
    u->table_bits[i] = 0; /* whatever the file has */
  return SB_OK;
}

/* What the bits found leave of the budget: a line where a width more would have fitted. */
static void tell_rest(const sb_quantize_run *u) {
  const sb_budget budget = sb_quantize_budget(u->r);
  sb_budget_rest rest = sb_budget_left(u->model, &budget);
  sb_report_real(u->report, "unused_bits", rest.bits);
  if (!rest.why || rest.bits < TOLD_REST) return;
  if (u->went_back) rest.why = "the loss on the calibration is lower with fewer bits";
  sb_report_text(u->report, "unused_why", rest.why);
  sb_log_line("bits      %.4f of the %g effective bits are left over: %s", rest.bits, budget.bits,
              rest.why);
}

static sb_status find_bits(sb_quantize_run *u) {
  const sb_quantize_request *r = u->r;
  const bool searches = r->method == SB_METHOD_SCALEBITS;
  if (r->method == SB_METHOD_RTN)
    return sb_allocate_uniform(u->model, r->bits, sb_quantize_widths(r));
  if (r->codes == SB_CODES_TRELLIS && (searches || r->method == SB_METHOD_LAYER))
    return sb_quantize_search_trellis(u);
  return searches ? sb_quantize_search(u) : from_table(u);
}

/* A bit map that was found for another budget. */
static sb_status check_budget(const sb_quantize_run *u) {
  const sb_quantize_request *r = u->r;
  const char *path = r->allocation;
  sb_output_stats taken;
  char least[SB_TEXT_SIZE], asked[SB_TEXT_SIZE];
  sb_output_figures(u->model, &taken);
  if (r->size.bytes > 0) {
    if (taken.bytes <= r->size.bytes) return SB_OK;
    sb_byte_size_limit(least, sizeof least, taken.bytes, r->size.unit, true);
    sb_byte_size_text(asked, sizeof asked, r->size.bytes, r->size.unit);
    return sb_fail(SB_ERR_RANGE,
                   "%s: these bits take %s, more than --size %s; give --size %s, or another "
                   "--allocation",
                   path, least, asked, least);
  }
  if (taken.effective_bits <= r->bits * (1 + OVER_BUDGET)) return SB_OK;
  sb_text_limit(least, sizeof least, taken.effective_bits, true);
  return sb_fail(SB_ERR_RANGE,
                 "%s: these bits take %s effective bits a weight, more than --bits %g; give --bits "
                 "%s, or another --allocation",
                 path, least, r->bits, least);
}

/* The file's tables have the widths that the command line asks for. */
static sb_status check_tables(const sb_quantize_run *u) {
  const sb_model *m = u->model;
  for (size_t i = 0; i < m->table_count; i++) {
    const sb_tiling *t = &m->tables[i].matrix.tiling;
    const size_t blocks = sb_tiling_block_rows(t) * sb_tiling_block_cols(t);
    const unsigned asked = u->table_bits[i];
    const uint8_t *bits = m->bits + m->tables[i].matrix.first_block;
    const unsigned other = asked == SB_SOURCE_BITS ? 0 : asked;
    if (asked == 0) continue;
    for (size_t k = 0; k < blocks; k++)
      if (bits[k] != other)
        return sb_fail(SB_ERR_FORMAT, "%s: has %u bits for a block of the %s, and %u are asked for",
                       u->r->allocation, bits[k], sb_quantize_table_name(m, i), asked);
  }
  return SB_OK;
}

sb_status sb_quantize_take_bits(sb_quantize_run *u) {
  const sb_quantize_request *r = u->r;
  if (!u->reuses) return SB_OK;
  for (size_t i = 0; i < u->model->table_count; i++) /* where the file has none of its own */
    if (u->table_bits[i] > 0) sb_size_set_table(u->model, i, u->table_bits[i]);
  SB_TRY(sb_bits_file_read(u->model, r->allocation));
  SB_TRY(check_tables(u));
  if (r->widths_for == SB_WIDTHS_FOR_EXL3) SB_TRY(sb_exl3_check_widths(u->model));
  if (sb_width_rules_check(u->model, r->widths_for) != SB_OK)
    return sb_fail(SB_ERR_FORMAT, "%s: %s", r->allocation, sb_message());
  SB_TRY(check_budget(u));
  sb_log_line("bits      taken from %s%s", r->allocation,
              r->grid == SB_GRID_PLAIN && !r->calib
                  ? "; grids are plain and codes to nearest, for less loss give --calib"
                  : "");
  return SB_OK;
}

sb_status sb_quantize_allocate(sb_quantize_run *u) {
  const sb_quantize_request *r = u->r;
  if (u->reuses) return SB_OK;
  SB_TRY(find_bits(u));
  tell_rest(u);
  if (!r->allocation) return SB_OK;
  SB_TRY(sb_bits_file_write(u->model, r->allocation));
  sb_log_line("bits      saved to %s", r->allocation);
  return SB_OK;
}
