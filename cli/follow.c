#include "cli/follow.h"

#include "base/clock.h"
#include "base/memory.h"
#include "base/text.h"
#include "base/watch.h"
#include "cli/report_json.h"
#include "io/events.h"

static struct {
  sb_events *events;
  double begun;
} the_file;

bool sb_follow_is_on(void) {
  return the_file.events != NULL;
}

/* What cannot be written has been warned of, and costs no run. */
void sb_follow_event(const char *name, json_t *members) {
  if (!the_file.events) {
    json_decref(members);
    return;
  }
  json_t *event = json_object();
  sb_report_text(event, "event", name);
  sb_report_real(event, "seconds", sb_now() - the_file.begun);
  json_object_update(event, members);
  json_decref(members);
  (void)sb_events_write(the_file.events, event);
}

static void on_phase(void *context, const char *name, bool begins, double seconds) {
  json_t *members = json_object();
  (void)context;
  sb_report_text(members, "phase", name);
  if (!begins) {
    sb_report_real(members, "took", seconds);
    sb_report_count(members, "peak_bytes", sb_peak_resident());
  }
  sb_follow_event(begins ? "phase_begin" : "phase_end", members);
}

static void on_progress(void *context, const char *title, double share, double seconds,
                        double left) {
  json_t *members = json_object();
  (void)context;
  sb_report_text(members, "what", title);
  sb_report_real(members, "share", share);
  sb_report_real(members, "took", seconds);
  sb_report_real(members, "left", left);
  sb_follow_event("progress", members);
}

static void on_warning(void *context, const char *text) {
  json_t *members = json_object();
  (void)context;
  sb_report_text(members, "message", text);
  sb_follow_event("warning", members);
}

static sb_status begin_here(const char *path) {
  SB_TRY(sb_events_open(path, 0, &the_file.events));
  the_file.begun = sb_now();
  sb_watch(&(sb_watcher){.phase = on_phase, .progress = on_progress, .warning = on_warning});
  return SB_OK;
}

sb_status sb_follow_begin(const sb_world *world, const char *path, const char *command) {
  if (!path) return SB_OK;
  SB_AGREE(world, world->rank == 0 ? begin_here(path) : SB_OK);
  json_t *members = json_object();
  sb_report_text(members, "program", "shardbits");
  sb_report_text(members, "version", SB_VERSION);
  sb_report_text(members, "command", command);
  sb_report_count(members, "ranks", (uint64_t)world->size);
  sb_report_count(members, "nodes", (uint64_t)world->nodes);
  sb_follow_event("begin", members);
  return SB_OK;
}

void sb_follow_end(sb_status status) {
  if (!the_file.events) return;
  json_t *members = json_object();
  sb_report_flag(members, "complete", status == SB_OK);
  if (status != SB_OK) sb_report_text(members, "message", sb_message());
  sb_report_count(members, "peak_bytes", sb_peak_resident());
  sb_follow_event("end", members);
  sb_watch(NULL);
  sb_events_close(&the_file.events);
}
