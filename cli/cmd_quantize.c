/* shardbits quantize: the main job. */
#include <stdio.h>
#include <unistd.h>

#include "alloc/allocate.h"
#include "alloc/allocate_table.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/progress.h"
#include "cli/commands.h"
#include "cli/common.h"
#include "cli/report_json.h"
#include "io/outdir.h"
#include "model/allocation.h"
#include "model/compensate.h"
#include "model/importance.h"
#include "model/output.h"
#include "model/uniform_bits.h"
#include "mpi/cleanup.h"
#include "mpi/large.h"
#include "sensitivity/reorder.h"

enum { METHOD_SCALEBITS, METHOD_TABLE, METHOD_LAYER, METHOD_RTN };
static const char *const methods[] = {"scalebits", "table", "layer", "rtn", NULL};
enum { QUANTIZER_RTN, QUANTIZER_GPTQ };
static const char *const quantizers[] = {"rtn", "gptq", NULL};
static const char *const factors[] = {"auto", "replicated", "distributed", "distributed-single",
                                      NULL}; /* sb_factor_mode */
static const char *const channel_scores[] = {
    [SB_CHANNELS_SQUARE] = "square", [SB_CHANNELS_ABSOLUTE] = "abs", NULL};
enum { GRID_UNSET, GRID_PLAIN, GRID_FITTED };
static const char *const grids[] = {"auto", "plain", "fitted", NULL};

#define CALIB_NEEDED                                                                                         \
  "quantize: --calib TOKENS is needed (only --method rtn with --quantizer rtn, --grid plain and --reorder "  \
  "none does without)"

typedef struct request {
  const char *model, *calib, *out, *allocation, *checkpoint;
  double bits, first_share;
  int method, quantizer, factor, grid, reorder, channel_score, estimator, min_bits, max_bits, start_bits,
      strides, trades, level;
  size_t round_seqs, check_seqs;
  bool symmetric, overwrite;
  sb_common common;
} request;

typedef struct run {
  const sb_world *world;
  request *r;
  json_t *report, *steps;
  sb_backend *backend;
  sb_model *model;
  sb_sequences calibration, check, rounding;
  int reuses;      /* the bit map that --allocation names */
  int step;        /* of the search, under way */
  double progress; /* of the pass under way */
} run;

static void on_step(void *context, const sb_search_step *step, double effective_bits) {
  run *u = context;
  sb_progress_end();
  if (step->path)
    sb_log_line("  step %2d  path   loss %.4f  -> %.4f effective bits, %llu raised, %llu cut  %.1f s",
                step->step, step->loss, effective_bits, (unsigned long long)step->raised,
                (unsigned long long)step->cut, step->seconds);
  else
    sb_log_line("  step %2d  trade  loss %.4f  at %.4f effective bits, %llu raised, %llu cut, %s  %.1f s",
                step->step, step->loss, effective_bits, (unsigned long long)step->raised,
                (unsigned long long)step->cut, step->accepted ? "kept" : "taken back", step->seconds);
  if (u->steps)
    json_array_append_new(u->steps, json_pack("{s:i, s:s, s:f, s:f, s:I, s:I, s:b, s:f}", "step", step->step,
                                              "kind", step->path ? "path" : "trade", "loss", step->loss,
                                              "effective_bits", effective_bits, "raised",
                                              (json_int_t)step->raised, "cut", (json_int_t)step->cut,
                                              "accepted", step->accepted, "seconds", step->seconds));
  u->step = step->step + 1;
  u->progress = 1;
}

/* A step has a gradient pass, a forward pass, or both: each counts from 0 to 1. */
static void on_tick(void *context, double done) {
  run *u = context;
  if (done < u->progress) {
    char title[64];
    snprintf(title, sizeof title, "step %d of at most %d", u->step, u->r->strides + u->r->trades);
    sb_progress_begin(title, 1.0);
  }
  u->progress = done;
  sb_progress_step(done);
}

static sb_status load(run *u) {
  const request *r = u->r;
  double start = sb_now();
  const sb_blocking blocking = {r->common.block[0], r->common.block[1],
                                r->symmetric ? SB_SYMMETRIC : SB_ASYMMETRIC};
  SB_TRY(sb_model_load(u->world, r->model, blocking, true, &u->model));
  const sb_model *m = u->model;
  sb_log_phase("load", sb_now() - start, 0, "%zu layers, %zu blocks of %zux%zu, %d rank%s on %d node%s",
               m->config.layers, m->blocks, r->common.block[0], r->common.block[1], u->world->size,
               u->world->size == 1 ? "" : "s", u->world->nodes, u->world->nodes == 1 ? "" : "s");
  return SB_OK;
}

static void on_round(void *context, double done) {
  (void)context;
  sb_progress_step(done);
}

static sb_status read_calibration(run *u, size_t seqs, sb_sequences *out) {
  const request *r = u->r;
  if (!r->calib) return sb_fail(SB_ERR_USAGE, CALIB_NEEDED);
  return sb_sequences_read(u->world, r->calib, (sb_token_width)r->common.token_width, u->model->config.vocab,
                           sb_common_seqlen(&r->common, &u->model->config), seqs, r->common.seed, out);
}

/* Reads what the search works with, once. */
static sb_status calibrate(run *u) {
  const request *r = u->r;
  const bool searches = r->method == METHOD_SCALEBITS && r->check_seqs > 0;
  if (u->calibration.tokens || u->calibration.count) return SB_OK;
  if (!searches) return read_calibration(u, sb_common_seqs(&r->common), &u->calibration);
  return sb_sequences_read_two(u->world, r->calib, (sb_token_width)r->common.token_width,
                               u->model->config.vocab, sb_common_seqlen(&r->common, &u->model->config),
                               sb_common_seqs(&r->common), r->check_seqs, r->common.seed, &u->calibration,
                               &u->check);
}

static void on_pass(void *context, double done) {
  (void)context;
  sb_progress_step(done);
}

static sb_status find_orders(run *u) {
  const request *r = u->r;
  const double start = sb_now();
  sb_reorder_result result;
  SB_TRY(calibrate(u));
  const sb_reorder_options options = {.mode = (sb_reorder)r->reorder,
                                      .score = (sb_channel_score)r->channel_score,
                                      .bits = r->bits,
                                      .activation_bytes = (size_t)(r->common.activation_gib * 0x1p30),
                                      .tick = on_pass};
  sb_progress_begin("reorder", 1.0);
  sb_status status = sb_reorder_model(&u->model, r->model, u->backend, &u->calibration, &options, &result);
  sb_progress_end();
  SB_TRY(status);
  const double seconds = sb_now() - start;
  sb_log_phase("reorder", seconds, 0,
               "%s, by channels scored at %u bits (loss %.4f); scores %.1f%% of the pass",
               sb_reorder_names[r->reorder], result.width, result.loss,
               100 * result.score_seconds / result.gradient_seconds);
  sb_report_real(u->report, "reorder_seconds", seconds);
  return SB_OK;
}

/* Replaces the model by the same one with its channels in a better order, or in that of a bit map that is used again. */
static sb_status reorder(run *u) {
  const request *r = u->r;
  sb_orders orders = {0};
  sb_report_text(u->report, "reorder", sb_reorder_names[r->reorder]);
  if (r->reorder == SB_REORDER_NONE) return SB_OK;
  if (!u->reuses) return find_orders(u);
  SB_TRY(sb_allocation_orders(u->world, r->allocation, &u->model->arch, (sb_reorder)r->reorder, &orders));
  sb_status status = sb_reorder_reload(&u->model, r->model, &orders);
  sb_orders_free(&orders);
  return status;
}

static sb_status search(run *u) {
  const request *r = u->r;
  double start = sb_now();
  sb_allocate_result result;
  SB_TRY(calibrate(u));
  const sb_allocate_options options = {.bits = r->bits,
                                       .min_bits = (unsigned)r->min_bits,
                                       .max_bits = (unsigned)r->max_bits,
                                       .start_bits = (unsigned)r->start_bits,
                                       .estimator = (sb_estimator)r->estimator,
                                       .strides = r->strides,
                                       .trades = r->trades,
                                       .first_share = r->first_share,
                                       .least_share = r->first_share / 32,
                                       .activation_bytes = (size_t)(r->common.activation_gib * 0x1p30),
                                       .check = r->check_seqs > 0 ? &u->check : NULL,
                                       .checkpoint = r->checkpoint,
                                       .grid = grids[r->grid],
                                       .compute = r->common.compute == SB_COMPUTE_BF16 ? "bf16" : "f32",
                                       .report = on_step,
                                       .tick = on_tick,
                                       .context = u};
  sb_log_line("search    %zu calibration sequences of %zu tokens, budget %g effective bits",
              u->calibration.count, u->calibration.seqlen, r->bits);
  u->progress = 1;
  u->backend->gemm_flops = u->backend->gemm_seconds = 0;
  sb_status status = sb_allocate(u->model, u->backend, &u->calibration, &options, &result);
  sb_progress_end();
  SB_TRY(status);
  if (result.resumed_steps > 0)
    sb_log_line("search    went on from %s, %d steps done before", r->checkpoint, result.resumed_steps);
  double seconds = sb_now() - start;
  sb_log_phase(
      "search", seconds, u->backend->gemm_flops,
      "loss %.4f, %d gradient and %d forward passes, GEMM %.0f%%, scores %.1f%% of the gradient time",
      result.search.loss, result.search.gain_passes, result.search.loss_passes,
      100.0 * u->backend->gemm_seconds / seconds,
      100.0 * result.score_seconds / (result.gradient_seconds > 0 ? result.gradient_seconds : 1));
  sb_report_real(u->report, "calibration_loss", result.search.loss);
  sb_report_real(u->report, "search_seconds", seconds);
  sb_report_real(u->report, "gradient_seconds", result.gradient_seconds);
  sb_report_real(u->report, "score_seconds", result.score_seconds);
  sb_report_real(u->report, "forward_seconds", result.loss_seconds);
  sb_report_count(u->report, "gradient_passes", (uint64_t)result.search.gain_passes);
  sb_report_count(u->report, "forward_passes", (uint64_t)result.search.loss_passes);
  if (u->report) json_object_set_new(u->report, "search", json_incref(u->steps));
  return SB_OK;
}

/* Fitted grids want to know how large inputs are. Before any bits are set: seen from the model as it came. */
static sb_status measure_importance(run *u) {
  const request *r = u->r;
  double start = sb_now();
  sb_report_text(u->report, "grid", grids[r->grid]);
  if (r->grid != GRID_FITTED) return SB_OK;
  SB_TRY(calibrate(u));
  u->backend->gemm_flops = 0;
  sb_progress_begin("inputs", 1.0);
  sb_status status = sb_importance_measure(u->model, u->backend, &u->calibration,
                                           (size_t)(r->common.activation_gib * 0x1p30), on_round, u);
  sb_progress_end();
  SB_TRY(status);
  sb_log_phase("inputs", sb_now() - start, u->backend->gemm_flops,
               "mean squares of what goes into the matrices");
  return SB_OK;
}

/* The baselines without a search. */
static sb_status from_table(run *u) {
  const request *r = u->r;
  const double start = sb_now();
  const bool taylor = r->estimator == SB_ESTIMATOR_FISHER || r->estimator == SB_ESTIMATOR_TAYLOR;
  sb_allocate_table_result result;
  SB_TRY(calibrate(u));
  const sb_allocate_table_options options = {.bits = r->bits,
                                             .min_bits = (unsigned)r->min_bits,
                                             .max_bits = (unsigned)r->max_bits,
                                             .estimator =
                                                 taylor ? SB_ESTIMATOR_DIAGONAL : (sb_estimator)r->estimator,
                                             .by_layer = r->method == METHOD_LAYER,
                                             .activation_bytes = (size_t)(r->common.activation_gib * 0x1p30),
                                             .tick = on_round};
  u->backend->gemm_flops = 0;
  sb_progress_begin("table", 1.0);
  sb_status status = sb_allocate_table(u->model, u->backend, &u->calibration, &options, &result);
  sb_progress_end();
  SB_TRY(status);
  const double seconds = sb_now() - start;
  sb_log_phase("table", seconds, u->backend->gemm_flops, "%s, one width a %s; loss %.4f at full precision",
               sb_estimator_names[options.estimator], options.by_layer ? "matrix" : "block", result.loss);
  sb_report_real(u->report, "search_seconds", seconds);
  sb_report_real(u->report, "predicted_rise", result.predicted);
  return SB_OK;
}

/* One bit a block serves only budgets that leave no choice: rounded to nearest, it costs more than it saves.
 */
static void settle_min_bits(run *u) {
  request *r = u->r;
  if (r->min_bits == 0) {
    const sb_model *m = u->model;
    double two =
        sb_uniform_effective_bits(&m->arch, m->blocking.rows, m->blocking.cols, 2, m->blocking.symmetry) +
        sb_model_order_bits(m, (sb_reorder)r->reorder);
    r->min_bits = r->bits < two ? 1 : 2;
  }
  if (r->min_bits > r->max_bits) r->min_bits = r->max_bits;
}

/* --allocation reuses a file that is there and saves to one that is not. Rank 0 looks, so that all ranks do
 * the same. */
static sb_status look_for_allocation(run *u) {
  u->reuses = u->r->allocation && access(u->r->allocation, F_OK) == 0;
  return sb_mpi_bcast(&u->reuses, sizeof u->reuses, 0, u->world->comm);
}

static sb_status allocate(run *u) {
  const request *r = u->r;
  if (u->reuses) {
    SB_TRY(sb_allocation_read(u->model, r->allocation));
    sb_log_line("bits      taken from %s", r->allocation);
    return SB_OK;
  }
  if (r->method == METHOD_RTN)
    SB_TRY(sb_allocate_uniform(u->model, r->bits, (unsigned)r->min_bits, (unsigned)r->max_bits));
  else
    SB_TRY(r->method == METHOD_SCALEBITS ? search(u) : from_table(u));
  if (!r->allocation) return SB_OK;
  SB_TRY(sb_allocation_write(u->model, r->allocation));
  sb_log_line("bits      saved to %s", r->allocation);
  return SB_OK;
}

/* Replaces the model by its packed form where rounding is not simply to nearest. */
static sb_status round_weights(run *u) {
  const request *r = u->r;
  sb_model *packed;
  sb_compensate_stats stats;
  double start = sb_now();
  sb_report_text(u->report, "quantizer", quantizers[r->quantizer]);
  if (r->quantizer == QUANTIZER_RTN) return SB_OK;
  /* forward passes are cheap, and second moments want more tokens than scores */
  SB_TRY(read_calibration(u, r->round_seqs, &u->rounding));
  u->backend->gemm_flops = u->backend->gemm_seconds = 0;
  sb_progress_begin("round", 1.0);
  const sb_compensate_options options = {.damping = 0.01,
                                         .fitted = r->grid == GRID_FITTED,
                                         .factor = (sb_factor_mode)r->factor,
                                         .input_bytes = (size_t)(r->common.activation_gib * 0x1p30),
                                         .tick = on_round,
                                         .context = u};
  sb_status status = sb_compensate(u->model, u->backend, &u->rounding, &options, &packed, &stats);
  sb_progress_end();
  SB_TRY(status);
  sb_model_free(&u->model);
  u->model = packed;
  double seconds = sb_now() - start;
  sb_log_phase("round", seconds, u->backend->gemm_flops,
               "forward %.0f%%, second moments %.0f%%, factors %.0f%%, rounding %.0f%%; %zu inputs dead, %zu "
               "damped more",
               100 * stats.forward_seconds / seconds, 100 * stats.moment_seconds / seconds,
               100 * stats.factor_seconds / seconds, 100 * stats.round_seconds / seconds, stats.dead,
               stats.repaired);
  sb_report_text(u->report, "factor", factors[stats.factor]);
  sb_report_real(u->report, "round_seconds", seconds);
  return SB_OK;
}

static void count_widths(const run *u, uint64_t widths[9]) {
  for (size_t k = 0; k < u->model->blocks; k++) widths[u->model->bits[k]]++;
}

static sb_status write_out(run *u, double begun) {
  const request *r = u->r;
  sb_output_stats stats;
  uint64_t widths[9] = {0};
  double start = sb_now();
  char text[256];
  snprintf(text, sizeof text, "%.200s is as it was", r->out);
  sb_cleanup_message(text);
  SB_TRY(sb_output_write(u->model, r->model, r->out, r->overwrite, r->level, &stats));
  double seconds = sb_now() - start;
  sb_log_phase("write", seconds, 0, "%llu frames, %.1f MiB stored, %.1f MiB/s",
               (unsigned long long)stats.frames, (double)stats.stored_bytes / 0x1p20,
               (double)stats.stored_bytes / 0x1p20 / seconds);
  count_widths(u, widths);
  if (sb_common_prints(u->world, &r->common)) {
    printf("%s: %.4f effective bits a weight (codes %.4f), blocks", r->out, stats.effective_bits,
           stats.code_bits_mean);
    for (unsigned b = 1; b <= 8; b++)
      if (widths[b])
        printf("  %u bit%s %.1f%%", b, b == 1 ? "" : "s",
               100.0 * (double)widths[b] / (double)u->model->blocks);
    printf("\nstored %.1f MiB: %.1f MiB of quantized matrices and %.1f MiB of embedding, norms and head "
           "before zstd\n",
           (double)stats.stored_bytes / 0x1p20, (double)stats.quantized_bits / 8 / 0x1p20,
           (double)stats.other_bytes / 0x1p20);
  }
  sb_report_real(u->report, "effective_bits", stats.effective_bits);
  sb_report_real(u->report, "code_bits", stats.code_bits_mean);
  sb_report_count(u->report, "stored_bytes", stats.stored_bytes);
  sb_report_count(u->report, "quantized_bytes", stats.quantized_bits / 8);
  sb_report_count(u->report, "other_bytes", stats.other_bytes);
  sb_report_count(u->report, "frames", stats.frames);
  if (u->report) {
    char hash[32];
    snprintf(hash, sizeof hash, "%016llx", (unsigned long long)stats.content_hash);
    sb_report_text(u->report, "content_hash", hash);
    json_t *shares = json_object();
    for (unsigned b = 1; b <= 8; b++) {
      char key[2] = {(char)('0' + b), 0};
      json_object_set_new(shares, key, json_integer((json_int_t)widths[b]));
    }
    json_object_set_new(u->report, "blocks_by_bits", shares);
  }
  sb_report_real(u->report, "write_seconds", seconds);
  SB_TRY(sb_report_peak(u->world, u->report));
  sb_report_real(u->report, "seconds", sb_now() - begun);
  return SB_OK;
}

/* Whether OUT and the bit map can be written, asked before hours of search and not after. */
static sb_status check_out(const run *u) {
  sb_status status = SB_OK;
  sb_outdir folder = {0};
  if (u->world->rank == 0) {
    status = sb_outdir_begin(u->r->out, u->r->overwrite, &folder);
    if (status == SB_OK) status = sb_outdir_abandon(&folder);
    const char *const needed[] = {u->r->model, u->r->calib, u->r->allocation, u->r->checkpoint};
    for (int i = 0; i < 4; i++)
      if (status == SB_OK && needed[i]) status = sb_outdir_spare(u->r->out, needed[i]);
    if (status == SB_OK && u->r->checkpoint && access(u->r->checkpoint, F_OK) != 0)
      status = sb_file_check_target(u->r->checkpoint);
    if (status == SB_OK && u->r->allocation && access(u->r->allocation, F_OK) != 0)
      status = sb_file_check_target(u->r->allocation);
  }
  return sb_world_agree(u->world, status);
}

static sb_status work(run *u) {
  const request *r = u->r;
  double begun = sb_now();
  SB_TRY(check_out(u));
  SB_AGREE(u->world, sb_backend_cpu_create((sb_compute)r->common.compute, r->common.threads, &u->backend));
  SB_TRY(load(u));
  settle_min_bits(u);
  sb_report_text(u->report, "model", r->model);
  sb_report_text(u->report, "method", methods[r->method]);
  sb_report_real(u->report, "bits", r->bits);
  SB_TRY(look_for_allocation(u));
  if (r->method == METHOD_SCALEBITS && !u->reuses)
    SB_TRY(sb_allocate_check_budget(u->model, (sb_reorder)r->reorder, r->bits, (unsigned)r->min_bits,
                                    (unsigned)r->max_bits));
  SB_TRY(measure_importance(u));
  SB_TRY(reorder(u));
  SB_TRY(allocate(u));
  SB_TRY(round_weights(u));
  return write_out(u, begun);
}

sb_status sb_cmd_quantize(const sb_world *world, int argc, char **argv) {
  request r = {.round_seqs = 256,
               .first_share = 0.03,
               .max_bits = 8,
               .strides = 2,
               .trades = 8,
               .level = 1,
               .common = SB_COMMON_DEFAULTS};
  const sb_argument arguments[] = {
      {"MODEL", &r.model, "A Hugging Face folder: config.json and safetensors."}};
  const sb_option options[] = {
      {.name = "calib",
       .kind = SB_OPTION_STRING,
       .value = &r.calib,
       .operand = "TOKENS",
       .help = "Calibration tokens, .bin or .npy (tools/tokenize.py makes them)."},
      {.name = "bits",
       .letter = 'b',
       .kind = SB_OPTION_REAL,
       .value = &r.bits,
       .low = 0.5,
       .high = 16,
       .operand = "B",
       .required = true,
       .help = "Budget in effective bits a weight: codes, scales, zero points and bit map of the decoder "
               "layers' matrices."},
      {.name = "out",
       .letter = 'o',
       .kind = SB_OPTION_STRING,
       .value = &r.out,
       .operand = "OUT",
       .required = true,
       .help = "Folder to write; it appears when it is complete."},
      {.name = "method",
       .kind = SB_OPTION_CHOICE,
       .value = &r.method,
       .choices = methods,
       .help = "scalebits searches; table and layer choose all widths at once, of blocks or of whole "
               "matrices, from "
               "sensitivities at full precision (diagonal, or --sensitivity hessian); rtn is the uniform "
               "baseline, the largest width that fits the budget."},
      {.name = "quantizer",
       .kind = SB_OPTION_CHOICE,
       .value = &r.quantizer,
       .choices = quantizers,
       .help = "How weights are rounded to the bits found: to nearest, or so that errors make up for each "
               "other."},
      {.name = "grid",
       .kind = SB_OPTION_CHOICE,
       .value = &r.grid,
       .choices = grids,
       .unset = "fitted; plain for --method rtn",
       .help = "Range of a group's codes: plain spans all its weights, fitted is shrunk where that makes the "
               "error of the outputs less."},
      {.name = "reorder",
       .kind = SB_OPTION_CHOICE,
       .value = &r.reorder,
       .choices = sb_reorder_names,
       .help = "Puts channels in an order that gathers what is sensitive in few blocks: any order, stored "
               "and counted "
               "(indexed), or one that leaves the model an ordinary one (fused)."},
      {.name = "reorder-score",
       .kind = SB_OPTION_CHOICE,
       .value = &r.channel_score,
       .choices = channel_scores,
       .help =
           "What channels are sorted by: sums of squared or of absolute first-order changes of the loss."},
      {.name = "round-seqs",
       .kind = SB_OPTION_SIZE,
       .value = &r.round_seqs,
       .low = 1,
       .high = 1e9,
       .operand = "N",
       .help = "Most sequences whose activations guide --quantizer gptq."},
      {.name = "factor",
       .kind = SB_OPTION_CHOICE,
       .value = &r.factor,
       .choices = factors,
       .help =
           "Where --quantizer gptq keeps and factorises second moments: on every rank, or spread over all "
           "ranks, in double or in single precision; auto spreads those too large for a rank. Only "
           "replicated gives the same on any number of ranks, bit for bit."},
      {.name = "sensitivity",
       .kind = SB_OPTION_CHOICE,
       .value = &r.estimator,
       .choices = sb_estimator_names,
       .help =
           "What predicts a move's effect: mean squared or mean absolute first-order change over sequences; "
           "second moments of inputs and output gradients; squares of gradients."},
      {.name = "allocation",
       .kind = SB_OPTION_STRING,
       .value = &r.allocation,
       .operand = "FILE",
       .help = "Bit map: taken from FILE when it exists, else found and saved there."},
      {.name = "checkpoint",
       .kind = SB_OPTION_STRING,
       .value = &r.checkpoint,
       .operand = "FILE",
       .help = "Saves the search in FILE after every step, and goes on from there when FILE exists: with the "
               "same model, tokens and options, on any number of ranks."},
      {.name = "check-seqs",
       .kind = SB_OPTION_SIZE,
       .value = &r.check_seqs,
       .low = 0,
       .high = 1e9,
       .operand = "N",
       .help =
           "Sequences kept apart from those that give gradients, whose loss decides whether a trade stays; "
           "0: the loss of all decides."},
      {.name = "symmetric",
       .kind = SB_OPTION_FLAG,
       .value = &r.symmetric,
       .help = "Grids without zero points."},
      {.name = "min-bits",
       .kind = SB_OPTION_INT,
       .value = &r.min_bits,
       .low = 0,
       .high = 8,
       .operand = "N",
       .unset = "2, or 1 where the budget is below uniform 2 bits",
       .help = "Least width of a block."},
      {.name = "max-bits",
       .kind = SB_OPTION_INT,
       .value = &r.max_bits,
       .low = 1,
       .high = 8,
       .operand = "N",
       .help = "Greatest width of a block."},
      {.name = "start-bits",
       .kind = SB_OPTION_INT,
       .value = &r.start_bits,
       .low = 0,
       .high = 8,
       .operand = "N",
       .unset = "just above the budget",
       .help = "Uniform width the search starts from."},
      {.name = "strides",
       .kind = SB_OPTION_INT,
       .value = &r.strides,
       .low = 1,
       .high = 1000,
       .operand = "N",
       .help = "Steps from the start to the budget, one gradient pass each."},
      {.name = "trades",
       .kind = SB_OPTION_INT,
       .value = &r.trades,
       .low = 0,
       .high = 10000,
       .operand = "N",
       .help = "Batches of raises and cuts tried at the budget; 0 stops where the path ends (one-shot)."},
      {.name = "trade-share",
       .kind = SB_OPTION_REAL,
       .value = &r.first_share,
       .low = 1e-6,
       .high = 1,
       .operand = "X",
       .help = "Share of the budget that the first trade moves; halved when a trade is taken back."},
      {.name = "level",
       .kind = SB_OPTION_INT,
       .value = &r.level,
       .low = 1,
       .high = 19,
       .operand = "N",
       .help = "zstd's compression level."},
      {.name = "overwrite",
       .kind = SB_OPTION_FLAG,
       .value = &r.overwrite,
       .help = "Replace OUT when it is there."},
  };
  sb_usage usage = {
      .command = "quantize",
      .synopsis = "MODEL --calib TOKENS --bits B -o OUT [options]",
      .purpose =
          "Finds the bitwidth of every block of every matrix of the decoder layers, so that the model loses\n"
          "least under the budget, and writes compressed shards, one a rank. The result is the same on any\n"
          "number of ranks.",
      .examples = "  mpirun -n 2 shardbits quantize smollm2 --calib calib.bin --bits 3.25 -o out\n"
                  "  shardbits quantize smollm2 --method rtn --bits 3.25 -o out-rtn\n"
                  "  srun shardbits quantize Llama-3-70B --calib calib.bin --bits 2.5 -o out --json run.json",
      .arguments = arguments,
      .argument_count = 1,
      .options = options,
      .option_count = sizeof options / sizeof *options};
  bool help;
  r.common.calibrates = true;
  SB_TRY(sb_common_begin(world, &usage, &r.common,
                         SB_COMMON_SEQUENCES | SB_COMMON_SEED | SB_COMMON_COMPUTE | SB_COMMON_TOKENS |
                             SB_COMMON_BLOCK | SB_COMMON_ACTIVATIONS,
                         argc, argv, &help));
  if (help) return SB_OK;
  if (r.min_bits > r.max_bits)
    return sb_fail(SB_ERR_USAGE, "quantize: --min-bits %d is above --max-bits %d", r.min_bits, r.max_bits);
  if (r.grid == GRID_UNSET) r.grid = r.method == METHOD_RTN ? GRID_PLAIN : GRID_FITTED;
  bool searches = r.method != METHOD_RTN && !r.allocation;
  bool reorders = r.reorder != SB_REORDER_NONE && !r.allocation;
  if (!r.calib && (searches || reorders || r.quantizer == QUANTIZER_GPTQ || r.grid == GRID_FITTED))
    return sb_fail(SB_ERR_USAGE, CALIB_NEEDED);
  run u = {.world = world, .r = &r, .report = sb_report_begin(world, "quantize")};
  if (u.report) u.steps = json_array();
  sb_status status = sb_world_agree(world, work(&u));
  if (status == SB_OK) status = sb_report_write(world, r.common.json, u.report);
  sb_sequences_free(&u.calibration);
  sb_sequences_free(&u.check);
  sb_sequences_free(&u.rounding);
  if (u.model) sb_model_free(&u.model);
  if (u.backend) u.backend->op->destroy(u.backend);
  json_decref(u.steps);
  json_decref(u.report);
  return status;
}
