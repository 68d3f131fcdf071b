/* shardbits eval: perplexity, and the distance to a reference model. */
#include <math.h>
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
#include "folders/hf_load.h"
#include "folders/output_load.h"
#include "folders/output_write.h"
#include "io/manifest.h"
#include "pass/pass.h"
#include "pass/sequences.h"

typedef struct request {
  const char *model, *tokens, *ref;
  const char *named; /* tokens as the command line has them: the name of a text */
  sb_common common;
} request;

typedef struct run {
  const sb_world *world;
  request *r;
  sb_backend *backend;
  sb_model *model, *ref;
  sb_pass *pass, *ref_pass;
  sb_sequences sequences;
} run;

/* A model folder or an output folder, whichever it is. Blocks do not matter for a model that is
 * only evaluated. */
static sb_status open_model(const sb_world *world, const char *path, sb_model **out) {
  SB_PHASE(phase, "load");
  const sb_blocking blocking = {128, 128, SB_GRID_ASYMMETRIC};
  bool packed = sb_output_is(path);
  SB_TRY(packed ? sb_output_load(world, path, out) : sb_hf_load(world, path, blocking, true, out));
  sb_log_phase("load", sb_span_seconds(&phase), 0, "%s", path);
  return SB_OK;
}

static sb_status make_pass(run *u, sb_model *model, bool keep_packed, sb_pass **out) {
  sb_pass_setup setup = sb_sequences_setup(&u->sequences, model, u->backend,
                                           sb_common_activation_bytes(&u->r->common, u->backend),
                                           sb_progress_ticker());
  setup.keep_packed = keep_packed;
  return sb_pass_create(&setup, out);
}

static sb_status work(run *u, sb_comparison *out) {
  const request *r = u->r;
  const bool packed = r->common.arithmetic == SB_ARITHMETIC_PACKED;
  if (packed && !sb_output_is(r->model))
    return sb_fail(SB_ERR_USAGE,
                   "--compute packed: %s has no %s, so no packed weights; give a folder that "
                   "quantize wrote, or "
                   "take another --compute",
                   r->model, SB_MANIFEST_NAME);
  u->r->named = r->tokens;
  SB_TRY(sb_text_in(u->world, &u->r->common, r->model, NULL, &u->r->tokens));
  SB_TRY(sb_common_backend(u->world, &r->common, &u->backend));
  SB_TRY(open_model(u->world, r->model, &u->model));
  if (r->ref) {
    SB_TRY(open_model(u->world, r->ref, &u->ref));
    if (u->ref->config.vocab != u->model->config.vocab)
      return sb_fail(
          SB_ERR_FORMAT,
          "%s has a vocabulary of %zu, the reference %s one of %zu: not versions of one model",
          r->model, u->model->config.vocab, r->ref, u->ref->config.vocab);
    SB_TRY(
        sb_config_check_length(&u->ref->config, sb_common_seqlen(&r->common, &u->model->config)));
  }
  SB_TRY(sb_common_check_seqlen(&r->common, &u->model->config));
  SB_TRY(sb_sequences_read(u->world, r->tokens, r->common.token_width, u->model->config.vocab,
                           sb_common_seqlen(&r->common, &u->model->config),
                           sb_common_seqs(&r->common), r->common.seed, &u->sequences));
  SB_TRY(make_pass(u, u->model, packed, &u->pass));
  if (r->ref) SB_TRY(make_pass(u, u->ref, false, &u->ref_pass));
  SB_PHASE(phase, "eval");
  sb_progress_begin("eval", 1.0);
  sb_status status;
  if (r->ref) {
    status = sb_pass_compare(u->pass, u->ref_pass, out);
  } else {
    *out = (sb_comparison){.targets = u->sequences.count * (u->sequences.seqlen - 1)};
    status = sb_pass_loss(u->pass, &out->loss);
  }
  sb_progress_end();
  SB_TRY(status);
  double seconds = sb_span_seconds(&phase);
  sb_log_phase("eval", seconds, u->backend->gemm_flops, "%zu sequence%s of %zu tokens, GEMM %.0f%%",
               u->sequences.count, sb_text_s(u->sequences.count), u->sequences.seqlen,
               100.0 * u->backend->gemm_seconds / seconds);
  return SB_OK;
}

static sb_status tell(const run *u, const sb_comparison *c, double seconds) {
  const request *r = u->r;
  if (sb_common_prints(u->world, &r->common)) {
    char against[128] = "";
    if (r->ref)
      snprintf(against, sizeof against,
               "; reference %.4f, mean KL divergence %.5f nats, top-1 agreement %.2f%%",
               exp(c->ref_loss), c->mean_kl, 100 * c->top1_agreement);
    sb_text_print(stdout, "%s: perplexity %.4f over %llu tokens%s", r->model, exp(c->loss),
                  (unsigned long long)c->targets, against);
  }
  json_t *report = sb_report_begin(u->world, "eval");
  sb_report_text(report, "model", r->model);
  sb_report_real(report, "perplexity", exp(c->loss));
  sb_report_real(report, "loss", c->loss);
  sb_report_count(report, "tokens", c->targets);
  sb_report_text(report, "token_file", r->named);
  sb_report_count(report, "seqlen", u->sequences.seqlen);
  if (r->ref) {
    sb_report_text(report, "ref", r->ref);
    sb_report_real(report, "ref_perplexity", exp(c->ref_loss));
    sb_report_real(report, "mean_kl", c->mean_kl);
    sb_report_real(report, "top1_agreement", c->top1_agreement);
  }
  sb_report_real(report, "gemm_flops", u->backend->gemm_flops);
  sb_report_real(report, "gemm_seconds", u->backend->gemm_seconds);
  sb_report_real(report, "seconds", seconds);
  sb_status status = sb_report_peak(u->world, report);
  SB_THEN(sb_report_write(u->world, r->common.json, report));
  json_decref(report);
  return status;
}

sb_status sb_cmd_eval(const sb_world *world, int argc, char **argv) {
  request r = {.common = SB_COMMON_DEFAULTS};
  const sb_argument arguments[] = {
      {"MODEL|OUT", &r.model, "A Hugging Face folder, or a folder that quantize wrote."}};
  const sb_option options[] = {
      {.name = "tokens",
       .kind = SB_OPTION_STRING,
       .value = &r.tokens,
       .file = SB_FILE_READ,
       .operand = "TOKENS",
       .required = true,
       .help = "Tokens to predict (.bin or .npy), or text (.txt, or .jsonl with a \"text\" or a "
               "conversation a line), which the model's tokenizer.json turns into tokens."},
      {.name = "ref",
       .kind = SB_OPTION_STRING,
       .value = &r.ref,
       .file = SB_FILE_READ,
       .operand = "MODEL",
       .help = "Compare with this model, too: mean KL divergence and top-1 agreement."},
  };
  sb_usage usage = {.command = "eval",
                    .synopsis = "MODEL|OUT --tokens TOKENS [--ref MODEL] [options]",
                    .purpose = "Perplexity of a model on a token file, in windows of --seqlen "
                               "tokens: exp of the mean negative\n"
                               "log-likelihood of each token given those before it in its window.",
                    .examples =
                        "  mpirun -n 2 shardbits eval out --tokens heldout.bin --ref smollm2\n"
                        "  shardbits eval smollm2 --tokens heldout.bin --seqs 32 --json -",
                    .arguments = arguments,
                    .argument_count = 1,
                    .options = options,
                    .option_count = sizeof options / sizeof *options};
  bool help;
  sb_comparison comparison = {0};
  const double start = sb_now();
  SB_TRY(sb_common_begin(world, &usage, &r.common,
                         SB_COMMON_SEQUENCES | SB_COMMON_SEED | SB_COMMON_COMPUTE_OR_PACKED |
                             SB_COMMON_DEVICE | SB_COMMON_TOKENS | SB_COMMON_ACTIVATIONS |
                             SB_COMMON_EVENTS,
                         argc, argv, &help));
  if (help) return SB_OK;
  run u = {.world = world, .r = &r};
  sb_status status = sb_world_agree(world, work(&u, &comparison));
  SB_THEN(tell(&u, &comparison, sb_now() - start));
  sb_pass_free(&u.pass);
  sb_pass_free(&u.ref_pass);
  sb_sequences_free(&u.sequences);
  if (u.model) sb_model_free(&u.model);
  if (u.ref) sb_model_free(&u.ref);
  if (u.backend) u.backend->op->destroy(u.backend);
  return status;
}
