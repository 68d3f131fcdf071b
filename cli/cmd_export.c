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
#include "folders/export_compressed_tensors.h"
#include "folders/export_exl3.h"
#include "folders/export_gptq.h"
#include "folders/export_mlx.h"
#include "folders/output_load.h"
#include "folders/output_write.h"
#include "io/manifest.h"

/* Formats that keep codes are tables of functions (folders/transcode.h). */
typedef enum folder_format {
  FORMAT_HF,
  FORMAT_EXL3,
  FORMAT_COMPRESSED_TENSORS,
  FORMAT_GPTQ,
  FORMAT_MLX
} folder_format;
static const char *const format_names[] = {[FORMAT_HF] = "hf",
                                           [FORMAT_EXL3] = "exl3",
                                           [FORMAT_COMPRESSED_TENSORS] = "compressed-tensors",
                                           [FORMAT_GPTQ] = "gptq",
                                           [FORMAT_MLX] = "mlx",
                                           NULL};
static const char *const titles[] = {[FORMAT_EXL3] = "EXL3",
                                     [FORMAT_COMPRESSED_TENSORS] = "compressed-tensors",
                                     [FORMAT_GPTQ] = "GPTQ",
                                     [FORMAT_MLX] = "MLX"};
static const sb_code_format *const code_formats[] = {[FORMAT_COMPRESSED_TENSORS] =
                                                         &sb_format_compressed_tensors,
                                                     [FORMAT_GPTQ] = &sb_format_gptq,
                                                     [FORMAT_MLX] = &sb_format_mlx};

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

/* Writes the folder; *bits is of formats that keep codes. */
static sb_status write(const request *r, sb_model *model, sb_destination *out,
                       sb_hf_folder_stats *stats, double *bits) {
  const uint64_t file_bytes = sb_common_file_bytes(&r->common);
  const sb_ticker ticker = sb_progress_ticker();
  switch (r->format) {
  case FORMAT_HF:
    return sb_export_dequantized(model, r->source, out, r->dtype, file_bytes, ticker, stats);
  case FORMAT_EXL3:
    return sb_export_exl3(model, r->source, out, file_bytes, ticker, stats, bits);
  default:
    return sb_transcode(code_formats[r->format], model, r->source, out, r->dtype, file_bytes,
                        ticker, stats, bits);
  }
}

static void print(const request *r, const sb_hf_folder_stats *stats, double bits) {
  const double mib = (double)stats->bytes / 0x1p20;
  if (r->format == FORMAT_HF)
    sb_text_print(stdout, "%s: %.1f MiB of %s weights in %" PRIu64 " file%s", r->common.out, mib,
                  sb_common_dtypes[r->dtype], stats->files, sb_text_s(stats->files));
  else
    sb_text_print(
        stdout, "%s: %.1f MiB of %s tensors, codes of %.2f bits a weight, in %" PRIu64 " file%s",
        r->common.out, mib, titles[r->format], bits, stats->files, sb_text_s(stats->files));
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
  const double seconds = sb_span_seconds(&phase);
  sb_log_phase("export", seconds, 0, "%.1f MiB/s", (double)stats.bytes / 0x1p20 / seconds);
  if (sb_common_prints(world, &r->common)) print(r, &stats, bits);
  json_t *report = sb_report_begin(world, "export");
  sb_report_text(report, "path", r->common.out);
  sb_report_text(report, "format", format_names[r->format]);
  if (r->format != FORMAT_HF) sb_report_real(report, "code_bits", bits);
  if (r->format != FORMAT_EXL3) sb_report_text(report, "dtype", sb_common_dtypes[r->dtype]);
  sb_report_count(report, "files", stats.files);
  sb_report_count(report, "bytes", stats.bytes);
  sb_report_real(report, "seconds", seconds);
  status = sb_report_peak(world, report);
  SB_THEN(sb_report_write(world, r->common.json, report));
  json_decref(report);
  return status;
}

sb_status sb_cmd_export(const sb_world *world, int argc, char **argv) {
  request r = {.common = SB_COMMON_DEFAULTS};
  const sb_argument arguments[] = {{"OUT", &r.source, "A folder that quantize wrote."}};
  const sb_option options[] = {
      {.name = "format",
       SB_OPTION_ENUM(r.format, format_names),
       .help =
           "hf: matrices dequantized. The others keep the codes as they are; what a folder must "
           "be for them, quantize --widths-for sees to (docs/servers.md). compressed-tensors: "
           "for vLLM from 0.33 on (2 to 8 bits on CUDA, 4 on processors) and SGLang (4 and 8); "
           "one width for q, k and v, and for gate and up. gptq: for GPTQModel from 7.7 on (2 to "
           "8 bits); vLLM takes signed grids of 4 and 8 bits of it. mlx: for mlx-lm from 0.32 on "
           "(2 to 6 and 8 bits, embedding and LM head too). exl3: for exllamav3 "
           "(docs/exl3.md)."},
      {.name = "dtype",
       .given = &r.dtype_given,
       SB_OPTION_ENUM(r.dtype, sb_common_dtypes),
       .unset = "bf16; for compressed-tensors, gptq and mlx f16 where scales (mlx: zeros) have "
                "more bits",
       .help =
           "Type of all weights written with --format hf; with compressed-tensors, gptq and mlx "
           "of what is not quantized, and of scales (gptq's are always f16). Servers compute in "
           "it; bf16 takes scales of quantize --scale-type bf16."},
  };
  sb_usage usage = {.command = "export",
                    .synopsis = "OUT -o DIR [options]",
                    .purpose =
                        "Writes a quantized model as an ordinary Hugging Face folder, its matrices "
                        "dequantized, for tools\n"
                        "that know nothing of mixed bits (transformers, lm-evaluation-harness); or "
                        "its codes in the\nformat of a server.",
                    .examples = "  shardbits export out -o out-hf\n"
                                "  shardbits export out -o served --format compressed-tensors\n"
                                "  mpirun -n 8 shardbits export out -o out-hf --dtype f16",
                    .arguments = arguments,
                    .argument_count = 1,
                    .options = options,
                    .option_count = sizeof options / sizeof *options};
  bool help;
  sb_model *model = NULL;
  SB_TRY(sb_common_begin(world, &usage, &r.common, SB_COMMON_FOLDER | SB_COMMON_EVENTS, argc, argv,
                         &help));
  if (help) return SB_OK;
  if (r.dtype_given && r.format == FORMAT_EXL3)
    return sb_fail(SB_ERR_USAGE,
                   "export: --dtype %s does not go with --format exl3, which keeps the types of "
                   "the source",
                   sb_common_dtypes[r.dtype]);
  sb_destination out = {0};
  sb_status status = sb_destination_begin(world, r.common.out, r.common.overwrite, r.source, &out);
  SB_THEN(load(world, &r, &model));
  if (status == SB_OK && !r.dtype_given)
    r.dtype = r.format == FORMAT_HF    ? SB_BF16
              : r.format == FORMAT_MLX ? sb_mlx_dtype(model)
                                       : sb_transcode_dtype(model);
  SB_THEN(export(world, &r, model, &out));
  sb_destination_end(&out);
  if (model) sb_model_free(&model);
  return status;
}
