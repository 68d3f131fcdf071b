/* shardbits plan: memory of a rank, phase by phase. */
#include "base/memory.h"
#include "base/text.h"
#include "cli/plan.h"
#include "cli/report_json.h"
#include "cli/table.h"

static const char *const phase_names[SB_PHASES] = {"search", "reorder", "round", "tune"};

static void row(FILE *out, json_t *report, const char *key, const char *label, double bytes,
                const char *how) {
  char text[SB_TEXT_SIZE];
  sb_table_row(out, label, "%10s  %s", sb_text_bytes(text, sizeof text, bytes), how);
  sb_report_real(report, key, bytes);
}

static void print_held(const sb_plan *plan, FILE *out, json_t *memory) {
  const sb_footprint_setup *s = plan->setup;
  const sb_footprint *f = plan->footprint;
  char how[160], a[SB_TEXT_SIZE];
  snprintf(how, sizeof how, "%s of weights / %zu rank%s",
           sb_text_bytes(a, sizeof a, f->model_bytes), s->ranks, s->ranks == 1 ? "" : "s");
  row(out, memory, "parameters", "parameters", f->parameters, how);
  if (s->ranks > 1) {
    snprintf(how, sizeof how, "2 x %s, one in use, one on its way; once a node",
             sb_text_bytes(a, sizeof a, f->group_bytes));
    row(out, memory, "slots", "layer slots", f->slots, how);
  }
  row(out, memory, "bit_maps", "bit maps", f->bit_maps, "one byte a block, four copies");
  if (s->reorder != SB_REORDER_NONE) row(out, memory, "orders", "orders", f->orders, "of channels");
  if (s->fitted)
    row(out, memory, "importance", "importance", f->importance,
        "of input channels, for fitted grids");
  row(out, memory, "program", "program", f->program, "code and buffers of MPI and BLAS");
}

static void print_pass(const sb_plan *plan, FILE *out, json_t *memory) {
  const sb_footprint_setup *s = plan->setup;
  const sb_footprint *f = plan->footprint;
  const sb_config *c = &s->arch->config;
  char how[160];
  sb_table_head(out, "Beside them, in a gradient pass");
  snprintf(how, sizeof how, "matrices of one layer, and a chunk of the LM head, in %s",
           s->compute == SB_COMPUTE_BF16 ? "bf16" : "f32");
  row(out, memory, "prepared", "prepared layer", f->prepared, how);
  snprintf(how, sizeof how,
           "%zu of %zu sequences at a time x %zu tokens x %zu x 4 bytes x (%zu layers + 4)",
           f->wave, f->local_seqs, s->seqlen, c->hidden, c->layers);
  row(out, memory, "inputs", "layer inputs", f->inputs, how);
  row(out, memory, "activations", "activations", f->activations,
      "one sequence in one layer, forward and backward");
  if (f->gradient > 0)
    row(out, memory, "gradient", "gradient", f->gradient, "f32, of the largest matrix");
  row(out, memory, "logits", "logits", f->logits, "f32, seqlen x a chunk of the LM head");
  snprintf(how, sizeof how, "of %zu blocks, and the allocator", f->blocks);
  row(out, memory, "scores", "scores", f->scores, how);
  if (f->reference > 0)
    row(out, memory, "reference", "reference", f->reference,
        "what the source weights predict, and the logits of it");
  if (s->check_seqs)
    row(out, memory, "check", "check", f->check,
        "a pass of the sequences that decide, without gradients");
  if (s->reorder != SB_REORDER_NONE)
    row(out, memory, "order_scores", "or", f->order_scores,
        "scores of channels, before the search");
}

static void print_round(const sb_plan *plan, FILE *out, json_t *memory) {
  const sb_footprint_setup *s = plan->setup;
  const sb_footprint *f = plan->footprint;
  char how[160];
  sb_table_head(out, s->gptq || s->tune_seqs == 0 ? "Beside them, while rounding"
                                                  : "Beside them, while tuning");
  snprintf(how, sizeof how, "the packed model at %g bits / %zu rank%s", s->bits, s->ranks,
           s->ranks == 1 ? "" : "s");
  row(out, memory, "packed", "packed model", f->packed, how);
  if (f->packed_slots > 0)
    row(out, memory, "packed_slots", "its layer slots", f->packed_slots,
        "2 x its largest group; once a node");
  if (!s->gptq) return;
  row(out, memory, "round_prepared", "prepared layer", f->round_prepared,
      "a layer as it is and rounded, and a chunk of the LM head");
  snprintf(how, sizeof how, "what goes into a layer and comes out, %zu of %zu sequences",
           f->round_local, s->round_seqs);
  row(out, memory, "round_inputs", "layer inputs", f->round_inputs, how);
  row(out, memory, "round_activations", "activations", f->round_activations,
      "one sequence in one layer, forward");
  row(out, memory, "moments", "second moments", f->moments,
      f->factor == SB_FACTOR_REPLICATED ? "and their factors, all on every rank"
                                        : "and their factors, spread over all ranks");
  row(out, memory, "block_rows", "block rows", f->block_rows,
      "on their way, of matrices that share an input");
}

static void print_tune(const sb_plan *plan, FILE *out, json_t *memory) {
  const sb_footprint_setup *s = plan->setup;
  const sb_footprint *f = plan->footprint;
  char how[160];
  if (s->tune_seqs == 0) return;
  if (s->gptq) sb_table_head(out, "While tuning, the packed model, what a gradient pass has, and");
  snprintf(how, sizeof how, "of a batch of %zu sequences", s->tune_batch);
  row(out, memory, "tune_inputs", "layer inputs", f->tune_inputs, how);
  snprintf(how, sizeof how, "what the source weights predict, of %zu of %zu sequences",
           f->tune_local, s->tune_seqs);
  row(out, memory, "tune_reference", "reference", f->tune_reference, how);
  row(out, memory, "scales", "scales", f->scales, "and their gradients");
}

void sb_plan_memory(const sb_plan *plan, FILE *out, json_t *report) {
  static const char *const what[SB_PHASES] = {"searching", "reordering", "rounding", "tuning"};
  const sb_footprint_setup *s = plan->setup;
  const sb_footprint *f = plan->footprint;
  char how[160];
  json_t *memory = report ? json_object() : NULL, *phases = report ? json_object() : NULL;
  sb_table_head(out, "Memory of a rank, held throughout");
  print_held(plan, out, memory);
  print_pass(plan, out, memory);
  print_round(plan, out, memory);
  print_tune(plan, out, memory);
  sb_table_head(out, "Together");
  for (int p = 0; p < SB_PHASES; p++)
    if (f->phase_bytes[p] > 0) row(out, phases, phase_names[p], what[p], f->phase_bytes[p], "");
  snprintf(how, sizeof how, "what its peak resident memory will show, while %s", what[f->largest]);
  row(out, memory, "rank", "a rank", f->rank_bytes, how);
  snprintf(how, sizeof how, "%zu rank%s%s", sb_min_size(s->ranks, s->ranks_per_node),
           sb_min_size(s->ranks, s->ranks_per_node) == 1 ? "" : "s",
           s->ranks > 1 ? ", layer slots once" : "");
  row(out, memory, "node", "a node", f->node_bytes, how);
  if (plan->gpus_per_node) {
    row(out, memory, "device", "a GPU",
        f->device_bytes * (double)sb_plan_sharers(s, plan->gpus_per_node),
        "of its ranks: a layer and its inputs, activations, gradient and logits, or second "
        "moments");
  }
  if (!report) return;
  json_object_set_new(memory, "phases", phases);
  json_object_set_new(report, "memory", memory);
}
