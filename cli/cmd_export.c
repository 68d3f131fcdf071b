/* shardbits export: back to an ordinary Hugging Face folder. */
#include <inttypes.h>
#include <stdio.h>

#include "base/log.h"
#include "base/memory.h"
#include "base/progress.h"
#include "base/text.h"
#include "base/trace.h"
#include "cli/commands.h"
#include "cli/common.h"
#include "cli/report_json.h"
#include "folders/export.h"
#include "folders/export_exl3.h"
#include "folders/output_load.h"
#include "folders/output_write.h"
#include "io/manifest.h"

typedef enum folder_format { FORMAT_HF, FORMAT_EXL3 } folder_format;
static const char *const format_names[] = {[FORMAT_HF] = "hf", [FORMAT_EXL3] = "exl3", NULL};

typedef struct request {
  const char *source;
  folder_format format;
  sb_dtype dtype;
  bool dtype_given;
  sb_common common;
} request;

static sb_status load(const sb_world *world, const request *r, sb_model **out) {
  SB_PHASE(phase, "load");
  sb_status status = SB_OK;
  if (world->rank == 0 && !sb_output_is(r->source))
    status = sb_fail(SB_ERR_IO, "%s: has no %s; export takes a folder that quantize wrote",
                     r->source, SB_MANIFEST_NAME);
  SB_AGREE(world, status);
  SB_TRY(sb_output_load(world, r->source, out));
  sb_log_phase("load", sb_span_seconds(&phase), 0, "%s", r->source);
  return SB_OK;
}

/* Writes the folder; *bits is of EXL3 alone. */
static sb_status write(const request *r, sb_model *model, sb_destination *out,
                       sb_hf_folder_stats *stats, double *bits) {
  const uint64_t file_bytes = sb_common_file_bytes(&r->common);
  if (r->format == FORMAT_EXL3)
    return sb_export_exl3(model, r->source, out, file_bytes, sb_progress_ticker(), stats, bits);
  return sb_export_dequantized(model, r->source, out, r->dtype, file_bytes, sb_progress_ticker(),
                               stats);
}

static sb_status export(const sb_world *world, const request *r, sb_model *model,
                        sb_destination *out) {
  sb_hf_folder_stats stats;
  double bits = 0;
  SB_PHASE(phase, "export");
  sb_progress_begin("export", 1.0);
  sb_status status = write(r, model, out, &stats, &bits);
  sb_progress_end();
  SB_TRY(status);
  const bool exl3 = r->format == FORMAT_EXL3;
  const double seconds = sb_span_seconds(&phase), mib = (double)stats.bytes / 0x1p20;
  sb_log_phase("export", seconds, 0, "%.1f MiB/s", mib / seconds);
  if (exl3 && sb_common_prints(world, &r->common))
    sb_text_print(stdout, "%s: %.1f MiB of EXL3 tensors, %.2f bits a weight, in %" PRIu64 " file%s",
                  r->common.out, mib, bits, stats.files, sb_text_s(stats.files));
  else if (sb_common_prints(world, &r->common))
    sb_text_print(stdout, "%s: %.1f MiB of %s weights in %" PRIu64 " file%s", r->common.out, mib,
                  sb_common_dtypes[r->dtype], stats.files, sb_text_s(stats.files));
  json_t *report = sb_report_begin(world, "export");
  sb_report_text(report, "path", r->common.out);
  sb_report_text(report, "format", format_names[r->format]);
  if (exl3)
    sb_report_real(report, "code_bits", bits);
  else
    sb_report_text(report, "dtype", sb_common_dtypes[r->dtype]);
  sb_report_count(report, "files", stats.files);
  sb_report_count(report, "bytes", stats.bytes);
  sb_report_real(report, "seconds", seconds);
  status = sb_report_peak(world, report);
  SB_THEN(sb_report_write(world, r->common.json, report));
  json_decref(report);
  return status;
}

sb_status sb_cmd_export(const sb_world *world, int argc, char **argv) {
  request r = {.dtype = SB_BF16, .common = SB_COMMON_DEFAULTS};
  const sb_argument arguments[] = {{"OUT", &r.source, "A folder that quantize wrote."}};
  const sb_option options[] = {
      {.name = "format",
       SB_OPTION_ENUM(r.format, format_names),
       .help = "hf: matrices dequantized. exl3: the codes as they are, in the format of exllamav3, "
               "of a folder that quantize --widths-for exl3 wrote (docs/exl3.md)."},
      {.name = "dtype",
       .given = &r.dtype_given,
       SB_OPTION_ENUM(r.dtype, sb_common_dtypes),
       .help = "Type of all weights written with --format hf."},
  };
  sb_usage usage = {.command = "export",
                    .synopsis = "OUT -o DIR [options]",
                    .purpose =
                        "Writes a quantized model as an ordinary Hugging Face folder, its matrices "
                        "dequantized, for tools\n"
                        "that know nothing of mixed bits (transformers, lm-evaluation-harness); or "
                        "as EXL3 tensors.",
                    .examples = "  shardbits export out -o out-hf\n"
                                "  shardbits export out -o out-exl3 --format exl3\n"
                                "  mpirun -n 8 shardbits export out -o out-hf --dtype f16",
                    .arguments = arguments,
                    .argument_count = 1,
                    .options = options,
                    .option_count = sizeof options / sizeof *options};
  bool help;
  sb_model *model = NULL;
  SB_TRY(sb_common_begin(world, &usage, &r.common, SB_COMMON_FOLDER, argc, argv, &help));
  if (help) return SB_OK;
  if (r.dtype_given && r.format == FORMAT_EXL3)
    return sb_fail(SB_ERR_USAGE,
                   "export: --dtype %s does not go with --format exl3, which keeps the types of "
                   "the source",
                   sb_common_dtypes[r.dtype]);
  sb_destination out = {0};
  sb_status status = sb_destination_begin(world, r.common.out, r.common.overwrite, r.source, &out);
  SB_THEN(load(world, &r, &model));
  SB_THEN(export(world, &r, model, &out));
  sb_destination_end(&out);
  if (model) sb_model_free(&model);
  return status;
}
