/* shardbits verify: checks that an output folder is as it was written, and that other commands take
 * it. */
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
#include "folders/output_load.h"
#include "folders/output_write.h"

static sb_status verify(const sb_world *world, const char *folder, const sb_common *common) {
  sb_output_stats stats;
  SB_PHASE(phase, "verify");
  sb_progress_begin("verify", 1.0);
  sb_status status = sb_output_verify(world, folder, sb_progress_ticker(), &stats);
  sb_progress_end();
  SB_TRY(status);
  double seconds = sb_span_seconds(&phase);
  sb_log_phase("verify", seconds, 0, "%" PRIu64 " frames, %.1f MiB stored, %.1f MiB/s",
               stats.frames, (double)stats.stored_bytes / 0x1p20,
               (double)stats.stored_bytes / 0x1p20 / seconds);
  if (sb_common_prints(world, common))
    sb_text_print(
        stdout,
        "%s: all %" PRIu64
        " frames are intact (%.1f MiB, %.4f effective bits a weight, content hash %016" PRIx64 ")",
        folder, stats.frames, (double)stats.stored_bytes / 0x1p20, stats.effective_bits,
        stats.content_hash);
  char hash[32];
  snprintf(hash, sizeof hash, "%016" PRIx64, stats.content_hash);
  json_t *report = sb_report_begin(world, "verify");
  sb_report_text(report, "path", folder);
  sb_report_count(report, "frames", stats.frames);
  sb_report_count(report, "stored_bytes", stats.stored_bytes);
  sb_report_real(report, "effective_bits", stats.effective_bits);
  sb_report_real(report, "code_bits", stats.code_bits_mean);
  sb_report_text(report, "content_hash", hash);
  sb_report_real(report, "seconds", seconds);
  status = sb_report_peak(world, report);
  SB_THEN(sb_report_write(world, common->json, report));
  json_decref(report);
  return status;
}

sb_status sb_cmd_verify(const sb_world *world, int argc, char **argv) {
  const char *folder = NULL;
  sb_common common = SB_COMMON_DEFAULTS;
  const sb_argument arguments[] = {{"OUT", &folder, "A folder that quantize wrote."}};
  sb_usage usage = {.command = "verify",
                    .synopsis = "OUT [options]",
                    .purpose = "Decodes every frame of every shard, compares it with its checksum "
                               "and looks at its content:\n"
                               "sizes, widths, finite numbers. Compares the shards with the "
                               "manifest, opens the side files.\n"
                               "What eval or export would refuse, it refuses. Each rank takes its "
                               "share of the shards.",
                    .examples = "  shardbits verify out\n"
                                "  mpirun -n 8 shardbits verify out --json -",
                    .arguments = arguments,
                    .argument_count = 1};
  bool help;
  SB_TRY(sb_common_begin(world, &usage, &common, SB_COMMON_EVENTS, argc, argv, &help));
  if (help) return SB_OK;
  return verify(world, folder, &common);
}
