/* shardbits inspect: what a model folder, or an output folder, holds. */
#include <string.h>

#include "cli/commands.h"
#include "cli/common.h"
#include "cli/inspect.h"
#include "cli/report_json.h"
#include "folders/output_load.h"
#include "folders/output_write.h"

sb_status sb_cmd_inspect(const sb_world *world, int argc, char **argv) {
  sb_inspect_request request = {0};
  sb_common common = SB_COMMON_DEFAULTS;
  const sb_argument arguments[] = {
      {"PATH", &request.path, "A Hugging Face folder, or a folder that quantize wrote."}};
  const sb_option options[] = {
      {.name = "check",
       .kind = SB_OPTION_FLAG,
       .value = &request.check,
       .help = "Also read every weight, and refuse NaN and infinity."},
  };
  sb_usage usage = {
      .command = "inspect",
      .synopsis = "PATH [options]",
      .purpose = "Reads the headers of a model (not its weights) and says what is in it: sizes, "
                 "types, how many\n"
                 "blocks it is cut into, and what uniform quantization to 1 to 8 bits costs in "
                 "effective bits\n"
                 "per weight. For an output folder: its bits, sizes and shards.",
      .examples = "  shardbits inspect models/Llama-3.1-8B\n"
                  "  mpirun -n 8 shardbits inspect models/Llama-3.1-8B --check\n"
                  "  shardbits inspect out --json -",
      .arguments = arguments,
      .argument_count = 1,
      .options = options,
      .option_count = 1,
  };
  bool help;
  SB_TRY(sb_common_begin(world, &usage, &common, SB_COMMON_BLOCK, argc, argv, &help));
  if (help) return SB_OK;
  memcpy(request.block, common.block, sizeof request.block);
  json_t *report = sb_report_begin(world, "inspect");
  FILE *out = sb_common_prints(world, &common) ? stdout : NULL;
  sb_status status = sb_output_is(request.path) ? sb_inspect_output(world, &request, out, report)
                                                : sb_inspect_model(world, &request, out, report);
  SB_THEN(sb_report_write(world, common.json, report));
  json_decref(report);
  return status;
}
