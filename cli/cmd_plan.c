/* shardbits plan: what a run needs of every rank and node, from config.json alone. */
#include <string.h>

#include "base/clock.h"
#include "base/memory.h"
#include "base/text.h"
#include "cli/commands.h"
#include "cli/common.h"
#include "cli/report_json.h"
#include "cli/table.h"
#include "model/footprint.h"

typedef struct request {
  const char *model;
  size_t ranks, ranks_per_node, gpus_per_node, steps;
  double gflops, network;
  int compute, reorder;
} request;

/* A matrix product of a layer's size on this machine, for want of a better figure. */
static sb_status measure_gflops(sb_compute compute, int threads, double *out) {
  enum { N = 1536 };
  sb_backend *b;
  void *m[3] = {NULL};
  sb_status status;
  SB_TRY(sb_backend_cpu_create(compute, threads, &b));
  size_t sizes[3] = {sb_dtype_size(b->act), sb_dtype_size(b->weight), sb_dtype_size(b->act)};
  for (int i = 0; i < 3; i++) {
    SB_GO(b->op->alloc(b, sizes[i] * N * N, "matrix", &m[i]));
    SB_GO(b->op->zero(b, NULL, m[i], sizes[i] * N * N));
  }
  *out = 0.0;
  for (double begin = sb_now(), start = begin; start - begin < 0.3;) {
    SB_GO(b->op->gemm(b, NULL, false, true, N, N, N, 1.0f, m[0], b->act, N, m[1], b->weight, N, 0.0f, m[2],
                      b->act, N));
    double end = sb_now(), rate = 2e-9 * N * N * N / (end - start);
    if (rate > *out) *out = rate;
    start = end;
  }
done:
  for (int i = 0; i < 3; i++) b->op->free(b, m[i]);
  b->op->destroy(b);
  return status;
}

static void memory_row(FILE *out, json_t *report, const char *key, const char *label, double bytes,
                       const char *how) {
  char text[SB_TEXT_SIZE];
  sb_table_row(out, label, "%10s  %s", sb_text_bytes(text, sizeof text, bytes), how);
  sb_report_real(report, key, bytes);
}

static void print_memory(const request *r, const sb_footprint_setup *s, const sb_footprint *f, FILE *out,
                         json_t *report) {
  char how[160], a[SB_TEXT_SIZE];
  const sb_config *c = &s->arch->config;
  json_t *memory = report ? json_object() : NULL;
  sb_table_head(out, "Memory of a rank");
  snprintf(how, sizeof how, "%s of weights / %zu ranks", sb_text_bytes(a, sizeof a, f->model_bytes),
           s->ranks);
  memory_row(out, memory, "parameters", "parameters", f->parameters, how);
  snprintf(how, sizeof how, "2 x %s, one in use, one on its way; once a node",
           sb_text_bytes(a, sizeof a, f->group_bytes));
  memory_row(out, memory, "slots", "layer slots", f->slots, how);
  snprintf(how, sizeof how, "matrices of one layer, and a chunk of the LM head, in %s",
           s->compute == SB_COMPUTE_BF16 ? "bf16" : "f32");
  memory_row(out, memory, "prepared", "prepared layer", f->prepared, how);
  snprintf(how, sizeof how, "%zu of %zu sequences at a time x %zu tokens x %zu x 4 bytes x (%zu layers + 4)",
           f->wave, f->local_seqs, s->seqlen, c->hidden, c->layers);
  memory_row(out, memory, "inputs", "layer inputs", f->inputs, how);
  memory_row(out, memory, "activations", "activations", f->activations,
             "one sequence in one layer, forward and backward");
  memory_row(out, memory, "gradient", "gradient", f->gradient, "f32, of the largest matrix");
  memory_row(out, memory, "logits", "logits", f->logits, "f32, seqlen x a chunk of the LM head");
  snprintf(how, sizeof how, "of %zu blocks", f->blocks);
  memory_row(out, memory, "scores", "scores", f->scores, how);
  memory_row(out, memory, "bit_maps", "bit maps", f->bit_maps, "one byte a block, four copies");
  if (s->reorder != SB_REORDER_NONE)
    memory_row(out, memory, "orders", "orders", f->orders,
               s->reorder == SB_REORDER_FUSED ? "of channels, and their scores"
                                              : "of channels, their scores, a matrix out of order");
  memory_row(out, memory, "program", "program", f->program, "code and buffers of MPI and BLAS");
  memory_row(out, memory, "rank", "a rank", f->rank_bytes,
             "the sum; what its peak resident memory will show");
  snprintf(how, sizeof how, "%zu ranks, layer slots once", sb_min_size(s->ranks, s->ranks_per_node));
  memory_row(out, memory, "node", "a node", f->node_bytes, how);
  if (r->gpus_per_node) {
    double device = (f->prepared + f->group_bytes + f->inputs + f->activations + f->gradient + f->logits) *
                    (double)sb_div_up(sb_min_size(s->ranks, s->ranks_per_node), r->gpus_per_node);
    memory_row(out, memory, "device", "a GPU", device,
               "layer, layer inputs, activations, gradient and logits of its ranks");
  }
  if (report) json_object_set_new(report, "memory", memory);
}

static void print_pass(const sb_footprint_setup *s, const char *label, const char *key, double flops,
                       double traffic, double gflops, double network, FILE *out, json_t *report) {
  char sent[SB_TEXT_SIZE], time[SB_TEXT_SIZE], count[SB_TEXT_SIZE];
  double seconds = sb_footprint_seconds(s, flops, traffic, gflops * 1e9, network * 1e9);
  sb_table_row(out, label, "%9sFLOP  %10s sent  %12s", sb_text_count(count, sizeof count, flops),
               sb_text_bytes(sent, sizeof sent, traffic), sb_text_seconds(time, sizeof time, seconds));
  json_t *pass = report ? json_object() : NULL;
  sb_report_real(pass, "flops", flops);
  sb_report_real(pass, "bytes_sent", traffic);
  sb_report_real(pass, "seconds", seconds);
  if (report) json_object_set_new(report, key, pass);
}

static void print_time(const request *r, const sb_footprint_setup *s, const sb_footprint *f, bool measured,
                       FILE *out, json_t *report) {
  char total[SB_TEXT_SIZE];
  double gradient =
      sb_footprint_seconds(s, f->gradient_flops, f->gradient_traffic, r->gflops * 1e9, r->network * 1e9);
  double loss = sb_footprint_seconds(s, f->loss_flops, f->loss_traffic, r->gflops * 1e9, r->network * 1e9);
  const bool reorders = s->reorder != SB_REORDER_NONE;
  double search = (double)r->steps * (gradient + loss) + (reorders ? gradient : 0.0);
  sb_table_head(out, "Work of a rank (%zu of %zu sequences, %zu wave%s)", f->local_seqs, s->seqs, f->waves,
                f->waves == 1 ? "" : "s");
  print_pass(s, "loss pass", "loss_pass", f->loss_flops, f->loss_traffic, r->gflops, r->network, out, report);
  print_pass(s, "gradient pass", "gradient_pass", f->gradient_flops, f->gradient_traffic, r->gflops,
             r->network, out, report);
  sb_table_row(out, "search", "%s%zu steps x (gradient pass + loss pass) = %s",
               reorders ? "gradient pass to reorder + " : "", r->steps,
               sb_text_seconds(total, sizeof total, search));
  sb_table_head(out, "Times take the longer of arithmetic and messages, which overlap:");
  if (measured)
    sb_table_row(out, "arithmetic",
                 "%.4g GFLOP/s a rank: measured here just now, %d thread%s; --gflops sets another", r->gflops,
                 s->threads, s->threads == 1 ? "" : "s");
  else
    sb_table_row(out, "arithmetic", "%.4g GFLOP/s a rank, as given", r->gflops);
  sb_table_row(out, "network", "%.4g GB/s a node; --network sets another", r->network);
  sb_report_real(report, "gflops", r->gflops);
  sb_report_flag(report, "gflops_measured", measured);
  sb_report_real(report, "network", r->network);
  sb_report_count(report, "steps", r->steps);
  sb_report_real(report, "search_seconds", search);
}

static void print_plan(const request *r, const sb_footprint_setup *s, bool measured, FILE *out,
                       json_t *report) {
  sb_footprint f;
  char count[SB_TEXT_SIZE];
  sb_footprint_estimate(s, &f);
  if (out)
    fprintf(out, "Plan for %s: %s parameters on %zu ranks, %zu node%s\n", r->model,
            sb_text_count(count, sizeof count, (double)s->arch->parameters), s->ranks, f.nodes,
            f.nodes == 1 ? "" : "s");
  sb_report_text(report, "path", r->model);
  sb_report_count(report, "parameters", s->arch->parameters);
  sb_report_count(report, "planned_ranks", s->ranks);
  sb_report_count(report, "planned_nodes", f.nodes);
  sb_report_count(report, "blocks", f.blocks);
  print_memory(r, s, &f, out, report);
  print_time(r, s, &f, measured, out, report);
}

static sb_status plan(request *r, const sb_common *common, FILE *out, json_t *report) {
  sb_config config;
  sb_arch arch;
  bool measured = r->gflops == 0.0;
  SB_TRY(sb_config_read(r->model, &config));
  if (measured) SB_TRY(measure_gflops((sb_compute)r->compute, common->threads, &r->gflops));
  SB_TRY(sb_arch_create(&config, &arch));
  sb_footprint_setup setup = {.arch = &arch,
                              .source = config.dtype,
                              .compute = (sb_compute)common->compute,
                              .ranks = r->ranks,
                              .ranks_per_node = r->ranks_per_node ? r->ranks_per_node : r->ranks,
                              .threads = common->threads,
                              .seqs = sb_common_seqs(common),
                              .seqlen = sb_common_seqlen(common, &config),
                              .block_rows = common->block[0],
                              .block_cols = common->block[1],
                              .wave_bytes = common->activation_gib * 1073741824.0,
                              .gradients = true,
                              .reorder = (sb_reorder)r->reorder};
  print_plan(r, &setup, measured, out, report);
  sb_arch_free(&arch);
  return SB_OK;
}

sb_status sb_cmd_plan(const sb_world *world, int argc, char **argv) {
  request r = {.ranks = (size_t)world->size, .steps = 10, .network = 10.0};
  sb_common common = SB_COMMON_DEFAULTS;
  common.calibrates = true;
  const sb_argument arguments[] = {{"MODEL", &r.model, "A Hugging Face folder, or a config.json alone."}};
  const sb_option options[] = {
      {.name = "ranks",
       .kind = SB_OPTION_SIZE,
       .value = &r.ranks,
       .low = 1,
       .high = 1048576,
       .operand = "N",
       .help = "Ranks of the run."},
      {.name = "ranks-per-node",
       .kind = SB_OPTION_SIZE,
       .value = &r.ranks_per_node,
       .low = 0,
       .high = 4096,
       .operand = "N",
       .help = "Ranks of a node.",
       .unset = "all on one node"},
      {.name = "gpus-per-node",
       .kind = SB_OPTION_SIZE,
       .value = &r.gpus_per_node,
       .low = 0,
       .high = 64,
       .operand = "N",
       .help = "GPUs of a node: adds a line for the memory of one."},
      {.name = "steps",
       .kind = SB_OPTION_SIZE,
       .value = &r.steps,
       .low = 1,
       .high = 1e6,
       .operand = "N",
       .help = "Steps of the search, each a gradient pass and a check of the loss (quantize's strides and "
               "trades)."},
      {.name = "reorder",
       .kind = SB_OPTION_CHOICE,
       .value = &r.reorder,
       .choices = sb_reorder_names,
       .help = "As quantize has it: one gradient pass more, and memory for orders."},
      {.name = "gflops",
       .kind = SB_OPTION_REAL,
       .value = &r.gflops,
       .low = 0,
       .high = 1e7,
       .operand = "X",
       .help = "GFLOP/s of a rank.",
       .unset = "measured here"},
      {.name = "network",
       .kind = SB_OPTION_REAL,
       .value = &r.network,
       .low = 0.001,
       .high = 1e5,
       .operand = "X",
       .help = "GB/s of a node's network."},
  };
  sb_usage usage = {
      .command = "plan",
      .synopsis = "MODEL [options]",
      .purpose =
          "Says what quantize will need of every rank and node (memory, bytes over the network, arithmetic,\n"
          "time) and shows where each figure comes from. Reads config.json only: no weights, no job.",
      .examples = "  shardbits plan Llama-3.1-70B/config.json --ranks 64 --ranks-per-node 8 --seqs 512 "
                  "--seqlen 256\n"
                  "  shardbits plan models/smollm2 --ranks 2",
      .arguments = arguments,
      .argument_count = 1,
      .options = options,
      .option_count = sizeof options / sizeof *options,
  };
  bool help;
  SB_TRY(sb_common_begin(world, &usage, &common,
                         SB_COMMON_SEQUENCES | SB_COMMON_COMPUTE | SB_COMMON_BLOCK | SB_COMMON_ACTIVATIONS,
                         argc, argv, &help));
  if (help) return SB_OK;
  r.compute = common.compute;
  json_t *report = sb_report_begin(world, "plan");
  FILE *out = sb_common_prints(world, &common) ? stdout : NULL;
  sb_status status = SB_OK;
  if (status == SB_OK && world->rank == 0) status = plan(&r, &common, out, report);
  status = sb_world_agree(world, status);
  if (status == SB_OK) status = sb_report_write(world, common.json, report);
  json_decref(report);
  return status;
}
