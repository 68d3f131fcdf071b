/* shardbits plan --train: memory, arithmetic and traffic of a step of training. */
#include "base/text.h"
#include "cli/plan.h"
#include "cli/report_json.h"
#include "cli/table.h"

static void print_state(const sb_plan_setup *s, const sb_plan_train *t, const sb_plan_sheet *to) {
  char how[160];
  sb_table_head(to->out, "Memory of a rank, held throughout");
  snprintf(how, sizeof how, "f32, %zu of %zu", t->shares.elements, s->arch->parameters);
  sb_plan_row(to, "masters", "master weights", t->masters, how);
  sb_plan_row(to, "moments", "moments", t->moments, "two of AdamW for each of them, f32");
  sb_plan_row(to, "sums", "gradient sums", t->sums,
              s->ranks > 1 || s->gpus_per_node
                  ? "64 bits for each of them, and of the layer at hand"
                  : "64 bits for each of them");
  sb_plan_row(to, "saving", "checkpoint", t->saving,
              "a copy of weights and moments while one is written");
  if (s->ranks > 1)
    sb_plan_row(to, "slots", "layer slots", t->slots, "one in use, one on its way; once a node");
  sb_plan_row(to, "program", "program", t->program, "code and buffers of MPI and BLAS");
}

static void print_step(const sb_plan_setup *s, const sb_plan_train *t, size_t batch,
                       const sb_plan_sheet *to) {
  const sb_plan_pass *p = &t->pass;
  char how[160];
  sb_table_head(to->out, "Beside them, in a step of %zu sequences", batch);
  sb_plan_row(to, "prepared", "prepared layer", p->prepared,
              "matrices of one layer, and a chunk of the LM head");
  snprintf(how, sizeof how, "%zu of %zu sequences of a rank at a time x %zu tokens", p->wave,
           p->local, s->seqlen);
  sb_plan_row(to, "inputs", "layer inputs", p->inputs, how);
  sb_plan_row(to, "activations", "activations", p->activations,
              "one sequence in one layer, forward and backward");
  if (t->kept > 0)
    sb_plan_row(to, "kept", "kept", t->kept,
                "of layers and logits, so that they are computed once; by --activation-memory");
  sb_plan_row(to, "gradient", "gradients", p->gradient + t->vocab,
              "f32, of the largest matrix and of a chunk of the embedding");
  sb_plan_row(to, "logits", "logits", p->logits, "f32, seqlen x a chunk of the LM head");
}

void sb_plan_print_train(const sb_plan_setup *s, size_t batch, FILE *out, json_t *report) {
  const sb_plan_train t = sb_plan_train_of(s, batch);
  const sb_plan_sheet to = {out, report ? json_object() : NULL};
  char how[160], text[SB_TEXT_SIZE];
  print_state(s, &t, &to);
  print_step(s, &t, batch, &to);
  sb_table_head(out, "Together");
  sb_plan_row(&to, "rank", "a rank", t.rank_bytes,
              "what its peak resident memory will show; emulated precisions add a coded layer");
  snprintf(how, sizeof how, "%zu rank%s%s", sb_plan_node_ranks(s), sb_text_s(sb_plan_node_ranks(s)),
           s->ranks > 1 ? ", layer slots once" : "");
  sb_plan_row(&to, "node", "a node", t.node_bytes, how);
  sb_text_count(text, sizeof text, t.step_flops);
  sb_table_row(out, "a step", "%9sFLOP  of all ranks", text);
  sb_plan_row(&to, "bytes_sent", "sent", t.sent, "by a rank to other nodes, in a step");
  sb_report_real(to.figures, "step_flops", t.step_flops);
  if (report) json_object_set_new(report, "train", to.figures);
}
