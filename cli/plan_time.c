/* shardbits plan: how long a run takes, part by part. */
#include "base/text.h"
#include "cli/plan.h"
#include "cli/report_json.h"
#include "cli/table.h"

static const char *const part_names[SB_PARTS] = {
    "read",           "inputs",  "reorder",  "gradient passes", "loss passes", "forward",
    "second moments", "factors", "rounding", "refining",        "tune",        "write"};
static const char *const part_keys[SB_PARTS] = {"read",     "importance", "reorder", "gradient",
                                                "loss",     "forward",    "moments", "factor",
                                                "rounding", "refine",     "tune",    "write"};

typedef struct pass_work {
  const char *label, *key;
  double flops, traffic;
} pass_work;

/* What a pass has to do; its time too, where `seconds` is not 0. */
static void print_pass(const pass_work *work, double flop_seconds, double grid_seconds,
                       double send_seconds, double seconds, FILE *out, json_t *report) {
  char sent[SB_TEXT_SIZE], time[SB_TEXT_SIZE], count[SB_TEXT_SIZE], a[SB_TEXT_SIZE],
      b[SB_TEXT_SIZE], c[SB_TEXT_SIZE];
  sb_text_count(count, sizeof count, work->flops);
  sb_text_bytes(sent, sizeof sent, work->traffic);
  if (seconds > 0.0) {
    sb_table_row(out, work->label, "%9sFLOP  %10s sent  %12s", count, sent,
                 sb_text_seconds(time, sizeof time, seconds));
    sb_table_row(out, "", "the longer of arithmetic %s + grids and scores %s, and messages %s",
                 sb_text_seconds(a, sizeof a, flop_seconds),
                 sb_text_seconds(b, sizeof b, grid_seconds),
                 sb_text_seconds(c, sizeof c, send_seconds));
  } else {
    sb_table_row(out, work->label, "%9sFLOP  %10s sent", count, sent);
  }
  if (!report) return;
  json_t *pass = json_object();
  sb_report_real(pass, "flops", work->flops);
  sb_report_real(pass, "bytes_sent", work->traffic);
  if (seconds > 0.0) sb_report_real(pass, "seconds", seconds);
  json_object_set_new(report, work->key, pass);
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
  if (report) json_object_set_new(report, "rates", object);
}

static void describe_part(const sb_plan *plan, const sb_prediction *p, sb_part part, char *how,
                          size_t size) {
  const sb_footprint_setup *s = plan->setup;
  const sb_footprint *f = plan->footprint;
  char work[SB_TEXT_SIZE];
  how[0] = '\0';
  switch (part) {
  case SB_PART_IMPORTANCE:
    snprintf(how, size, "one forward pass in full precision");
    break;
  case SB_PART_REORDER:
    snprintf(how, size, "one gradient pass, and reading again");
    break;
  case SB_PART_GRADIENT:
    snprintf(how, size, "at most %zu%s", p->gradient_passes,
             f->waves == 1 && plan->trades && s->check_seqs == 0
                 ? "; forward halves are those of loss passes where these came before"
                 : "");
    break;
  case SB_PART_LOSS:
    snprintf(how, size, "at most %zu", p->loss_passes);
    break;
  case SB_PART_FORWARD:
    snprintf(how, size, "two passes of %zu sequences, %sFLOP", f->round_local,
             sb_text_count(work, sizeof work, f->round_flops));
    break;
  case SB_PART_MOMENTS:
    snprintf(how, size, "%sFLOP", sb_text_count(work, sizeof work, f->moment_flops));
    break;
  case SB_PART_FACTOR:
    snprintf(how, size, "%sFLOP, %s", sb_text_count(work, sizeof work, f->factor_flops),
             f->factor == SB_FACTOR_REPLICATED ? "all on every rank" : "spread over all ranks");
    break;
  case SB_PART_REFINE:
    snprintf(how, size, "%sFLOP, %d passes over codes and scales",
             sb_text_count(work, sizeof work, f->refine_flops), s->refine);
    break;
  case SB_PART_ROUNDING:
    snprintf(how, size, "%sFLOP", sb_text_count(work, sizeof work, f->rounding_flops));
    break;
  case SB_PART_TUNE:
    snprintf(how, size, "%zu steps, %sFLOP", f->tune_steps,
             sb_text_count(work, sizeof work, f->tune_learn_flops + f->tune_flops));
    break;
  case SB_PART_WRITE:
    snprintf(how, size, "%g bits a weight, and what is not quantized", s->bits);
    break;
  default:
    break;
  }
}

void sb_plan_time(const sb_plan *plan, FILE *out, json_t *report) {
  const sb_footprint *f = plan->footprint;
  sb_prediction p = {0};
  char time[SB_TEXT_SIZE], how[160];
  const bool check = plan->setup->check_seqs > 0, known = plan->rates.forward > 0.0;
  const pass_work loss = {"loss pass", "loss_pass", check ? f->check_flops : f->loss_flops,
                          check ? f->check_traffic : f->loss_traffic};
  const pass_work gradient = {"gradient pass", "gradient_pass", f->gradient_flops,
                              f->gradient_traffic};
  if (known) sb_predict(plan->setup, f, &plan->rates, plan->strides, plan->trades, &p);
  sb_table_head(out, "A pass of a rank (%zu of %zu sequences, %zu wave%s)", f->local_seqs,
                plan->setup->seqs, f->waves, f->waves == 1 ? "" : "s");
  print_pass(&loss, p.loss_flop_seconds, p.loss_grid_seconds, p.loss_send_seconds, p.loss_seconds,
             out, report);
  print_pass(&gradient, p.gradient_flop_seconds, p.gradient_grid_seconds, p.gradient_send_seconds,
             p.gradient_seconds, out, report);
  if (!known) {
    sb_table_head(out, "Time");
    sb_table_row(out, "all",
                 "not known: %s; --machine FILE (shardbits bench --json FILE) or --gflops X tells",
                 plan->rates_from);
    return;
  }
  json_t *parts = report ? json_object() : NULL;
  sb_table_head(out, "Time");
  for (int part = 0; part < SB_PARTS; part++) {
    if (p.seconds[part] == 0.0) continue;
    describe_part(plan, &p, (sb_part)part, how, sizeof how);
    sb_table_row(out, part_names[part], "%12s  %s",
                 sb_text_seconds(time, sizeof time, p.seconds[part]), how);
    sb_report_real(parts, part_keys[part], p.seconds[part]);
  }
  sb_table_row(out, "all", "%12s", sb_text_seconds(time, sizeof time, p.total));
  if (report) json_object_set_new(report, "seconds_by_part", parts);
  sb_report_real(report, "seconds", p.total);
  print_rates(plan, out, report);
}
