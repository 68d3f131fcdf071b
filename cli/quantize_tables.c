/* shardbits quantize: the budget of everything, and the widths of embedding and LM head. */
#include "alloc/allocate_tables.h"
#include "alloc/size_budget.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/progress.h"
#include "base/text.h"
#include "base/trace.h"
#include "cli/quantize.h"
#include "cli/quantize_readers.h"
#include "cli/report_json.h"

const char *sb_quantize_table_name(const sb_model *m, size_t table) {
  return m->table_count == 1 ? "embedding and LM head" : table == 0 ? "embedding" : "LM head";
}

sb_status sb_quantize_check_budget(sb_quantize_run *u) {
  sb_quantize_request *r = u->r;
  const sb_file_shape shape = sb_file_shape_of(u->model, r->reorder);
  u->least_chosen = r->min_bits == 0;
  const sb_status status = sb_quantize_settle_budget(r, &shape, u->table_bits);
  return u->reuses ? SB_OK : status; /* a bit map that exists says its own */
}

static bool any_coded(const sb_model *m) {
  return m->tables[0].coded || m->tables[1].coded;
}

bool sb_quantize_weighs_tables(const sb_quantize_run *u) {
  bool coded = false;
  for (int i = 0; i < SB_TABLES; i++) coded = coded || u->table_bits[i] < SB_SOURCE_BITS;
  return coded && u->r->calib &&
         (u->r->quantizer == SB_QUANTIZER_GPTQ || sb_quantize_fits_tables(u->r));
}

/* What rounding of tables goes by, where their widths did not need it. */
static sb_status measure(sb_quantize_run *u) {
  const sb_quantize_request *r = u->r;
  const bool whole = r->quantizer == SB_QUANTIZER_GPTQ;
  uint8_t *kept;
  SB_PHASE(phase, "tables");
  if (!sb_quantize_weighs_tables(u) || !any_coded(u->model)) return SB_OK;
  u->backend->gemm_flops = 0;
  sb_progress_begin("tables", 1.0);
  sb_status status = sb_model_lift_bits(u->model, &kept);
  if (status == SB_OK) {
    status = sb_table_stats_measure(u->model, u->backend, &u->calibration,
                                    sb_common_activation_bytes(&r->common, u->backend), whole,
                                    sb_progress_ticker(), &u->table_stats);
    sb_model_return_bits(u->model, &kept);
  }
  if (sb_quantize_fits_tables(r)) SB_THEN(sb_table_stats_fit(u->table_stats, u->model));
  sb_progress_end();
  SB_TRY(status);
  sb_log_phase("tables", sb_span_seconds(&phase), u->backend->gemm_flops,
               "sensitivities of embedding and LM head");
  return SB_OK;
}

static void report_choice(sb_quantize_run *u, const sb_allocate_tables_result *c, double seconds) {
  const sb_quantize_request *r = u->r;
  const sb_model *m = u->model;
  char widths[128] = "", size[SB_TEXT_SIZE], budget[96] = "", proof[96] = "";
  size_t n = 0;
  for (size_t i = 0; i < m->table_count; i++)
    n += (size_t)snprintf(widths + n, sizeof widths - n, "%s%s %.2f bits", i ? ", " : "",
                          sb_quantize_table_name(m, i), c->table_mean_bits[i]);
  if (r->size.bytes > 0)
    snprintf(budget, sizeof budget, "; of %s layers get %.4f effective bits",
             sb_byte_size_text(size, sizeof size, r->size.bytes, r->size.unit), c->bits);
  if (c->chosen)
    snprintf(proof, sizeof proof, "; a predicted rise of %.4g, at most %.2g above the least",
             c->predicted, c->gap);
  sb_log_phase("tables", seconds, u->backend->gemm_flops, "%s%s%s", widths, budget, proof);
  if (!u->report) return;
  json_t *choice = json_object();
  sb_report_real(choice, "layer_bits", c->bits);
  if (c->chosen) {
    sb_report_real(choice, "loss", c->loss);
    sb_report_real(choice, "loss_per_byte", c->price);
    sb_report_real(choice, "predicted_rise", c->predicted);
    sb_report_real(choice, "gap", c->gap);
  }
  sb_report_real(choice, "seconds", seconds);
  json_object_set_new(u->report, "tables_chosen", choice);
}

/* What layers get of --size is the budget of their search. */
static void take_budget(sb_quantize_run *u, double bits) {
  sb_quantize_request *r = u->r;
  if (r->size.bytes == 0) return;
  r->bits = bits;
  if (u->least_chosen) r->min_bits = 0;
  sb_quantize_choose_least(r, &u->model->arch);
}

static sb_status choose(sb_quantize_run *u) {
  const sb_quantize_request *r = u->r;
  SB_PHASE(phase, "tables");
  const sb_budget layers = sb_quantize_budget(r);
  sb_allocate_tables_result result = {0};
  sb_allocate_tables_options options = {.size = r->size,
                                        .bits = r->bits,
                                        .min_bits = layers.min_bits,
                                        .max_bits = layers.max_bits,
                                        .scope = layers.scope,
                                        .widths = sb_quantize_widths(r),
                                        .table_widths = sb_quantize_table_widths(r),
                                        .fitted = sb_quantize_fits_tables(r),
                                        .statistics = r->quantizer == SB_QUANTIZER_GPTQ,
                                        .activation_bytes =
                                            sb_common_activation_bytes(&r->common, u->backend),
                                        .ticker = sb_progress_ticker()};
  memcpy(options.table_bits, u->table_bits, sizeof options.table_bits);
  u->backend->gemm_flops = 0;
  sb_progress_begin("tables", 1.0);
  const sb_status status =
      sb_allocate_tables(u->model, u->backend, &u->calibration, &options, &result);
  sb_progress_end();
  SB_TRY(status);
  u->table_stats = result.stats;
  take_budget(u, result.bits);
  report_choice(u, &result, sb_span_seconds(&phase));
  return SB_OK;
}

sb_status sb_quantize_tables(sb_quantize_run *u) {
  const sb_quantize_request *r = u->r;
  sb_model *m = u->model;
  const bool by_size = r->size.bytes > 0;
  bool open = false;
  if (u->reuses) return measure(u);
  for (size_t i = 0; i < m->table_count; i++) open = open || u->table_bits[i] == 0;
  if (r->method != SB_METHOD_RTN && (by_size || open)) return choose(u);
  if (by_size) {
    const sb_size_budget budget = sb_quantize_size_budget(r, u->table_bits);
    SB_TRY(sb_size_uniform(m, &budget));
    take_budget(u, sb_model_uniform_bits(m, m->bits[0]));
  } else {
    for (size_t i = 0; i < m->table_count; i++) sb_size_set_table(m, i, u->table_bits[i]);
  }
  return measure(u);
}
