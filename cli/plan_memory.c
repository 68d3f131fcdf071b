/* shardbits plan: memory of a rank, phase by phase. */
#include "base/memory.h"
#include "base/text.h"
#include "cli/plan.h"
#include "cli/report_json.h"
#include "cli/table.h"

static const char *const phase_keys[SB_PHASES] = {[SB_PHASE_SEARCH] = "search",
                                                  [SB_PHASE_REORDER] = "reorder",
                                                  [SB_PHASE_TABLES] = "tables",
                                                  [SB_PHASE_ROUND] = "round",
                                                  [SB_PHASE_TUNE] = "tune"};
static const char *const phase_names[SB_PHASES] = {[SB_PHASE_SEARCH] = "searching",
                                                   [SB_PHASE_REORDER] = "reordering",
                                                   [SB_PHASE_TABLES] = "weighing tables",
                                                   [SB_PHASE_ROUND] = "rounding",
                                                   [SB_PHASE_TUNE] = "tuning"};

void sb_plan_row(const sb_plan_sheet *to, const char *key, const char *label, double bytes,
                 const char *how) {
  char text[SB_TEXT_SIZE];
  sb_table_row(to->out, label, "%10s  %s", sb_text_bytes(text, sizeof text, bytes), how);
  sb_report_real(to->figures, key, bytes);
}

/* The size that people choose a model by. */
static void print_file(const sb_plan *plan, FILE *out, json_t *report) {
  const sb_plan_setup *s = plan->setup;
  const sb_footprint *f = plan->footprint;
  const unsigned *bits = s->tables.bits;
  const bool tied = s->arch->config.tie_embeddings;
  char bytes[SB_TEXT_SIZE], tables[96] = "embedding and LM head as they are";
  if (tied && bits[0])
    snprintf(tables, sizeof tables, "embedding and LM head at %u", bits[0]);
  else if (bits[0] || bits[1])
    snprintf(tables, sizeof tables, "embedding at %u, LM head at %u",
             bits[0] ? bits[0] : SB_SOURCE_BITS, bits[1] ? bits[1] : SB_SOURCE_BITS);
  sb_table_head(out, "Weights that are written");
  sb_table_row(out, "whole file", "%10s  %.4f bits a weight",
               sb_text_bytes(bytes, sizeof bytes, f->file_bytes), f->file_bits);
  sb_table_row(out, "of these", "layers at %.4g effective bits, %s%s", s->bits, tables,
               plan->guessed ? "; the run chooses, this is a guess" : "");
  sb_report_real(report, "file_bytes", f->file_bytes);
  sb_report_real(report, "file_bits", f->file_bits);
  sb_report_real(report, "layer_bits", s->bits);
}

static void print_held(const sb_plan *plan, const sb_plan_sheet *to) {
  const sb_plan_setup *s = plan->setup;
  const sb_footprint *f = plan->footprint;
  const sb_plan_held *held = &f->held;
  char how[160], a[SB_TEXT_SIZE];
  sb_table_head(to->out, "Memory of a rank, held throughout");
  snprintf(how, sizeof how, "%s of weights / %zu rank%s",
           sb_text_bytes(a, sizeof a, f->model_bytes), s->ranks, sb_text_s(s->ranks));
  sb_plan_row(to, "parameters", "parameters", held->parameters, how);
  if (s->ranks > 1) {
    snprintf(how, sizeof how, "2 x %s, one in use, one on its way; once a node",
             sb_text_bytes(a, sizeof a, f->group_bytes));
    sb_plan_row(to, "slots", "layer slots", held->slots, how);
  }
  sb_plan_row(to, "bit_maps", "bit maps", held->bit_maps, "one byte a block, four copies");
  if (s->reorder != SB_REORDER_NONE)
    sb_plan_row(to, "orders", "orders", held->orders, "of channels");
  if (s->fitted)
    sb_plan_row(to, "importance", "importance", held->importance,
                "of input channels, for fitted grids");
  if (held->factors > 0)
    sb_plan_row(to, "factors", "factors", held->factors, "of columns, for trellis codes");
  sb_plan_row(to, "program", "program", held->program, "code and buffers of MPI and BLAS");
}

static void print_pass(const sb_plan *plan, const sb_plan_sheet *to) {
  const sb_plan_setup *s = plan->setup;
  const sb_footprint *f = plan->footprint;
  const sb_plan_pass *pass = &f->search.pass, *check = &f->search.check;
  const sb_config *c = &s->arch->config;
  char how[160];
  sb_table_head(to->out, "Beside them, in a gradient pass");
  snprintf(how, sizeof how, "matrices of one layer, and a chunk of the LM head, in %s",
           sb_compute_name(s->compute));
  sb_plan_row(to, "prepared", "prepared layer", pass->prepared, how);
  snprintf(how, sizeof how,
           "%zu of %zu sequences at a time x %zu tokens x %zu x about 4 bytes x (%zu layers + 4)",
           pass->wave, pass->local, s->seqlen, c->hidden, c->layers);
  sb_plan_row(to, "inputs", "layer inputs", pass->inputs, how);
  sb_plan_row(to, "activations", "activations", pass->activations,
              "one sequence in one layer, forward and backward");
  if (pass->gradient > 0)
    sb_plan_row(to, "gradient", "gradient", pass->gradient, "f32, of the largest matrix");
  sb_plan_row(to, "logits", "logits", pass->logits, "f32, seqlen x a chunk of the LM head");
  snprintf(how, sizeof how, "of %zu blocks, and the allocator", f->blocks);
  sb_plan_row(to, "scores", "scores", f->search.scores, how);
  if (pass->reference > 0)
    sb_plan_row(to, "reference", "reference", pass->reference + check->reference,
                "what the source weights predict, and the logits of it");
  if (s->search.check_seqs)
    sb_plan_row(to, "check", "check", check->bytes - check->reference,
                "a pass of the sequences that decide, without gradients");
  if (s->reorder != SB_REORDER_NONE)
    sb_plan_row(to, "order_scores", "or", f->reorder.scores,
                "scores of channels, before the search");
  if (s->tables.measured)
    sb_plan_row(to, "table_statistics", "or", f->tables.statistics,
                "what errors of embedding and LM head cost, before the search");
}

static void print_round(const sb_plan *plan, const sb_plan_sheet *to) {
  const sb_plan_setup *s = plan->setup;
  const sb_footprint *f = plan->footprint;
  const sb_plan_round *round = &f->round;
  char how[160];
  sb_table_head(to->out, s->round.gptq || s->tune.seqs == 0 ? "Beside them, while rounding"
                                                            : "Beside them, while tuning");
  snprintf(how, sizeof how, "the packed model at %g bits / %zu rank%s", s->bits, s->ranks,
           sb_text_s(s->ranks));
  sb_plan_row(to, "packed", "packed model", f->packed.model, how);
  if (f->packed.slots > 0)
    sb_plan_row(to, "packed_slots", "its layer slots", f->packed.slots,
                "2 x its largest group; once a node");
  if (round->candidates > 0)
    sb_plan_row(to, "candidates", "candidates", round->candidates,
                "the best one so far, packed, and what the source weights predict");
  if (!s->round.gptq) return;
  sb_plan_row(to, "round_prepared", "prepared layer", round->prepared,
              "a layer as it is, and rounded");
  snprintf(how, sizeof how,
           "what goes into a layer, %zu of %zu sequences, and comes out of it for one",
           round->local, s->round.seqs);
  sb_plan_row(to, "round_inputs", "layer inputs", round->inputs, how);
  sb_plan_row(to, "round_activations", "activations", round->activations,
              "one sequence in one layer, forward");
  sb_plan_row(to, "moments", "second moments", round->moments,
              round->factor == SB_FACTOR_REPLICATED ? "and their factors, all on every rank"
                                                    : "and their factors, spread over all ranks");
  sb_plan_row(to, "block_rows", "block rows", round->block_rows,
              "on their way, of matrices that share an input");
  if (round->tables > 0)
    sb_plan_row(to, "round_tables", "or for tables", round->tables,
                "in place of the last five, before: moments, and a chunk's block rows");
}

static void print_tune(const sb_plan *plan, const sb_plan_sheet *to) {
  const sb_plan_setup *s = plan->setup;
  const sb_plan_tune *tune = &plan->footprint->tune;
  char how[160];
  if (s->tune.seqs == 0) return;
  if (s->round.gptq)
    sb_table_head(to->out, "While tuning, the packed model, what a gradient pass has, and");
  snprintf(how, sizeof how, "of a batch of %zu sequences", s->tune.batch);
  sb_plan_row(to, "tune_inputs", "layer inputs", tune->pass.inputs, how);
  snprintf(how, sizeof how, "what the source weights predict, of %zu of %zu sequences", tune->local,
           s->tune.seqs);
  sb_plan_row(to, "tune_reference", "reference", tune->pass.reference, how);
  sb_plan_row(to, "scales", "scales", tune->scales, "and their gradients");
}

static void print_sums(const sb_plan *plan, const sb_plan_sheet *to, const sb_plan_sheet *phases) {
  const sb_plan_setup *s = plan->setup;
  const sb_footprint *f = plan->footprint;
  const size_t ranks = sb_plan_node_ranks(s);
  char how[160];
  sb_table_head(to->out, "Together");
  for (int p = 0; p < SB_PHASES; p++)
    if (f->phase_bytes[p] > 0)
      sb_plan_row(phases, phase_keys[p], phase_names[p], f->phase_bytes[p], "");
  snprintf(how, sizeof how, "what its peak resident memory will show, while %s",
           phase_names[f->largest]);
  sb_plan_row(to, "rank", "a rank", f->rank_bytes, how);
  snprintf(how, sizeof how, "%zu rank%s%s", ranks, sb_text_s(ranks),
           s->ranks > 1 ? ", layer slots once" : "");
  sb_plan_row(to, "node", "a node", f->node_bytes, how);
  if (s->gpus_per_node)
    sb_plan_row(to, "device", "a GPU", f->gpu_bytes,
                "of its ranks: a layer and its inputs, activations, gradient and logits, or second "
                "moments");
}

void sb_plan_memory(const sb_plan *plan, FILE *out, json_t *report) {
  const sb_plan_sheet all = {out, report ? json_object() : NULL};
  const sb_plan_sheet phases = {out, report ? json_object() : NULL};
  print_file(plan, out, report);
  print_held(plan, &all);
  print_pass(plan, &all);
  print_round(plan, &all);
  print_tune(plan, &all);
  print_sums(plan, &all, &phases);
  if (!report) return;
  json_object_set_new(all.figures, "phases", phases.figures);
  json_object_set_new(report, "memory", all.figures);
}
