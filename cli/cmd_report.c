/* shardbits report: runs as one HTML file. */
#include <stdio.h>
#include <string.h>

#include "base/text.h"
#include "cli/commands.h"
#include "cli/common.h"
#include "cli/report_json.h"
#include "io/atomic.h"
#include "report/report.h"

typedef struct request {
  const char *runs[SB_RUNS_MAX];
  size_t count;
  const char *out;
  sb_common common;
} request;

static sb_status write_page(const request *r, const sb_page *page) {
  if (strcmp(r->out, "-") != 0) return sb_file_write_atomic(r->out, page->text, page->bytes);
  if (fwrite(page->text, 1, page->bytes, stdout) != page->bytes)
    return sb_fail(SB_ERR_IO, "stdout: the report could not be written");
  return SB_OK;
}

/* On rank 0 alone: the work of a moment. */
static sb_status make(const request *r, size_t *bytes) {
  sb_page page = {0};
  sb_status status = sb_report_make(r->runs, r->count, &page);
  SB_THEN(write_page(r, &page));
  *bytes = page.bytes;
  sb_page_free(&page);
  return status;
}

sb_status sb_cmd_report(const sb_world *world, int argc, char **argv) {
  request r = {.common = SB_COMMON_DEFAULTS};
  const sb_argument arguments[] = {{.name = "RUN.json",
                                    .value = r.runs,
                                    .help = "What --json of quantize, eval, reorder, train or "
                                            "profile wrote, or --events of train; at most 64."}};
  const sb_option options[] = {{.name = "out",
                                .letter = 'o',
                                .kind = SB_OPTION_STRING,
                                .value = &r.out,
                                .file = SB_FILE_WRITTEN,
                                .operand = "FILE",
                                .required = true,
                                .help = "The page; - writes it to stdout."}};
  sb_usage usage = {
      .command = "report",
      .synopsis = "RUN.json... -o report.html [options]",
      .purpose = "One HTML file that shows runs: bits by layer and matrix, losses against budgets "
                 "and sizes, the\nsearch, time and memory. It needs no network and has no script. "
                 "An eval belongs to the quantize run\nwhose OUT is its MODEL, in the same words.",
      .examples = "  shardbits quantize MODEL --calib TOKENS.bin --bits 3 -o OUT --json run.json\n"
                  "  shardbits eval OUT --ref MODEL --tokens HELDOUT.bin --json eval.json\n"
                  "  shardbits report run.json eval.json -o report.html",
      .arguments = arguments,
      .argument_count = 1,
      .repeats = &r.count,
      .most_repeats = SB_RUNS_MAX,
      .options = options,
      .option_count = sizeof options / sizeof *options};
  bool help;
  size_t bytes = 0;
  SB_TRY(sb_common_begin(world, &usage, &r.common, 0, argc, argv, &help));
  if (help) return SB_OK;
  sb_status status = sb_world_agree(world, world->rank == 0 ? make(&r, &bytes) : SB_OK);
  json_t *report = sb_report_begin(world, "report");
  sb_report_text(report, "path", r.out);
  sb_report_count(report, "runs", r.count);
  sb_report_count(report, "bytes", bytes);
  if (status == SB_OK && strcmp(r.out, "-") != 0 && sb_common_prints(world, &r.common))
    sb_text_print(stdout, "%s: %zu file%s, %zu KiB", r.out, r.count, sb_text_s(r.count),
                  (bytes + 1023) / 1024);
  SB_THEN(sb_report_write(world, r.common.json, report));
  json_decref(report);
  return status;
}
