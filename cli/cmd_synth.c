/* shardbits synth: a random model of any architecture, for benchmarks. */
#include <inttypes.h>
#include <stdio.h>

#include "base/log.h"
#include "base/progress.h"
#include "base/text.h"
#include "base/trace.h"
#include "cli/commands.h"
#include "cli/common.h"
#include "cli/report_json.h"
#include "folders/synth.h"

typedef struct request {
  const char *config;
  size_t layers, tokens;
  uint64_t seed;
  sb_dtype dtype;
  sb_common common;
} request;

static sb_status make(const sb_world *world, const request *r, sb_destination *out,
                      json_t *report) {
  const sb_synth_setup setup = {.config = r->config,
                                .out = out,
                                .layers = r->layers,
                                .dtype = r->dtype,
                                .seed = r->seed,
                                .tokens = r->tokens,
                                .file_bytes = sb_common_file_bytes(&r->common),
                                .ticker = sb_progress_ticker()};
  SB_PHASE(phase, "weights");
  sb_hf_folder_stats stats;
  uint64_t parameters = 0;
  char count[SB_TEXT_SIZE];
  sb_progress_begin("weights", 1.0);
  sb_status status = sb_synth_make(world, &setup, &stats, &parameters);
  sb_progress_end();
  SB_TRY(status);
  const double seconds = sb_span_seconds(&phase);
  sb_log_phase("weights", seconds, 0, "%.1f MiB/s", (double)stats.bytes / 0x1p20 / seconds);
  if (sb_common_prints(world, &r->common)) {
    sb_text_print(stdout,
                  "%s: %s random parameters, %.1f MiB of %s weights in %" PRIu64
                  " file%s; it has learned nothing",
                  r->common.out, sb_text_count(count, sizeof count, (double)parameters),
                  (double)stats.bytes / 0x1p20, sb_common_dtypes[r->dtype], stats.files,
                  sb_text_s(stats.files));
    if (r->tokens)
      sb_text_print(stdout, "%s/tokens.bin: %zu random token ids", r->common.out, r->tokens);
  }
  sb_report_text(report, "path", r->common.out);
  sb_report_text(report, "dtype", sb_common_dtypes[r->dtype]);
  sb_report_count(report, "seed", r->seed);
  sb_report_count(report, "parameters", parameters);
  sb_report_count(report, "tokens", r->tokens);
  sb_report_count(report, "files", stats.files);
  sb_report_count(report, "bytes", stats.bytes);
  sb_report_real(report, "seconds", seconds);
  return sb_report_peak(world, report);
}

sb_status sb_cmd_synth(const sb_world *world, int argc, char **argv) {
  request r = {.dtype = SB_BF16, .common = SB_COMMON_DEFAULTS};
  const sb_option options[] = {
      {.name = "config",
       .kind = SB_OPTION_STRING,
       .value = &r.config,
       .file = SB_FILE_READ,
       .operand = "FILE",
       .required = true,
       .help = "config.json of any model that quantize takes, or the folder it is in."},
      {.name = "layers",
       .kind = SB_OPTION_SIZE,
       .value = &r.layers,
       .low = 1,
       .high = 4096,
       .operand = "N",
       .help = "Decoder layers: the first N, the same as in the whole model.",
       .unset = "all that config.json has"},
      {.name = "dtype",
       SB_OPTION_ENUM(r.dtype, sb_common_dtypes),
       .help = "Type of all weights written."},
      {.name = "tokens",
       .kind = SB_OPTION_SIZE,
       .value = &r.tokens,
       .low = 0,
       .high = 1e12,
       .operand = "N",
       .help = "Also write N random token ids to DIR/tokens.bin, for --calib and --tokens."},
      {.name = "seed",
       .kind = SB_OPTION_SEED,
       .value = &r.seed,
       .operand = "N",
       .help = "Seed of weights and tokens."},
  };
  sb_usage usage = {.command = "synth",
                    .synopsis = "--config FILE -o DIR [options]",
                    .purpose = "Writes a random model as an ordinary Hugging Face folder: any "
                               "architecture, any size, weights\n"
                               "with the outliers and tails of trained ones. For benchmarks: it "
                               "has learned nothing. The files "
                               "are\n"
                               "the same on any number of ranks.",
                    .examples = "  shardbits synth --config Llama-3-70B/config.json --layers 2 "
                                "--tokens 65536 -o two-layers\n"
                                "  mpirun -n 8 shardbits synth --config config.json -o model",
                    .options = options,
                    .option_count = sizeof options / sizeof *options};
  bool help;
  SB_TRY(sb_common_begin(world, &usage, &r.common, SB_COMMON_FOLDER | SB_COMMON_EVENTS, argc, argv,
                         &help));
  if (help) return SB_OK;
  json_t *report = sb_report_begin(world, "synth");
  sb_destination out = {0};
  sb_status status = sb_destination_begin(world, r.common.out, r.common.overwrite, NULL, &out);
  SB_THEN(make(world, &r, &out, report));
  sb_destination_end(&out);
  SB_THEN(sb_report_write(world, r.common.json, report));
  json_decref(report);
  return status;
}
