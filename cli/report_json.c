#include "cli/report_json.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/memory.h"
#include "base/phases.h"
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

/* ---- phases ---- */

typedef struct cost {
  double seconds, peak;
} cost;

typedef struct phase_table {
  char names[SB_PHASES_MOST][32]; /* of rank 0's phases, in their order */
  cost costs[SB_PHASES_MOST];     /* this rank's */
} phase_table;

/* This rank's costs of the phases that rank 0 names; 0 of one that it never entered. */
static void fill_costs(phase_table *t, const sb_phase_figures *mine, size_t count) {
  for (size_t p = 0; p < SB_PHASES_MOST; p++)
    for (size_t i = 0; i < count; i++)
      if (strncmp(t->names[p], mine[i].name, sizeof t->names[p] - 1) == 0)
        t->costs[p] = (cost){mine[i].seconds, (double)mine[i].peak};
}

/* `costs` is [ranks][SB_PHASES_MOST]. */
static json_t *phase_json(const char *name, const cost *costs, int ranks) {
  json_t *phase = json_object(), *seconds = json_array(), *peaks = json_array();
  cost most = {0, 0};
  double sum = 0;
  for (int r = 0; r < ranks; r++) {
    const cost *c = &costs[(size_t)r * SB_PHASES_MOST];
    most = (cost){fmax(most.seconds, c->seconds), fmax(most.peak, c->peak)};
    sum += c->seconds;
    json_array_append_new(seconds, json_real(c->seconds));
    json_array_append_new(peaks, json_integer((json_int_t)c->peak));
  }
  sb_report_text(phase, "name", name);
  sb_report_real(phase, "seconds", most.seconds);
  sb_report_real(phase, "seconds_mean", sum / ranks);
  sb_report_count(phase, "peak_bytes", (uint64_t)most.peak);
  if (ranks <= SB_REPORT_RANKS)
    json_object_set_new(phase, "ranks",
                        json_pack("{s:O, s:O}", "seconds", seconds, "peak_bytes", peaks));
  json_decref(seconds);
  json_decref(peaks);
  return phase;
}

static sb_status report_phases(const sb_world *world, json_t *report) {
  sb_phase_figures mine[SB_PHASES_MOST];
  const size_t count = sb_phases_read(mine);
  phase_table t = {0};
  cost *all = NULL;
  for (size_t i = 0; world->rank == 0 && i < count; i++)
    snprintf(t.names[i], sizeof t.names[i], "%s", mine[i].name);
  SB_MPI(MPI_Bcast(t.names, sizeof t.names, MPI_CHAR, 0, world->comm));
  fill_costs(&t, mine, count);
  if (world->rank == 0)
    SB_TRY(sb_alloc(&all, (size_t)world->size * SB_PHASES_MOST, sizeof *all, "phases of ranks"));
  SB_MPI(
      MPI_Gather(t.costs, sizeof t.costs, MPI_BYTE, all, sizeof t.costs, MPI_BYTE, 0, world->comm));
  json_t *phases = report ? json_array() : NULL;
  for (size_t p = 0; phases && p < count; p++)
    json_array_append_new(phases, phase_json(t.names[p], &all[p], world->size));
  if (phases) json_object_set_new(report, "phases", phases);
  sb_free(&all);
  return SB_OK;
}

sb_status sb_report_peak(const sb_world *world, json_t *report) {
  uint64_t peak = sb_peak_resident();
  SB_TRY(sb_mpi_max_u64(&peak, 1, world->comm));
  sb_report_count(report, "peak_resident_bytes", peak);
  return report_phases(world, report);
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
