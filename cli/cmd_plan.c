/* shardbits plan: what a run needs of every rank and node, from its configuration. */
#include <string.h>

#include "base/log.h"
#include "base/memory.h"
#include "base/text.h"
#include "cli/commands.h"
#include "cli/common.h"
#include "cli/plan.h"
#include "cli/quantize_readers.h"
#include "cli/quantize_request.h"
#include "cli/report_json.h"
#include "cli/table.h"
#include "folders/hf_path.h"
#include "folders/hf_source.h"
#include "model/config_read.h"
#include "model/exl3.h"
#include "quant/tune_scales.h"

static const double PLANNED_BITS = 3.25; /* where neither --bits nor --size is given */

typedef struct request {
  size_t ranks, ranks_per_node, gpus_per_node;
  size_t train;      /* sequences of a step of training; 0: quantize is planned */
  double gpu_memory; /* GiB */
  sb_plan_rates_request rates;
  sb_quantize_request quantize; /* the run that is planned */
} request;

static void print_head(const request *r, const sb_plan_setup *s, FILE *out, json_t *report) {
  const size_t nodes = sb_div_up(s->ranks, s->ranks_per_node);
  char count[SB_TEXT_SIZE];
  if (out)
    sb_text_print(out, "Plan for %s: %s parameters on %zu rank%s, %zu node%s", r->quantize.model,
                  sb_text_count(count, sizeof count, (double)s->arch->parameters), s->ranks,
                  sb_text_s(s->ranks), nodes, sb_text_s(nodes));
  sb_report_text(report, "path", r->quantize.model);
  sb_report_count(report, "parameters", s->arch->parameters);
  sb_report_count(report, "planned_ranks", s->ranks);
  sb_report_count(report, "planned_nodes", nodes);
}

/* What a server that cuts matrices among ranks can do with the groups that quantize chooses. */
static void print_groups(const sb_quantize_request *q, const sb_arch *arch, FILE *out,
                         json_t *report) {
  const sb_width_rules *rules = sb_width_rules_for(q->widths_for);
  const size_t group = q->common.block[1];
  if (rules->groups[0] == 0) return;
  const size_t most = rules->parts ? sb_width_rules_parallel(rules, arch, group) : 0;
  if (most > 0)
    sb_table_row(out, "groups", "of %zu weights, for %s on at most %zu tensor-parallel rank%s",
                 group, sb_widths_for_names[q->widths_for], most, sb_text_s(most));
  else
    sb_table_row(out, "groups", "of %zu weights, for %s", group,
                 sb_widths_for_names[q->widths_for]);
  sb_report_count(report, "group", group);
  if (most > 0) sb_report_count(report, "most_parallel", most);
}

static sb_plan_setup setup_of(const request *r, const sb_config *config, const sb_arch *arch) {
  const sb_quantize_request *q = &r->quantize;
  const sb_common *common = &q->common;
  sb_plan_setup setup = {
      .arch = arch,
      .source = config->dtype,
      .compute = sb_common_compute(common),
      .ranks = r->ranks,
      .ranks_per_node = r->ranks_per_node ? r->ranks_per_node : r->ranks,
      .threads = common->threads,
      .gpus_per_node = r->gpus_per_node,
      .blocking = {common->block[0], common->block[1], sb_quantize_code_kind(q)},
      .reorder = q->reorder,
      .fitted = q->grid == SB_GRID_FITTED,
      .bits = q->bits,
      .seqlen = sb_common_seqlen(common, config),
      .input_bytes = sb_common_activations(common, 0),
      .search = {.seqs = sb_common_seqs(common),
                 .check_seqs = q->check_seqs,
                 .estimator = q->estimator,
                 .widths = q->max_bits - q->min_bits + 1,
                 .strides = (size_t)q->strides,
                 .trades = (size_t)q->trades},
      .round = {.gptq = q->quantizer == SB_QUANTIZER_GPTQ,
                .seqs = q->round_seqs,
                .factor = q->factor,
                .refine = q->refine,
                .table_refine = sb_quantize_table_refine(q),
                .times = sb_quantize_roundings(q)},
      .tune = {.seqs = q->tune_seqs,
               .epochs = (size_t)q->tune_epochs,
               .batch = q->tune_batch ? q->tune_batch : sb_tune_batch(q->tune_seqs)}};
  if (r->gpus_per_node) { /* what a rank has of its GPU */
    const size_t gpu = (size_t)(r->gpu_memory * 0x1p30) / sb_plan_gpu_ranks(&setup);
    setup.round.moment_room = gpu / SB_MOMENT_DEVICE_SHARE;
    setup.input_bytes = sb_common_activations(common, gpu);
  }
  return setup;
}

/* Weights that are there are held against config.json by their headers, so that a run does not find
 * out; a plan goes without them. Collective. */
static sb_status read_config(const sb_world *world, const char *path, sb_config *out,
                             json_t *report) {
  sb_hf_source source;
  char why[512];
  int weights = 0;
  SB_AGREE(world, sb_hf_path_check(path));
  if (world->rank == 0) weights = sb_hf_path_has_weights(path);
  SB_MPI(MPI_Bcast(&weights, 1, MPI_INT, 0, world->comm));
  if (!weights) return sb_world_agree(world, sb_config_read(path, out));
  const sb_status status = sb_hf_source_open(world, path, &source);
  *out = source.config;
  if (status == SB_OK) sb_hf_source_tell(&source);
  sb_hf_source_close(&source);
  if (status == SB_OK) return SB_OK;
  snprintf(why, sizeof why, "%s", sb_message());
  SB_AGREE(world, sb_config_read(path, out));
  sb_log_line("warning: quantize would refuse these weights: %s", why);
  sb_report_text(report, "refused_weights", why);
  return SB_OK;
}

/* The budget, and what quantize would refuse before it begins. table_bits: of
 * sb_quantize_table_bits. */
static sb_status choose_budget(sb_quantize_request *q, const sb_config *config, const sb_arch *arch,
                               const unsigned table_bits[SB_TABLES]) {
  SB_TRY(sb_quantize_settle_model(q, "plan", arch));
  const sb_file_shape shape = {
      .arch = arch,
      .dtype = config->dtype,
      .blocking = {q->common.block[0], q->common.block[1], sb_quantize_code_kind(q)},
      .mode = q->reorder};
  if (q->widths_for == SB_WIDTHS_FOR_EXL3) SB_TRY(sb_exl3_check_sides(arch));
  return sb_quantize_settle_budget(q, &shape, table_bits);
}

/* Widths of embedding and LM head; true where they are a guess. */
static bool plan_tables(const sb_quantize_request *q, unsigned table_bits[SB_TABLES],
                        sb_plan_setup *setup) {
  const bool chosen = table_bits[0] == 0 || table_bits[1] == 0;
  sb_quantize_guess_tables(q->bits, table_bits);
  for (int i = 0; i < SB_TABLES; i++)
    if (table_bits[i] < SB_SOURCE_BITS) {
      setup->tables.bits[i] = table_bits[i];
      setup->tables.chosen = chosen;
      setup->tables.measured = chosen || q->quantizer == SB_QUANTIZER_GPTQ;
    }
  return chosen;
}

static sb_status plan_quantize(request *r, const sb_config *config, const sb_arch *arch, FILE *out,
                               json_t *report) {
  sb_quantize_request *q = &r->quantize;
  sb_footprint footprint;
  unsigned table_bits[SB_TABLES];
  SB_TRY(sb_quantize_table_bits(q, "plan", config->tie_embeddings, table_bits));
  SB_TRY(choose_budget(q, config, arch, table_bits));
  sb_plan_setup setup = setup_of(r, config, arch);
  const bool guessed = plan_tables(q, table_bits, &setup);
  setup.tune.trained = sb_quantize_trained(q, table_bits);
  sb_plan p = {.setup = &setup, .footprint = &footprint, .guessed = guessed};
  SB_TRY(sb_plan_rates(&r->rates, &r->quantize.common, &p));
  sb_footprint_estimate(&setup, &footprint);
  print_head(r, &setup, out, report);
  print_groups(q, arch, out, report);
  sb_report_count(report, "blocks", footprint.blocks);
  sb_plan_memory(&p, out, report);
  sb_plan_time(&p, out, report);
  return SB_OK;
}

static void plan_train(const request *r, const sb_config *config, const sb_arch *arch, FILE *out,
                       json_t *report) {
  const sb_plan_setup setup = setup_of(r, config, arch);
  print_head(r, &setup, out, report);
  sb_plan_print_train(&setup, r->train, out, report);
}

static sb_status plan(request *r, const sb_config *config, FILE *out, json_t *report) {
  sb_arch arch;
  sb_status status = SB_OK;
  SB_TRY(sb_common_check_seqlen(&r->quantize.common, config));
  if (r->quantize.bits == 0.0 && r->quantize.size.bytes == 0) r->quantize.bits = PLANNED_BITS;
  SB_TRY(sb_quantize_settle(&r->quantize, "plan", true));
  SB_TRY(sb_arch_create(config, &arch));
  if (r->train)
    plan_train(r, config, &arch, out, report);
  else
    status = plan_quantize(r, config, &arch, out, report);
  sb_arch_free(&arch);
  return status;
}

enum { OWN_OPTIONS = 8 };

static void own_options(request *r, sb_option table[OWN_OPTIONS]) {
  const sb_option own[OWN_OPTIONS] = {
      {.name = "ranks",
       .kind = SB_OPTION_SIZE,
       .value = &r->ranks,
       .low = 1,
       .high = 1048576,
       .operand = "N",
       .help = "Ranks of the run."},
      {.name = "ranks-per-node",
       .kind = SB_OPTION_SIZE,
       .value = &r->ranks_per_node,
       .low = 0,
       .high = 4096,
       .operand = "N",
       .help = "Ranks per node.",
       .unset = "all on one node"},
      {.name = "gpus-per-node",
       .kind = SB_OPTION_SIZE,
       .value = &r->gpus_per_node,
       .low = 0,
       .high = 64,
       .operand = "N",
       .help = "GPUs per node. Adds a line for the memory of one; 0: processors."},
      {.name = "gpu-memory",
       .kind = SB_OPTION_REAL,
       .value = &r->gpu_memory,
       .low = 1,
       .high = 4096,
       .operand = "GIB",
       .help = "Memory of a GPU, which decides what --factor auto and --activation-memory are."},
      {.name = "train",
       .kind = SB_OPTION_SIZE,
       .value = &r->train,
       .low = 1,
       .high = 1048576,
       .operand = "SEQUENCES",
       .help = "Plans train instead, with steps of this many sequences. Of the options below, "
               "--seqlen, --compute, --block and --activation-memory count then.",
       .unset = "plans quantize"},
      {.name = "machine",
       .kind = SB_OPTION_STRING,
       .value = &r->rates.machine,
       .file = SB_FILE_READ,
       .operand = "FILE",
       .help = "Predict times from FILE, which bench --json wrote on such a node with as many "
               "ranks and threads."},
      {.name = "gflops",
       .kind = SB_OPTION_REAL,
       .value = &r->rates.gflops,
       .low = 0,
       .high = 1e7,
       .operand = "X",
       .help = "GFLOP/s of a rank, without --machine.",
       .unset = "measured here; not known of GPUs"},
      {.name = "network",
       .kind = SB_OPTION_REAL,
       .value = &r->rates.network,
       .low = 0.001,
       .high = 1e5,
       .operand = "X",
       .help = "GB/s of a node's network, unless --machine knows it."},
  };
  memcpy(table, own, sizeof own);
}

sb_status sb_cmd_plan(const sb_world *world, int argc, char **argv) {
  request r = {.ranks = (size_t)world->size,
               .gpu_memory = 80.0,
               .rates = {.network = 10.0},
               .quantize = sb_quantize_defaults()};
  sb_common *common = &r.quantize.common;
  const sb_argument arguments[] = {
      {"MODEL", &r.quantize.model, "A Hugging Face folder, or a config.json alone."}};
  sb_option options[OWN_OPTIONS + SB_QUANTIZE_OPTIONS_MAX];
  own_options(&r, options);
  sb_usage usage = {
      .command = "plan",
      .synopsis = "MODEL [options]",
      .purpose =
          "Says what quantize, or train, will need of every rank and node (memory, bytes over the "
          "network, arithmetic,\n"
          "time) and shows where each figure comes from. Reads config.json, and the headers of "
          "weights that are there: no job.",
      .examples =
          "  shardbits plan Llama-3.1-70B/config.json --ranks 64 --ranks-per-node 8 --seqs 512 "
          "--seqlen 256\n"
          "  mpirun -n 8 shardbits bench Llama-3.1-70B/config.json --json bench.json\n"
          "  shardbits plan Llama-3.1-70B/config.json --ranks 64 --ranks-per-node 8 --machine "
          "bench.json",
      .arguments = arguments,
      .argument_count = 1,
      .options = options,
      .option_count = OWN_OPTIONS +
                      sb_quantize_options(&r.quantize, SB_QUANTIZE_PLANNED, options + OWN_OPTIONS)};
  bool help;
  SB_TRY(sb_common_begin(world, &usage, common,
                         SB_COMMON_SEQUENCES | SB_COMMON_COMPUTE | SB_COMMON_BLOCK |
                             SB_COMMON_ACTIVATIONS,
                         argc, argv, &help));
  if (help) return SB_OK;
  json_t *report = sb_report_begin(world, "plan");
  FILE *out = sb_common_prints(world, common) ? stdout : NULL;
  sb_config config;
  sb_status status = read_config(world, r.quantize.model, &config, report);
  if (world->rank == 0) SB_THEN(plan(&r, &config, out, report));
  status = sb_world_agree(world, status);
  SB_THEN(sb_report_write(world, common->json, report));
  json_decref(report);
  return status;
}
