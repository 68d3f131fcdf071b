/* shardbits reorder: a model with its channels in the order that --reorder fused would give them,
 * and what that gathers. */
#include <stdio.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/progress.h"
#include "base/text.h"
#include "base/trace.h"
#include "cli/commands.h"
#include "cli/common.h"
#include "cli/report_json.h"
#include "cli/text_in.h"
#include "cli/table.h"
#include "folders/destination.h"
#include "folders/export.h"
#include "folders/hf_load.h"
#include "pass/variety.h"
#include "quant/importance.h"
#include "sensitivity/gathering.h"
#include "sensitivity/reorder.h"

enum { MODES = 3 };

typedef struct request {
  const char *model, *calib;
  double bits;
  sb_channel_score channel_score;
  sb_grid_choice grid;
  size_t map_layer;
  sb_code_kind grid_kind;
  bool no_shares, symmetric; /* symmetric: another way to give grid_kind */
  sb_common common;
} request;

typedef struct run {
  const sb_world *world;
  request *r;
  json_t *report, *shares, *maps;
  sb_backend *backend;
  sb_model *model;
  sb_destination out;
  sb_sequences calibration;
  unsigned width;                         /* of all blocks while they are scored */
  double share[MODES][SB_ROLE_COUNT + 1]; /* of the matrices of a role, and of all */
} run;

static size_t activation_bytes(const run *u) {
  return sb_common_activation_bytes(&u->r->common, u->backend);
}

static const char *share_name(int role) {
  return role == SB_ROLE_COUNT ? "all" : sb_role_name((sb_role)role);
}

/* Whether there is a share of the role: all, or one that has matrices. */
static bool has_share(const sb_model *m, int role) {
  for (size_t i = 0; i < m->arch.matrix_count; i++)
    if (role == SB_ROLE_COUNT || m->arch.tensors[m->arch.matrices[i]].role == (sb_role)role)
      return true;
  return false;
}

static sb_status load(run *u) {
  const request *r = u->r;
  SB_PHASE(phase, "load");
  const sb_blocking blocking = {r->common.block[0], r->common.block[1],
                                r->symmetric ? SB_GRID_SYMMETRIC : r->grid_kind};
  SB_TRY(sb_hf_load(u->world, r->model, blocking, true, &u->model));
  SB_TRY(sb_destination_require(&u->out, sb_export_source_bytes(u->model)));
  sb_log_phase("load", sb_span_seconds(&phase), 0, "%s", r->model);
  SB_TRY(sb_common_check_seqlen(&r->common, &u->model->config));
  SB_TRY(sb_sequences_read(u->world, r->calib, r->common.token_width, u->model->config.vocab,
                           sb_common_seqlen(&r->common, &u->model->config),
                           sb_common_seqs(&r->common), r->common.seed, &u->calibration));
  SB_TRY(sb_variety_warn(u->world, &u->calibration, u->model->config.vocab, r->calib));
  if (r->map_layer >= u->model->config.layers)
    return sb_fail(SB_ERR_USAGE, "reorder: --map-layer %zu: %s has layers 0 to %zu", r->map_layer,
                   r->model, u->model->config.layers - 1);
  if (r->grid == SB_GRID_PLAIN) return SB_OK;
  sb_progress_begin("inputs", 1.0);
  sb_status status = sb_importance_measure(u->model, u->backend, &u->calibration,
                                           activation_bytes(u), sb_progress_ticker());
  sb_progress_end();
  return status;
}

/* ---- how much is gathered ---- */

/* The blocks of one layer, matrix by matrix, for a picture. */
static json_t *map_of(const run *u, const double *blocks) {
  json_t *map = json_object();
  const size_t layer = u->r->map_layer;
  for (size_t which = 0; which < sb_arch_matrices(&u->model->arch, layer); which++) {
    const sb_model_tensor *t = sb_arch_matrix(&u->model->arch, layer, which);
    const sb_matrix *matrix = sb_model_matrix(u->model, layer, which);
    char name[64];
    const size_t rows = sb_tiling_block_rows(&matrix->tiling),
                 cols = sb_tiling_block_cols(&matrix->tiling);
    json_t *list = json_array();
    for (size_t i = 0; i < rows; i++) {
      json_t *row = json_array();
      for (size_t j = 0; j < cols; j++)
        json_array_append_new(row, json_real(blocks[matrix->first_block + i * cols + j]));
      json_array_append_new(list, row);
    }
    if (t->expert == SB_NO_EXPERT)
      snprintf(name, sizeof name, "%s", sb_role_name(t->role));
    else
      snprintf(name, sizeof name, "experts.%zu.%s", t->expert, sb_role_name(t->role));
    json_object_set_new(map, name, list);
  }
  return map;
}

static sb_status measure_shares(run *u, sb_reorder mode) {
  SB_PHASE(phase, "gather");
  double *blocks = NULL;
  json_t *shares = json_object();
  if (u->r->no_shares) return SB_OK;
  SB_AGREE(u->world,
           sb_alloc(&blocks, u->model->blocks, sizeof *blocks, "sensitivities of blocks"));
  sb_progress_begin(sb_reorder_names[mode], 1.0);
  sb_status status = sb_gathering_measure(u->model, u->backend, &u->calibration, u->width,
                                          activation_bytes(u), sb_progress_ticker(), blocks);
  sb_progress_end();
  for (int role = 0; role <= SB_ROLE_COUNT && status == SB_OK; role++) {
    double *share = &u->share[mode][role];
    if (!has_share(u->model, role)) continue;
    status =
        sb_world_agree(u->world, sb_gathering_share(u->model, blocks, (sb_role)role, 0.1, share));
    sb_report_real(shares, share_name(role), *share);
  }
  if (status == SB_OK && u->report) {
    json_object_set(u->shares, sb_reorder_names[mode], shares);
    json_object_set_new(u->maps, sb_reorder_names[mode], map_of(u, blocks));
  }
  json_decref(shares);
  sb_free(&blocks);
  sb_log_phase("gathered", sb_span_seconds(&phase), 0, "%s", sb_reorder_names[mode]);
  return status;
}

static void print_shares(const run *u, FILE *out) {
  sb_table_head(out, "Share of the sensitivity in the top 10%% of blocks of %zux%zu",
                u->r->common.block[0], u->r->common.block[1]);
  sb_table_row(out, "", "%8s  %8s  %8s", "none", "fused", "indexed");
  for (int role = 0; role <= SB_ROLE_COUNT; role++)
    if (has_share(u->model, role))
      sb_table_row(out, share_name(role), "%7.1f%%  %7.1f%%  %7.1f%%", 100 * u->share[0][role],
                   100 * u->share[1][role], 100 * u->share[2][role]);
}

/* ---- the model ---- */

static sb_status write_model(run *u) {
  const request *r = u->r;
  sb_hf_folder_stats stats;
  SB_PHASE(phase, "write");
  sb_progress_begin("write", 1.0);
  sb_status status = sb_export_source(u->model, &u->out, sb_common_file_bytes(&r->common),
                                      sb_progress_ticker(), &stats);
  sb_progress_end();
  SB_TRY(status);
  sb_log_phase("write", sb_span_seconds(&phase), 0, "%.1f MiB/s",
               (double)stats.bytes / 0x1p20 / sb_span_seconds(&phase));
  if (sb_common_prints(u->world, &r->common))
    sb_text_print(stdout,
                  "%s: %.1f MiB in %llu file%s, the same model with its channels in another order",
                  r->common.out, (double)stats.bytes / 0x1p20, (unsigned long long)stats.files,
                  sb_text_s(stats.files));
  sb_report_text(u->report, "out", r->common.out);
  sb_report_count(u->report, "files", stats.files);
  sb_report_count(u->report, "bytes", stats.bytes);
  return SB_OK;
}

/* Scores once, then orders of both kinds: the model is written in the fused ones,
 * and measured in all. */
static sb_status reorder(run *u) {
  const request *r = u->r;
  SB_PHASE(phase, "channels");
  sb_reorder_options options = {.mode = SB_REORDER_FUSED,
                                .score = r->channel_score,
                                .bits = r->bits,
                                .activation_bytes = activation_bytes(u),
                                .ticker = sb_progress_ticker()};
  sb_orders orders[MODES] = {{0}};
  sb_reorder_result result;
  sb_progress_begin("channels", 1.0);
  sb_status status =
      sb_reorder_find(u->model, u->backend, &u->calibration, &options, &result,
                      &orders[SB_REORDER_FUSED], r->no_shares ? NULL : &orders[SB_REORDER_INDEXED]);
  sb_progress_end();
  if (status == SB_OK) {
    sb_log_phase("channels", sb_span_seconds(&phase), 0, "scored at %u bits (loss %.4f)",
                 result.width, result.loss);
    char hash[32];
    snprintf(hash, sizeof hash, "%016llx",
             (unsigned long long)sb_orders_hash(&orders[SB_REORDER_FUSED]));
    sb_report_text(u->report, "orders_hash", hash);
    sb_report_count(u->report, "width", result.width);
    u->width = result.width;
  }
  SB_THEN(measure_shares(u, SB_REORDER_NONE));
  SB_THEN(sb_reorder_reload(&u->model, r->model, &orders[SB_REORDER_FUSED]));
  SB_THEN(measure_shares(u, SB_REORDER_FUSED));
  SB_THEN(write_model(u));
  if (status == SB_OK && !r->no_shares) {
    /* importance is in the fused order by now, which an indexed one would have
     * to undo: measured again */
    status = sb_reorder_reload(&u->model, r->model, &orders[SB_REORDER_INDEXED]);
    if (status == SB_OK && r->grid != SB_GRID_PLAIN)
      status = sb_importance_measure(u->model, u->backend, &u->calibration, activation_bytes(u),
                                     SB_NO_TICKER);
    SB_THEN(measure_shares(u, SB_REORDER_INDEXED));
  }
  for (int mode = 0; mode < MODES; mode++) sb_orders_free(&orders[mode]);
  return status;
}

static sb_status work(run *u) {
  const request *r = u->r;
  const double begun = sb_now();
  SB_TRY(sb_destination_begin(u->world, r->common.out, r->common.overwrite, r->model, &u->out));
  SB_TRY(sb_text_in(u->world, &u->r->common, r->model, r->common.out, &u->r->calib));
  SB_TRY(sb_common_backend(u->world, &r->common, &u->backend));
  SB_TRY(load(u));
  sb_report_text(u->report, "model", r->model);
  SB_TRY(reorder(u));
  if (!r->no_shares && sb_common_prints(u->world, &r->common)) print_shares(u, stdout);
  if (u->report && !r->no_shares) {
    json_object_set(u->report, "top_tenth", u->shares);
    json_object_set_new(u->report, "map_layer", json_integer((json_int_t)r->map_layer));
    json_object_set(u->report, "maps", u->maps);
  }
  SB_TRY(sb_report_peak(u->world, u->report));
  sb_report_real(u->report, "seconds", sb_now() - begun);
  return SB_OK;
}

sb_status sb_cmd_reorder(const sb_world *world, int argc, char **argv) {
  request r = {.bits = 3.25, .grid = SB_GRID_FITTED, .common = SB_COMMON_DEFAULTS};
  const sb_argument arguments[] = {
      {"MODEL", &r.model, "A Hugging Face folder: config.json and safetensors."}};
  const sb_option options[] = {
      {.name = "calib",
       .kind = SB_OPTION_STRING,
       .value = &r.calib,
       .file = SB_FILE_READ,
       .operand = "TOKENS|TEXT",
       .required = true,
       .help = "What to calibrate on: tokens (.bin or .npy), or text (.txt or .jsonl)."},
      {.name = "bits",
       .letter = 'b',
       .kind = SB_OPTION_REAL,
       .value = &r.bits,
       .low = 0.5,
       .high = 16,
       .operand = "B",
       .help = "Budget that the model is to be quantized to: channels are scored at the width just "
               "below."},
      {.name = "reorder-score",
       SB_OPTION_ENUM(r.channel_score, sb_channel_score_names),
       .help = "What channels are sorted by: sums of squared or of absolute first-order changes of "
               "the loss."},
      {.name = "grid",
       SB_OPTION_ENUM(r.grid, sb_grid_names),
       .help =
           "Grids that weights are rounded to where channels are scored, as quantize has them."},
      {.name = "grid-kind",
       SB_OPTION_ENUM(r.grid_kind, sb_grid_kind_names),
       .help = "Levels of a group of weights, as quantize has them."},
      {.name = "symmetric",
       .kind = SB_OPTION_FLAG,
       .value = &r.symmetric,
       .help = "The same as --grid-kind symmetric."},
      {.name = "no-shares",
       .kind = SB_OPTION_FLAG,
       .value = &r.no_shares,
       .help = "Do not measure what is gathered, which takes three gradient passes."},
      {.name = "map-layer",
       .kind = SB_OPTION_SIZE,
       .value = &r.map_layer,
       .low = 0,
       .high = 1e6,
       .operand = "L",
       .help = "Layer whose blocks --json lists, for tools/plot_gather.py."},
  };
  sb_usage usage = {.command = "reorder",
                    .synopsis = "MODEL --calib TOKENS -o DIR [options]",
                    .purpose = "Writes the same model with its channels in an order that gathers "
                               "what is sensitive in few "
                               "blocks:\n"
                               "an ordinary Hugging Face folder in the source's types, whose "
                               "logits differ by rounding only. "
                               "That\n"
                               "is what quantize --reorder fused does inside. Tells how much "
                               "sensitivity is gathered, with this\n"
                               "order and with any order (indexed).",
                    .examples = "  mpirun -n 2 shardbits reorder smollm2 --calib calib.bin -o "
                                "smollm2-sorted --json gather.json",
                    .arguments = arguments,
                    .argument_count = 1,
                    .options = options,
                    .option_count = sizeof options / sizeof *options};
  bool help;
  r.common.calibrates = true;
  SB_TRY(sb_common_begin(world, &usage, &r.common,
                         SB_COMMON_SEQUENCES | SB_COMMON_SEED | SB_COMMON_COMPUTE |
                             SB_COMMON_DEVICE | SB_COMMON_TOKENS | SB_COMMON_BLOCK |
                             SB_COMMON_ACTIVATIONS | SB_COMMON_FOLDER | SB_COMMON_EVENTS,
                         argc, argv, &help));
  if (help) return SB_OK;
  if (r.symmetric && r.grid_kind >= SB_GRID_SIGNED)
    return sb_fail(SB_ERR_USAGE,
                   "reorder: --symmetric and --grid-kind %s contradict each other: drop one",
                   sb_grid_kind_names[r.grid_kind]);
  run u = {.world = world, .r = &r, .report = sb_report_begin(world, "reorder")};
  if (u.report) u.shares = json_object(), u.maps = json_object();
  sb_status status = sb_world_agree(world, work(&u));
  SB_THEN(sb_report_write(world, r.common.json, u.report));
  sb_destination_end(&u.out);
  sb_sequences_free(&u.calibration);
  if (u.model) sb_model_free(&u.model);
  if (u.backend) u.backend->op->destroy(u.backend);
  json_decref(u.shares);
  json_decref(u.maps);
  json_decref(u.report);
  return status;
}
