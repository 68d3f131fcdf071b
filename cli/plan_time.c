/* shardbits plan: how long a run takes, part by part. */
#include "base/text.h"
#include "cli/plan.h"
#include "kernels/shared/trellis.h"
#include "cli/report_json.h"
#include "cli/table.h"

static const char *const part_names[SB_PARTS] = {
    "read",           "inputs",  "reorder",  "tables", "gradient passes", "loss passes", "forward",
    "second moments", "factors", "rounding", "codes",  "refining",        "tune",        "write"};
static const char *const part_keys[SB_PARTS] = {
    "read",    "importance", "reorder",  "tables", "gradient", "loss", "forward",
    "moments", "factor",     "rounding", "codes",  "refine",   "tune", "write"};

typedef struct pass_row {
  const char *label, *key;
  double flops, sent;
  const sb_pass_time *time; /* NULL: not known */
} pass_row;

static void print_pass(const pass_row *p, FILE *out, json_t *report) {
  char sent[SB_TEXT_SIZE], count[SB_TEXT_SIZE], time[SB_TEXT_SIZE];
  sb_text_count(count, sizeof count, p->flops);
  sb_text_bytes(sent, sizeof sent, p->sent);
  if (p->time) {
    char flops[SB_TEXT_SIZE], grids[SB_TEXT_SIZE], messages[SB_TEXT_SIZE];
    sb_table_row(out, p->label, "%9sFLOP  %10s sent  %12s", count, sent,
                 sb_text_seconds(time, sizeof time, p->time->seconds));
    sb_table_row(out, "", "the longer of arithmetic %s + grids and scores %s, and messages %s",
                 sb_text_seconds(flops, sizeof flops, p->time->flop_seconds),
                 sb_text_seconds(grids, sizeof grids, p->time->grid_seconds),
                 sb_text_seconds(messages, sizeof messages, p->time->send_seconds));
  } else {
    sb_table_row(out, p->label, "%9sFLOP  %10s sent", count, sent);
  }
  if (!report) return;
  json_t *pass = json_object();
  sb_report_real(pass, "flops", p->flops);
  sb_report_real(pass, "bytes_sent", p->sent);
  if (p->time) sb_report_real(pass, "seconds", p->time->seconds);
  json_object_set_new(report, p->key, pass);
}

/* "arithmetic 98.2 GFLOP/s" and so on: what is left out where it is not known. */
static void print_rates(const sb_plan *plan, FILE *out, json_t *report) {
  const sb_rates *r = &plan->rates;
  const struct {
    const char *key, *label, *unit;
    double value;
  } rates[] = {{"forward", "forward", "GFLOP/s", r->forward},
               {"backward", "backward", "GFLOP/s", r->backward},
               {"moments", "second moments", "GFLOP/s", r->moments},
               {"factor", "factors", "GFLOP/s", r->factor},
               {"rounding", "rounding", "GFLOP/s", r->rounding},
               {"refine", "refining", "GFLOP/s", r->refine},
               {"fit", "fitting grids", "G weights/s", r->fit},
               {"quantize", "quantizing", "G weights/s", r->quantize},
               {"score", "scoring", "G weights/s", r->score},
               {"unpack", "unpacking", "G weights/s", r->unpack},
               {"trellis_12", "codes, 2^12 states", "G weights/s", r->trellis[0]},
               {"trellis_14", "codes, 2^14 states", "G weights/s", r->trellis[1]},
               {"trellis_16", "codes, 2^16 states", "G weights/s", r->trellis[2]},
               {"pack", "packing", "G weights/s", r->pack},
               {"read", "reading", "GB/s", r->read},
               {"write", "writing", "GB/s", r->write},
               {"network", "network", "GB/s a node", r->network}};
  json_t *object = report ? json_object() : NULL;
  sb_table_head(out, "Rates of a rank, %s", plan->rates_from);
  for (size_t i = 0; i < sizeof rates / sizeof *rates; i++) {
    if (rates[i].value > 0)
      sb_table_row(out, rates[i].label, "%9.4g %s", rates[i].value / 1e9, rates[i].unit);
    sb_report_real(object, rates[i].key, rates[i].value);
  }
  const sb_code_kind kind = plan->setup->blocking.code_kind;
  if (sb_is_trellis(kind) &&
      sb_rates_of_codes(r, kind) == 0.0) /* the largest part, on processors */
    sb_table_row(out, "codes",
                 "not measured and LEFT OUT below: bench --json FILE, then --machine");
  if (report) json_object_set_new(report, "rates", object);
}

static const char *times_of(size_t rounds) {
  return rounds == 3 ? ", three times" : rounds == 2 ? ", twice" : "";
}

static const char *const always[SB_PARTS] = {
    [SB_PART_IMPORTANCE] = "one forward pass in full precision",
    [SB_PART_REORDER] = "one gradient pass, and reading again",
    [SB_PART_TABLES] = "one gradient pass, for embedding and LM head"};

static void describe_part(const sb_plan *plan, const sb_prediction *p, sb_part part, char *how,
                          size_t size) {
  const sb_plan_setup *s = plan->setup;
  const sb_footprint *f = plan->footprint;
  const char *times = times_of(s->round.times);
  char work[SB_TEXT_SIZE];
  snprintf(how, size, "%s", always[part] ? always[part] : "");
  switch (part) {
  case SB_PART_GRADIENT:
    snprintf(how, size, "at most %zu%s", p->gradient_passes,
             f->search.pass.waves == 1 && s->search.trades && s->search.check_seqs == 0
                 ? "; forward halves are those of loss passes where these came before"
                 : "");
    break;
  case SB_PART_LOSS:
    snprintf(how, size, "at most %zu", p->loss_passes);
    break;
  case SB_PART_FORWARD:
    snprintf(how, size, "two passes of %zu sequences, %sFLOP%s", f->round.local,
             sb_text_count(work, sizeof work, f->round.flops), times);
    break;
  case SB_PART_CODES:
    snprintf(how, size, "walks through states for each weight of the rank%s", times);
    break;
  case SB_PART_MOMENTS:
    snprintf(how, size, "%sFLOP%s", sb_text_count(work, sizeof work, f->round.moment_flops), times);
    break;
  case SB_PART_FACTOR:
    snprintf(how, size, "%sFLOP, %s%s", sb_text_count(work, sizeof work, f->round.factor_flops),
             f->round.factor == SB_FACTOR_REPLICATED ? "all on every rank"
                                                     : "spread over all ranks",
             times);
    break;
  case SB_PART_REFINE:
    snprintf(how, size, "%sFLOP, %d passes over codes and scales",
             sb_text_count(work, sizeof work, f->round.refine_flops), s->round.refine);
    break;
  case SB_PART_ROUNDING:
    snprintf(how, size, "%sFLOP%s", sb_text_count(work, sizeof work, f->round.rounding_flops),
             times);
    break;
  case SB_PART_TUNE:
    snprintf(how, size, "%zu steps, %sFLOP", f->tune.steps,
             sb_text_count(work, sizeof work, f->tune.learn_flops + f->tune.step_flops));
    break;
  case SB_PART_WRITE:
    snprintf(how, size, "%g bits a weight, and what is not quantized", s->bits);
    break;
  default:
    break;
  }
}

static void print_passes(const sb_plan *plan, const sb_prediction *p, FILE *out, json_t *report) {
  const sb_plan_search *search = &plan->footprint->search;
  const bool check = plan->setup->search.check_seqs > 0;
  const pass_row loss = {.label = "loss pass",
                         .key = "loss_pass",
                         .flops = check ? search->check_flops : search->loss_flops,
                         .sent = check ? search->check_sent : search->loss_sent,
                         .time = p ? &p->loss : NULL};
  const pass_row gradient = {.label = "gradient pass",
                             .key = "gradient_pass",
                             .flops = search->gradient_flops,
                             .sent = search->gradient_sent,
                             .time = p ? &p->gradient : NULL};
  sb_table_head(out, "A pass of a rank (%zu of %zu sequences, %zu wave%s)", search->pass.local,
                plan->setup->search.seqs, search->pass.waves, sb_text_s(search->pass.waves));
  print_pass(&loss, out, report);
  print_pass(&gradient, out, report);
}

static void print_parts(const sb_plan *plan, const sb_prediction *p, FILE *out, json_t *report) {
  char time[SB_TEXT_SIZE], how[160];
  json_t *parts = report ? json_object() : NULL;
  sb_table_head(out, "Time");
  for (int part = 0; part < SB_PARTS; part++) {
    if (p->seconds[part] == 0.0) continue;
    describe_part(plan, p, (sb_part)part, how, sizeof how);
    sb_table_row(out, part_names[part], "%12s  %s",
                 sb_text_seconds(time, sizeof time, p->seconds[part]), how);
    sb_report_real(parts, part_keys[part], p->seconds[part]);
  }
  sb_table_row(out, "all", "%12s", sb_text_seconds(time, sizeof time, p->total));
  if (report) json_object_set_new(report, "seconds_by_part", parts);
  sb_report_real(report, "seconds", p->total);
}

void sb_plan_time(const sb_plan *plan, FILE *out, json_t *report) {
  sb_prediction p;
  if (plan->rates.forward == 0.0) {
    print_passes(plan, NULL, out, report);
    sb_table_head(out, "Time");
    sb_table_row(out, "all",
                 "not known: %s; --machine FILE (shardbits bench --json FILE) or --gflops X tells",
                 plan->rates_from);
    return;
  }
  sb_predict(plan->setup, plan->footprint, &plan->rates, &p);
  print_passes(plan, &p, out, report);
  print_parts(plan, &p, out, report);
  print_rates(plan, out, report);
}
