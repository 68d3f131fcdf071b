#include "train/run.h"

#include <math.h>
#include <signal.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/progress.h"
#include "base/text.h"
#include "base/trace.h"

/* Set by a signal, which receives no argument; agreed on once a step. */
static volatile sig_atomic_t asked_to_stop;

static void ask_to_stop(int signal_number) {
  (void)signal_number;
  asked_to_stop = 1;
}

typedef struct loop {
  const sb_run_setup *u;
  const sb_trainer_options *options;
  sb_run_result *result;
  uint32_t *tokens; /* [local sequences of a batch, seqlen] */
  sb_flop_shares shares;
  uint64_t step, first;            /* steps done; when this attempt began */
  uint64_t saved_at, evaluated_at; /* UINT64_MAX: not in this attempt */
  double begun;                    /* of the clock */
  double last_log;                 /* seconds of training when the last line came */
  uint64_t last_log_step;
  int zeros; /* steps in a row whose gradient was 0 */
} loop;

enum { MOST_ZEROS = 3 };

static bool due(uint64_t step, uint64_t every) {
  return every > 0 && step % every == 0;
}

/* Seconds that the steps to the end of this attempt will take, at the pace so far. */
static double left(const loop *l) {
  const double pace = (sb_now() - l->begun) / (double)(l->step - l->first);
  return pace * (double)(l->u->stop_at - l->step);
}

/* ---- what is told of a step ---- */

static sb_status tell_event(const loop *l, const sb_step_report *r, double seconds) {
  static const char *const outcomes[] = {"taken", "skipped for its loss",
                                         "skipped for its gradient norm"};
  const uint64_t tokens = (uint64_t)l->options->batch * l->options->seqlen;
  if (!l->u->events) return SB_OK;
  json_t *event = sb_event("step", l->step);
  sb_event_real(event, "loss", r->loss);
  sb_event_real(event, "rate", r->rate);
  sb_event_real(event, "gradient_norm", r->norm);
  sb_event_real(event, "clip_factor", r->factor);
  json_object_set_new(event, "outcome", json_string(outcomes[r->outcome]));
  if (r->outcome != SB_STEP_TAKEN) sb_event_real(event, "score", r->score);
  json_object_set_new(event, "tokens", json_integer((json_int_t)(tokens * l->step)));
  sb_event_real(event, "tokens_per_second", (double)tokens / seconds);
  sb_event_real(event, "fp4_share", l->shares.fp4);
  sb_event_real(event, "fp8_share", l->shares.fp8);
  sb_event_real(event, "seconds", l->result->seconds);
  sb_event_real(event, "eta_seconds", left(l));
  return sb_events_write(l->u->events, event);
}

static void tell_log(loop *l, const sb_step_report *r) {
  char rate[SB_TEXT_SIZE], to_go[SB_TEXT_SIZE];
  const double now = l->result->seconds, tokens = (double)(l->options->batch * l->options->seqlen) *
                                                  (double)(l->step - l->last_log_step);
  if (r->outcome != SB_STEP_TAKEN)
    sb_log_line("step %llu: skipped, its %s stands %.1f deviations above the last %d: loss %.4f, "
                "gradient norm %.4g",
                (unsigned long long)l->step,
                r->outcome == SB_STEP_SKIPPED_LOSS ? "loss" : "gradient norm", r->score,
                SB_SKIP_WINDOW, r->loss, r->norm);
  if (!due(l->step, l->u->log_every) && l->step != l->u->stop_at) return;
  sb_log_line("step %llu of %zu: loss %.4f, rate %.3g, gradient norm %.3g, %s tokens/s, %s to go",
              (unsigned long long)l->step, l->options->schedule.steps, r->loss, r->rate, r->norm,
              sb_text_count(rate, sizeof rate, tokens / (now - l->last_log)),
              sb_text_seconds(to_go, sizeof to_go, left(l)));
  l->last_log = now;
  l->last_log_step = l->step;
}

/* ---- parts of the loop ---- */

static sb_status evaluate(loop *l) {
  const sb_run_setup *u = l->u;
  const double begun = sb_now();
  double sum = 0, loss;
  if (!u->heldout || l->evaluated_at == l->step) return SB_OK;
  sb_status status = SB_OK;
  if (u->steering.evaluates) SB_TRY(u->steering.evaluates(u->steering.context, true));
  for (uint64_t first = 0; status == SB_OK && first < u->heldout_seqs; first += l->options->batch) {
    const uint64_t count = sb_min_size(u->heldout_seqs - first, l->options->batch);
    status = sb_world_agree(u->world,
                            sb_train_data_read(u->heldout, first / l->options->batch, l->tokens));
    SB_THEN(sb_trainer_loss(u->trainer, l->tokens, count, &loss));
    if (status == SB_OK) sum += loss * (double)count;
  }
  if (u->steering.evaluates) SB_THEN(u->steering.evaluates(u->steering.context, false));
  SB_TRY(status);
  l->evaluated_at = l->step;
  l->result->heldout = sum / (double)u->heldout_seqs;
  l->result->eval_seconds += sb_now() - begun;
  sb_log_line("step %llu: held-out loss %.4f, perplexity %.2f", (unsigned long long)l->step,
              l->result->heldout, exp(l->result->heldout));
  if (!u->events) return SB_OK;
  json_t *event = sb_event("eval", l->step);
  sb_event_real(event, "loss", l->result->heldout);
  sb_event_real(event, "perplexity", exp(l->result->heldout));
  return sb_events_write(u->events, event);
}

static sb_status poll(loop *l, bool wait) {
  const sb_run_setup *u = l->u;
  const char *path;
  bool saved;
  if (!u->checkpoints) return SB_OK;
  SB_TRY(sb_checkpoints_poll(u->checkpoints, wait, &saved, &path));
  if (!saved) return SB_OK;
  sb_log_line("step %llu: saved in %.300s", (unsigned long long)l->saved_at, path);
  if (!u->events) return SB_OK;
  json_t *event = sb_event("save", l->saved_at);
  json_object_set_new(event, "path", json_string(path));
  return sb_events_write(u->events, event);
}

static sb_status save(loop *l) {
  const sb_run_setup *u = l->u;
  const sb_trainer_options *o = l->options;
  const double begun = sb_now();
  if (!u->checkpoints || l->saved_at == l->step) return SB_OK;
  sb_run_state state = {.progress = sb_trainer_progress_of(u->trainer),
                        .seconds = l->result->seconds,
                        .loss = l->result->loss};
  const sb_optimizer_info info = {.step = l->step,
                                  .updates = state.progress.updates,
                                  .adamw = o->adamw,
                                  .rate = sb_schedule_rate(&o->schedule, l->step ? l->step - 1 : 0),
                                  .clip = o->clip,
                                  .batch = o->batch,
                                  .seqlen = o->seqlen};
  json_t *object = NULL;
  SB_TRY(sb_world_agree(u->world, poll(l, true)));
  if (u->world->rank == 0) {
    if (u->steering.extra) state.extra = u->steering.extra(u->steering.context);
    object = sb_run_state_json(&state);
    json_decref(state.extra);
  }
  SB_TRY(sb_checkpoints_begin(u->checkpoints, &info, object));
  l->saved_at = l->step;
  l->result->save_seconds += sb_now() - begun;
  return SB_OK;
}

/* A step that had no number: what was good before it is kept. A failure's line ends with the last
 * checkpoint that this attempt completed (base/cleanup.h). */
static sb_status fail_numeric(loop *l, sb_status status) {
  char line[1024];
  if (status != SB_ERR_NUMERIC) return status;
  snprintf(line, sizeof line, "step %llu: %s; a lower --lr, --clip or --skip-norm may prevent it",
           (unsigned long long)l->step + 1, sb_message());
  SB_TRY(poll(l, true));
  if (l->u->events) {
    json_t *event = sb_event("failure", l->step + 1);
    json_object_set_new(event, "message", json_string(line));
    (void)sb_events_write(l->u->events, event); /* the run ends with its own message */
  }
  if (l->saved_at == UINT64_MAX || sb_cleanup_completed()[0])
    return sb_fail_from(sb_origin(), status, "%s", line);
  return sb_fail_from(sb_origin(), status, "%s; the state of step %llu is saved", line,
                      (unsigned long long)l->saved_at);
}

/* Weights that no gradient reaches are worth a word, once. */
static void watch_norm(loop *l, const sb_step_report *r) {
  l->zeros = r->norm == 0 ? l->zeros + 1 : 0;
  if (l->zeros == MOST_ZEROS)
    sb_log_line("step %llu: the gradient has been exactly 0 for %d steps, so nothing is learned; a "
                "lower --lr may prevent it",
                (unsigned long long)l->step, MOST_ZEROS);
}

static sb_status make_step(loop *l) {
  const sb_run_setup *u = l->u;
  const double begun = sb_now();
  sb_step_report report;
  if (u->steering.before) SB_TRY(u->steering.before(u->steering.context, l->step, &l->shares));
  const double steered = sb_now();
  SB_AGREE(u->world, sb_train_data_read(u->data, l->step, l->tokens));
  const double read = sb_now();
  const sb_status status = sb_trainer_step(u->trainer, l->tokens, &report);
  if (status != SB_OK) return fail_numeric(l, status);
  const double ended = sb_now(), seconds = ended - begun;
  l->step++;
  l->result->steer_seconds += steered - begun;
  l->result->data_seconds += read - steered;
  l->result->step_seconds += ended - read;
  l->result->seconds += seconds;
  l->result->loss = report.loss;
  l->result->skipped += report.outcome != SB_STEP_TAKEN;
  SB_AGREE(u->world, tell_event(l, &report, seconds));
  tell_log(l, &report);
  watch_norm(l, &report);
  sb_progress_step((double)(l->step - l->first));
  if (u->steering.after) SB_TRY(u->steering.after(u->steering.context, &report));
  return SB_OK;
}

static sb_status go(loop *l) {
  const sb_run_setup *u = l->u;
  int stops = 0;
  if (l->step == 0) SB_TRY(sb_world_agree(u->world, evaluate(l)));
  while (l->step < u->stop_at && !stops) {
    SB_TRY(make_step(l));
    if (due(l->step, u->eval_every)) SB_TRY(sb_world_agree(u->world, evaluate(l)));
    if (due(l->step, u->save_every)) SB_TRY(save(l));
    SB_TRY(sb_world_agree(u->world, poll(l, false)));
    stops = asked_to_stop;
    SB_MPI(MPI_Allreduce(MPI_IN_PLACE, &stops, 1, MPI_INT, MPI_MAX, u->world->comm));
  }
  l->result->asked = stops && l->step < u->stop_at;
  SB_TRY(save(l));
  const double begun = sb_now();
  SB_TRY(sb_world_agree(u->world, poll(l, true)));
  l->result->save_seconds += sb_now() - begun;
  if (!l->result->asked) SB_TRY(sb_world_agree(u->world, evaluate(l)));
  if (!u->events) return SB_OK;
  json_t *event = sb_event("end", l->step);
  json_object_set_new(event, "complete", json_boolean(l->step == l->options->schedule.steps));
  return sb_events_write(u->events, event);
}

sb_status sb_train_run(const sb_run_setup *u, sb_run_result *result) {
  const sb_trainer_options *o = sb_trainer_options_of(u->trainer);
  const uint64_t step = sb_trainer_progress_of(u->trainer).step;
  struct sigaction action = {.sa_handler = ask_to_stop, .sa_flags = SA_RESTART}, before;
  *result = (sb_run_result){.loss = u->loss, .heldout = NAN, .seconds = u->seconds};
  loop l = {.u = u,
            .options = o,
            .result = result,
            .shares = u->shares,
            .step = step,
            .first = step,
            .saved_at = u->resumed ? step : UINT64_MAX,
            .evaluated_at = UINT64_MAX,
            .begun = sb_now(),
            .last_log = u->seconds,
            .last_log_step = step};
  SB_AGREE(u->world, sb_alloc(&l.tokens, sb_pass_local(u->world, o->batch) * o->seqlen,
                              sizeof *l.tokens, "tokens of a batch"));
  SB_PHASE(phase, "train");
  asked_to_stop = 0;
  sigemptyset(&action.sa_mask);
  sigaction(SIGUSR1, &action, &before);
  sb_progress_begin("train", (double)(u->stop_at - sb_min_size(step, u->stop_at)));
  const sb_status status = sb_world_agree(u->world, go(&l));
  sb_progress_end();
  sigaction(SIGUSR1, &before, NULL);
  sb_free(&l.tokens);
  result->step = l.step;
  return status;
}
