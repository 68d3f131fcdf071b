#include "cli/report_json.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/memory.h"
#include "base/text.h"
#include "io/json.h"
#include "mpi/large.h"

enum { TEXT = 4 * 4096 }; /* of a path, all of it escaped */

void sb_report_real(json_t *report, const char *key, double value) {
  if (report) json_object_set_new(report, key, isfinite(value) ? json_real(value) : json_null());
}

void sb_report_count(json_t *report, const char *key, uint64_t value) {
  if (report)
    json_object_set_new(report, key,
                        json_integer(value > INT64_MAX ? INT64_MAX : (json_int_t)value));
}

/* A name that is not UTF-8, as file names may be, cannot be in JSON as it is. */
void sb_report_text(json_t *report, const char *key, const char *value) {
  if (!report) return;
  json_t *text = json_string(value);
  char shown[TEXT];
  if (!text) text = json_string(sb_text_escaped(shown, sizeof shown, value));
  json_object_set_new(report, key, text);
}

void sb_report_flag(json_t *report, const char *key, bool value) {
  if (report) json_object_set_new(report, key, json_boolean(value));
}

json_t *sb_report_begin(const sb_world *world, const char *command) {
  if (world->rank != 0) return NULL;
  json_t *report = json_object();
  sb_report_text(report, "program", "shardbits");
  sb_report_text(report, "version", SB_VERSION);
  sb_report_text(report, "command", command);
  sb_report_count(report, "ranks", (uint64_t)world->size);
  sb_report_count(report, "nodes", (uint64_t)world->nodes);
  return report;
}

sb_status sb_report_peak(const sb_world *world, json_t *report) {
  uint64_t peak = sb_peak_resident();
  SB_TRY(sb_mpi_max_u64(&peak, 1, world->comm));
  sb_report_count(report, "peak_resident_bytes", peak);
  return SB_OK;
}

static sb_status write_here(const char *path, const json_t *report) {
  if (!report) return sb_fail(SB_ERR_MEMORY, "%s: not enough memory for the report", path);
  if (strcmp(path, "-") != 0) return sb_json_write(path, report);
  /* stdout may be a terminal, which obeys control characters beyond ASCII too */
  if (json_dumpf(report, stdout, JSON_INDENT(2) | JSON_ENSURE_ASCII) != 0 ||
      fputc('\n', stdout) == EOF || fflush(stdout) != 0)
    return sb_fail(SB_ERR_IO, "stdout: the report could not be written: %s", strerror(errno));
  return SB_OK;
}

sb_status sb_report_write(const sb_world *world, const char *path, const json_t *report) {
  if (!path) return SB_OK;
  return sb_world_agree(world, world->rank == 0 ? write_here(path, report) : SB_OK);
}
