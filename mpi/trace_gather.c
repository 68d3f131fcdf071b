#include "mpi/trace_gather.h"

#include <math.h>
#include <stdio.h>

#include "base/clock.h"
#include "base/memory.h"
#include "base/trace.h"

enum { ROUND_TRIPS = 16, PIECE = 256 << 10, LINE = 1024, TAG = 71 };

/* ---- clocks ---- */

/* Rank 0's half: the clock of rank `other` reads `theirs` at some moment
 * between `begin` and `end`. */
static sb_status ask(const sb_world *world, int other, sb_trace_clock *clock) {
  *clock = (sb_trace_clock){.uncertainty = INFINITY};
  for (int i = 0; i < ROUND_TRIPS; i++) {
    const double begin = sb_now();
    double theirs;
    SB_MPI(MPI_Send(NULL, 0, MPI_BYTE, other, TAG, world->comm));
    SB_MPI(MPI_Recv(&theirs, 1, MPI_DOUBLE, other, TAG, world->comm, MPI_STATUS_IGNORE));
    const double end = sb_now(), half = 0.5 * (end - begin);
    if (half >= clock->uncertainty) continue;
    *clock = (sb_trace_clock){.offset = begin + half - theirs, .uncertainty = half};
  }
  return SB_OK;
}

static sb_status answer(const sb_world *world) {
  for (int i = 0; i < ROUND_TRIPS; i++) {
    SB_MPI(MPI_Recv(NULL, 0, MPI_BYTE, 0, TAG, world->comm, MPI_STATUS_IGNORE));
    const double mine = sb_now();
    SB_MPI(MPI_Send(&mine, 1, MPI_DOUBLE, 0, TAG, world->comm));
  }
  return SB_OK;
}

sb_status sb_trace_align(const sb_world *world, sb_trace_clock *clock) {
  double pair[2] = {0, 0};
  *clock = (sb_trace_clock){0};
  /* The ranks of a node share a clock, so one of them is asked. Rank 0 is the first of its own. */
  if (world->rank == 0) {
    for (int r = 1; r < world->size; r++) {
      sb_trace_clock theirs;
      if (world->node_rank_of[r] != 0) continue;
      SB_TRY(ask(world, r, &theirs));
      pair[0] = theirs.offset;
      pair[1] = theirs.uncertainty;
      SB_MPI(MPI_Send(pair, 2, MPI_DOUBLE, r, TAG, world->comm));
    }
    pair[0] = pair[1] = 0;
  } else if (world->node_rank == 0) {
    SB_TRY(answer(world));
    SB_MPI(MPI_Recv(pair, 2, MPI_DOUBLE, 0, TAG, world->comm, MPI_STATUS_IGNORE));
  }
  SB_MPI(MPI_Bcast(pair, 2, MPI_DOUBLE, 0, world->node_comm));
  *clock = (sb_trace_clock){.offset = pair[0], .uncertainty = pair[1]};
  return SB_OK;
}

/* ---- text ---- */

/* A rank's text on its way: cut into pieces, which go to the sink on rank 0,
 * to rank 0 elsewhere. */
typedef struct stream {
  const sb_world *world;
  sb_trace_sink sink;
  void *context;
  double shift; /* from this rank's clock to the trace's */
  char *piece;
  size_t filled;
  sb_status status; /* of the sink: after a failure the rest is thrown away */
} stream;

static void deliver(stream *s, const char *text, size_t bytes) {
  if (s->status == SB_OK) s->status = s->sink(s->context, text, bytes);
}

static sb_status flush(stream *s) {
  const size_t bytes = s->filled;
  s->filled = 0;
  if (bytes == 0) return SB_OK;
  if (s->world->rank != 0)
    SB_MPI(MPI_Send(s->piece, (int)bytes, MPI_BYTE, 0, TAG, s->world->comm));
  else
    deliver(s, s->piece, bytes);
  return SB_OK;
}

/* Room for one more line. */
static sb_status line_room(stream *s, char **line) {
  if (PIECE - s->filled < LINE) SB_TRY(flush(s));
  *line = s->piece + s->filled;
  return SB_OK;
}

static void line_done(stream *s, int bytes) {
  if (bytes > 0) s->filled += (size_t)bytes < LINE ? (size_t)bytes : LINE - 1;
}

/* What may stand between quotation marks. Names of hosts need nothing else. */
static void plain(char *to, size_t room, const char *from) {
  size_t n = 0;
  for (; *from && n + 1 < room; from++)
    if (*from >= ' ' && *from < 127 && *from != '"' && *from != '\\') to[n++] = *from;
  to[n] = 0;
}

/* The process: its name, its place in the list, and what is missing of it. */
static sb_status write_process(stream *s) {
  const int rank = s->world->rank;
  const unsigned long long dropped = sb_trace_dropped();
  char *line, host[sizeof s->world->host], missing[64] = "";
  plain(host, sizeof host, s->world->host);
  SB_TRY(line_room(s, &line));
  line_done(s, snprintf(line, LINE,
                        "%s{\"name\":\"process_name\",\"ph\":\"M\",\"pid\":%d,\"tid\":0,"
                        "\"args\":{\"name\":\"rank %d on %s\"}}",
                        rank == 0 ? "" : ",\n", rank, rank, host));
  SB_TRY(line_room(s, &line));
  line_done(s, snprintf(line, LINE,
                        ",\n{\"name\":\"process_sort_index\",\"ph\":\"M\",\"pid\":%d,\"tid\":0,"
                        "\"args\":{\"sort_index\":%d}}",
                        rank, rank));
  if (dropped == 0) return SB_OK;
  snprintf(missing, sizeof missing, "%llu spans dropped", dropped);
  SB_TRY(line_room(s, &line));
  line_done(s, snprintf(line, LINE,
                        ",\n{\"name\":\"process_labels\",\"ph\":\"M\",\"pid\":%d,\"tid\":0,"
                        "\"args\":{\"labels\":\"%s\"}}",
                        rank, missing));
  return SB_OK;
}

/* Nanoseconds, as microseconds with three places. Both ends of a span are rounded, not its length,
 * so that a span within another stays within it. */
static sb_status write_event(stream *s, const sb_trace_event *e) {
  const long long begin = llround((e->begin + s->shift) * 1e9),
                  end = llround((e->end + s->shift) * 1e9);
  char *line, args[64] = "";
  if (e->index != SB_TRACE_NONE)
    snprintf(args, sizeof args, ",\"args\":{\"index\":%lld}", (long long)e->index);
  SB_TRY(line_room(s, &line));
  line_done(s, snprintf(line, LINE,
                        ",\n{\"name\":\"%s\",\"cat\":\"%s\",\"ph\":\"X\",\"pid\":%d,\"tid\":0,"
                        "\"ts\":%lld.%03lld,\"dur\":%lld.%03lld%s}",
                        e->name, sb_trace_category_names[e->category], s->world->rank, begin / 1000,
                        begin % 1000, (end - begin) / 1000, (end - begin) % 1000, args));
  return SB_OK;
}

static sb_status write_rank(stream *s) {
  SB_TRY(write_process(s));
  for (size_t i = 0; i < sb_trace_count(); i++) SB_TRY(write_event(s, sb_trace_at(i)));
  return flush(s);
}

/* ---- rank after rank ---- */

/* Rank 0's side: asks rank r, so that ranks do not all send at once, and passes its pieces on. The
 * end is an empty one. */
static sb_status receive_rank(stream *s, int r) {
  SB_MPI(MPI_Send(NULL, 0, MPI_BYTE, r, TAG, s->world->comm));
  for (;;) {
    MPI_Status got;
    int bytes;
    SB_MPI(MPI_Recv(s->piece, PIECE, MPI_BYTE, r, TAG, s->world->comm, &got));
    SB_MPI(MPI_Get_count(&got, MPI_BYTE, &bytes));
    if (bytes == 0) return SB_OK;
    deliver(s, s->piece, (size_t)bytes);
  }
}

static sb_status send_rank(stream *s) {
  SB_MPI(MPI_Recv(NULL, 0, MPI_BYTE, 0, TAG, s->world->comm, MPI_STATUS_IGNORE));
  SB_TRY(write_rank(s));
  SB_MPI(MPI_Send(NULL, 0, MPI_BYTE, 0, TAG, s->world->comm));
  return SB_OK;
}

static sb_status transfer(stream *s, const sb_trace_totals *totals) {
  static const char head[] = "{\"displayTimeUnit\":\"ms\",\"traceEvents\":[\n";
  char tail[256];
  if (s->world->rank != 0) return send_rank(s);
  deliver(s, head, sizeof head - 1);
  SB_TRY(write_rank(s));
  for (int r = 1; r < s->world->size; r++) SB_TRY(receive_rank(s, r));
  const int bytes = snprintf(tail, sizeof tail,
                             "\n],\"otherData\":{\"program\":\"shardbits " SB_VERSION "\","
                             "\"ranks\":%d,\"spans\":%llu,\"dropped\":%llu,"
                             "\"clock_uncertainty_us\":%.3f}}\n",
                             s->world->size, (unsigned long long)totals->events,
                             (unsigned long long)totals->dropped, totals->uncertainty * 1e6);
  deliver(s, tail, (size_t)bytes);
  return s->status;
}

sb_status sb_trace_gather(const sb_world *world, const sb_trace_clock *clock, sb_trace_sink sink,
                          void *context, sb_trace_totals *totals) {
  uint64_t sums[2] = {sb_trace_count(), sb_trace_dropped()};
  double ends[2] = {-(sb_trace_begun() + clock->offset), clock->uncertainty};
  stream s = {.world = world, .sink = sink, .context = context};
  SB_MPI(MPI_Allreduce(MPI_IN_PLACE, sums, 2, MPI_UINT64_T, MPI_SUM, world->comm));
  SB_MPI(MPI_Allreduce(MPI_IN_PLACE, ends, 2, MPI_DOUBLE, MPI_MAX, world->comm));
  *totals = (sb_trace_totals){sums[0], sums[1], ends[1]};
  s.shift = clock->offset + ends[0];
  SB_AGREE(world, sb_alloc_raw(&s.piece, PIECE, 1, "trace"));
  const sb_status status = sb_world_agree(world, transfer(&s, totals));
  sb_free(&s.piece);
  return status;
}
