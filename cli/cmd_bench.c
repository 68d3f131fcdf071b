/* shardbits bench: the machine's limits, and this program's phases as fractions of them. */
#include <string.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/text.h"
#include "cli/commands.h"
#include "cli/common.h"
#include "cli/quantize_request.h"
#include "cli/report_json.h"
#include "cli/table.h"
#include "folders/hf_load.h"
#include "folders/hf_path.h"
#include "folders/synth.h"
#include "measure/limits.h"
#include "measure/phases.h"
#include "model/config_read.h"

/* Enough for the ends of a model, which are not measured. */
enum { VOCABULARY = 1024 };

typedef struct request {
  const char *model, *folder;
  int rounds, codes;
  sb_common common;
} request;

/* A layer like that of a model of 1 G parameters, of which a laptop takes a few at a time. */
static const sb_config usual = {.architecture = "LlamaForCausalLM",
                                .vocab = VOCABULARY,
                                .hidden = 2048,
                                .intermediate = 5632,
                                .layers = 1,
                                .heads = 32,
                                .kv_heads = 8,
                                .head_dim = 64,
                                .rms_eps = 1e-5,
                                .rope_theta = 10000,
                                .tie_embeddings = true,
                                .max_positions = 2048,
                                .dtype = SB_BF16};

static bool is_folder(const char *path) {
  struct stat info;
  return stat(path, &info) == 0 && S_ISDIR(info.st_mode);
}

/* A folder is loaded; config.json alone, or nothing, gives one random layer of that size. */
static sb_status load(const sb_world *world, const request *r, sb_model **out) {
  const sb_blocking blocking = {r->common.block[0], r->common.block[1], SB_GRID_ASYMMETRIC};
  sb_config config = usual;
  if (r->model && is_folder(r->model)) return sb_hf_load(world, r->model, blocking, false, out);
  if (r->model) {
    SB_AGREE(world, sb_hf_path_check(r->model));
    SB_AGREE(world, sb_config_read(r->model, &config));
    config.layers = 1;
    if (config.vocab > VOCABULARY) config.vocab = VOCABULARY;
  }
  return sb_synth_load(world, &config, config.dtype, 0, blocking, out);
}

/* Of `at_hand`, or of another backend where that computes otherwise. */
static sb_status gemm(const sb_world *world, const request *r, sb_backend *at_hand,
                      sb_compute compute, double *flops) {
  sb_backend *backend;
  sb_common common = r->common;
  if (compute == sb_common_compute(&common)) return sb_limit_gemm(world, at_hand, r->rounds, flops);
  common.arithmetic = compute == SB_COMPUTE_BF16 ? SB_ARITHMETIC_BF16 : SB_ARITHMETIC_F32;
  common.exchange = SB_EXCHANGE_HOST; /* it has nothing to exchange */
  const sb_status created = sb_common_backend(world, &common, &backend);
  if (created == SB_ERR_UNSUPPORTED) return SB_OK; /* in no build of this program: on all ranks */
  SB_TRY(created);
  const sb_status status = sb_limit_gemm(world, backend, r->rounds, flops);
  backend->op->destroy(backend);
  return status;
}

static sb_status measure(const sb_world *world, const request *r, sb_model *model,
                         sb_backend *backend, sb_machine *out) {
  double start = sb_now();
  SB_TRY(sb_limit_disk(world, r->folder, r->rounds, out));
  SB_TRY(gemm(world, r, backend, SB_COMPUTE_F32, &out->value[SB_FIGURE_GEMM_F32]));
  SB_TRY(gemm(world, r, backend, SB_COMPUTE_BF16, &out->value[SB_FIGURE_GEMM_BF16]));
  SB_TRY(sb_limit_memory(world, backend, r->rounds, out));
  SB_TRY(sb_limit_network(world, r->rounds, out));
  SB_TRY(sb_limit_sums(world, backend, r->rounds, out));
  sb_log_phase("limits", sb_now() - start, 0, "%s", "");
  start = sb_now();
  out->seqlen = sb_common_seqlen(&r->common, &model->config);
  SB_TRY(
      sb_phases_measure(model, backend, out->seqlen, r->rounds, r->codes == SB_CODES_TRELLIS, out));
  sb_log_phase("phases", sb_now() - start, 0, "one layer, %zu tokens", out->seqlen);
  return SB_OK;
}

static void print_rate(FILE *out, const sb_machine *m, sb_figure f, const char *detail) {
  if (m->value[f] > 0)
    sb_table_row(out, sb_figure_label(f), "%9.2f G%s%s", m->value[f] / 1e9, sb_figure_unit(f),
                 detail);
}

static void print(const sb_machine *m, FILE *out) {
  char detail[80], size[SB_TEXT_SIZE];
  if (!out) return;
  sb_text_print(
      out, "%s, %d rank%s on %d node%s, %d thread%s each; figures are of a rank while all work",
      m->backend, m->ranks, sb_text_s(m->ranks), m->nodes, sb_text_s(m->nodes), m->threads,
      sb_text_s(m->threads));
  sb_table_head(out, "Limits of the machine");
  for (int f = 0; f < SB_FIRST_PHASE; f++) {
    const size_t bytes = f == SB_FIGURE_MEMORY_READ   ? m->read_bytes
                         : f == SB_FIGURE_MEMORY_COPY ? m->copy_bytes
                                                      : 0;
    snprintf(detail, sizeof detail, "    of %s", sb_text_bytes(size, sizeof size, (double)bytes));
    print_rate(out, m, (sb_figure)f, bytes ? detail : "");
  }
  if (m->network_count) sb_table_head(out, "Messages between all ranks");
  for (size_t k = 0; k < m->network_count; k++)
    sb_table_row(out, sb_text_bytes(size, sizeof size, m->network[k].bytes),
                 "all-gather %7.2f GB/s   all-reduce %7.2f GB/s", m->network[k].allgather / 1e9,
                 m->network[k].allreduce / 1e9);
  sb_table_head(out, "Phases, one layer of %s, %zu tokens, %s", m->model, m->seqlen,
                sb_compute_name(m->compute));
  for (int f = SB_FIRST_PHASE; f < SB_FIGURES; f++) {
    snprintf(detail, sizeof detail, "  %5.1f%% of %s", 100 * m->share[f],
             sb_figure_label(m->limit[f]));
    print_rate(out, m, (sb_figure)f, detail);
  }
}

static sb_status bench(const sb_world *world, request *r) {
  sb_machine machine = {.compute = sb_common_compute(&r->common),
                        .ranks = world->size,
                        .nodes = world->nodes,
                        .threads = r->common.threads};
  sb_backend *backend = NULL;
  sb_model *model = NULL;
  snprintf(machine.model, sizeof machine.model, "%.255s", r->model ? r->model : "a random model");
  const double start = sb_now();
  SB_TRY(load(world, r, &model));
  sb_log_phase("load", sb_now() - start, 0, "%s", machine.model);
  sb_status status = sb_common_check_seqlen(&r->common, &model->config);
  SB_THEN(sb_common_backend(world, &r->common, &backend));
  if (status == SB_OK) {
    snprintf(machine.backend, sizeof machine.backend, "%s", backend->name);
    if (strcmp(backend->name, "cpu") == 0)
      r->common.device = SB_DEVICE_CPU; /* settled, and said once */
    status = measure(world, r, model, backend, &machine);
    backend->op->destroy(backend);
  }
  sb_model_free(&model);
  SB_TRY(status);
  print(&machine, sb_common_prints(world, &r->common) ? stdout : NULL);
  json_t *report = world->rank == 0 ? sb_machine_json(&machine) : NULL;
  status = sb_report_write(world, r->common.json, report);
  json_decref(report);
  return status;
}

sb_status sb_cmd_bench(const sb_world *world, int argc, char **argv) {
  request r = {.folder = ".", .rounds = 5, .codes = SB_CODES_TRELLIS, .common = SB_COMMON_DEFAULTS};
  const sb_argument arguments[] = {
      {"MODEL", &r.model,
       "A Hugging Face folder; or config.json alone, of which one layer of "
       "random weights is made. Without it "
       "a random layer of a small model."}};
  const sb_option options[] = {
      {.name = "seqlen",
       .kind = SB_OPTION_SIZE,
       .value = &r.common.seqlen,
       .low = 2,
       .high = 1048576,
       .operand = "N",
       .help = "Tokens of the sequence that goes through the layer.",
       .unset = "128, as quantize has it"},
      {.name = "rounds",
       .kind = SB_OPTION_INT,
       .value = &r.rounds,
       .low = 1,
       .high = 1000,
       .operand = "N",
       .help = "Rounds of everything; the best counts."},
      {.name = "codes",
       SB_OPTION_ENUM(r.codes, sb_codes_names),
       .help = "trellis: of everything; grid: without the search for trellis codes, which takes "
               "longest."},
      {.name = "folder",
       .kind = SB_OPTION_STRING,
       .value = &r.folder,
       .operand = "DIR",
       .help =
           "Folder whose disk is measured, with a file of 64 MiB a rank that is removed again."},
  };
  sb_usage usage = {
      .command = "bench",
      .synopsis = "[MODEL] [options]",
      .purpose = "Measures what this machine can do (matrix products, memory, messages, disk, "
                 "zstd) and how "
                 "fast the\n"
                 "parts of quantize are beside that, on one layer of a model. All ranks work at "
                 "once. plan "
                 "--machine\n"
                 "predicts a run from what --json writes.",
      .examples =
          "  shardbits bench\n"
          "  mpirun -n 8 shardbits bench Llama-3-70B/config.json --compute bf16 --json bench.json",
      .arguments = arguments,
      .argument_count = 1,
      .optional_count = 1,
      .options = options,
      .option_count = sizeof options / sizeof *options};
  bool help;
  r.common.calibrates = true;
  SB_TRY(sb_common_begin(world, &usage, &r.common,
                         SB_COMMON_COMPUTE | SB_COMMON_DEVICE | SB_COMMON_BLOCK, argc, argv,
                         &help));
  if (help) return SB_OK;
  return sb_world_agree(world, bench(world, &r));
}
