#include "cli/observe.h"

#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/text.h"
#include "base/trace.h"
#include "cli/targets.h"
#include "cli/paths.h"

/* Rank 0's value of a variable, "" where it has none. Collective. */
static sb_status share_variable(const sb_world *world, const char *name, char *text, size_t room) {
  const char *value = world->rank == 0 ? getenv(name) : NULL;
  sb_status status = SB_OK;
  memset(text, 0, room);
  if (value && strlen(value) >= room)
    status = sb_fail(SB_ERR_USAGE, "%s: %zu bytes are too long", name, strlen(value));
  else if (value)
    strcpy(text, value);
  SB_AGREE(world, status);
  SB_MPI(MPI_Bcast(text, (int)room, MPI_CHAR, 0, world->comm));
  return SB_OK;
}

/* The trace is written at the end, when the working folder may have been replaced (cli/paths.h). */
static sb_status settle_path(char *path, int argc, char **argv) {
  char absolute[SB_PATH_MAX];
  SB_TRY(sb_path_absolute(path, absolute));
  strcpy(path, absolute);
  return sb_targets_check_trace(path, argc, argv);
}

sb_status sb_observe_begin(const sb_world *world, int argc, char **argv, sb_observer *o) {
  char log[256];
  bool debugs;
  *o = (sb_observer){0};
  SB_TRY(share_variable(world, "SHARDBITS_LOG", log, sizeof log));
  SB_TRY(sb_log_parse(log, world->rank, world->size, &debugs));
  sb_log_set_debug(debugs, world->rank);
  SB_TRY(share_variable(world, "SHARDBITS_TRACE", o->path, sizeof o->path));
  if (o->path[0] == 0) return SB_OK;
  SB_AGREE(world, world->rank == 0 ? settle_path(o->path, argc, argv) : SB_OK);
  SB_TRY(sb_trace_align(world, &o->clock));
  o->traces = true;
  sb_trace_start(SB_TRACE_EVENTS);
  return SB_OK;
}

static sb_status write_piece(void *context, const char *text, size_t bytes) {
  return sb_atomic_file_append(context, text, bytes, 0);
}

sb_status sb_observe_end(const sb_world *world, sb_observer *o) {
  sb_atomic_file file = SB_NO_ATOMIC_FILE;
  sb_trace_totals totals;
  if (!o->traces) return SB_OK;
  o->traces = false;
  sb_trace_stop();
  sb_status status =
      sb_world_agree(world, world->rank == 0 ? sb_atomic_file_begin(o->path, &file) : SB_OK);
  SB_THEN(sb_trace_gather(world, &o->clock, write_piece, &file, &totals));
  SB_THEN(sb_world_agree(world, world->rank == 0 ? sb_atomic_file_commit(&file) : SB_OK));
  sb_atomic_file_abandon(&file);
  sb_trace_free();
  if (status == SB_OK)
    sb_log_line("trace     %s: %llu spans of %d rank%s%s", o->path,
                (unsigned long long)totals.events, world->size, sb_text_s(world->size),
                totals.dropped ? ", and more that were dropped" : "");
  return status;
}
