/* The report of a command for machines: --json FILE. A JSON object on rank 0, NULL elsewhere. The
 * setters do nothing with NULL, so that every rank may run the same lines. */
#ifndef SB_CLI_REPORT_JSON_H
#define SB_CLI_REPORT_JSON_H

#include <jansson.h>
#include <stdint.h>

#include "base/status.h"
#include "mpi/world.h"

/* {"program": "shardbits", "version", "command", "ranks", "nodes"} on rank 0.
 * Local. Release with json_decref. */
json_t *sb_report_begin(const sb_world *world, const char *command);

/* report[key] = value, appended in the order of the calls. A number that JSON cannot hold (NaN,
 * infinity) becomes null; counts beyond 2^63 - 1 are clamped to it; text that is not UTF-8 is
 * escaped (sb_text_escaped). Local. */
void sb_report_real(json_t *report, const char *key, double value);
void sb_report_count(json_t *report, const char *key, uint64_t value);
void sb_report_text(json_t *report, const char *key, const char *value);
void sb_report_flag(json_t *report, const char *key, bool value);

enum { SB_REPORT_RANKS = 64 }; /* with more, a report has no list of ranks */
/* report["peak_resident_bytes"] = the largest peak of resident memory of any rank so far.
 * report["phases"] = what each phase (base/phases.h) took: [{"name", "seconds", "seconds_mean",
 * "peak_bytes", "ranks": {"seconds": [...], "peak_bytes": [...]}}], the first and third the most of
 * any rank. Phases that rank 0 does not know are left out. Collective. Messages: 16 bytes a phase
 * and rank. */
sb_status sb_report_peak(const sb_world *world, json_t *report);

/* Writes the report to `path`, the value of --json, complete or not at all. NULL: nothing; "-":
 * stdout. Collective: every rank returns the outcome of rank 0. */
sb_status sb_report_write(const sb_world *world, const char *path, const json_t *report);

#endif
