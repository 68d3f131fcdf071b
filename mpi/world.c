#include "mpi/world.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/memory.h"
#include "base/trace.h"
#include "mpi/launcher.h"

sb_status sb_mpi_check(int mpi_code, const char *what) {
  char text[MPI_MAX_ERROR_STRING + 1] = "";
  int length = 0;
  if (mpi_code == MPI_SUCCESS) return SB_OK;
  MPI_Error_string(mpi_code, text, &length);
  for (char *c = text; *c; c++)
    if (*c == '\n') *c = ' ';
  return sb_fail(SB_ERR_MPI, "MPI failed: %s in %s", text, what);
}

/* Splits real nodes, and these in runs of ranks_per_node. */
static sb_status split_nodes(sb_world *world, int ranks_per_node) {
  MPI_Comm shared;
  int rank;
  SB_MPI(
      MPI_Comm_split_type(world->comm, MPI_COMM_TYPE_SHARED, world->rank, MPI_INFO_NULL, &shared));
  if (ranks_per_node > 0) {
    sb_status status = sb_mpi_check(MPI_Comm_rank(shared, &rank), "MPI_Comm_rank");
    SB_THEN(sb_mpi_check(MPI_Comm_split(shared, rank / ranks_per_node, rank, &world->node_comm),
                         "MPI_Comm_split"));
    MPI_Comm_free(&shared);
    SB_TRY(status);
  } else {
    world->node_comm = shared;
  }
  SB_MPI(MPI_Comm_set_errhandler(world->node_comm, MPI_ERRORS_RETURN));
  SB_MPI(MPI_Comm_rank(world->node_comm, &world->node_rank));
  SB_MPI(MPI_Comm_size(world->node_comm, &world->node_size));
  return SB_OK;
}

/* Fills the tables from every rank's (lowest rank of its node, rank within the node). */
static sb_status fill_tables(sb_world *world) {
  int leader = world->rank;
  int mine[2];
  sb_status status;
  int *all = NULL;
  const size_t size = (size_t)world->size;
  SB_MPI(MPI_Bcast(&leader, 1, MPI_INT, 0, world->node_comm));
  mine[0] = leader;
  mine[1] = world->node_rank;
  status = sb_alloc(&all, size * 2, sizeof *all, "node table");
  SB_THEN(sb_alloc(&world->node_of, size, sizeof(int), "node table"));
  SB_THEN(sb_alloc(&world->node_rank_of, size, sizeof(int), "node table"));
  SB_THEN(sb_alloc(&world->node_sizes, size, sizeof(int), "node table"));
  SB_GO(sb_comm_agree(world->comm, status));
  SB_GO(
      sb_mpi_check(MPI_Allgather(mine, 2, MPI_INT, all, 2, MPI_INT, world->comm), "MPI_Allgather"));
  world->nodes = 0;
  /* A leader has the lowest rank of its node, so it is met before the node's other ranks. */
  for (int r = 0; r < world->size; r++) {
    const int of = all[2 * r] == r ? world->nodes++ : world->node_of[all[2 * r]];
    world->node_of[r] = of;
    world->node_rank_of[r] = all[2 * r + 1];
    world->node_sizes[of]++;
  }
  world->node = world->node_of[world->rank];
done:
  sb_free(&all);
  return status;
}

sb_status sb_world_describe(int ranks_per_node, sb_world *out) {
  sb_status status;
  *out = (sb_world){
      .comm = MPI_COMM_NULL, .node_comm = MPI_COMM_NULL, .size = 1, .node_size = 1, .nodes = 1};
  if (gethostname(out->host, sizeof out->host - 1) != 0)
    snprintf(out->host, sizeof out->host, "unknown host");
  SB_GO(sb_mpi_check(MPI_Comm_dup(MPI_COMM_WORLD, &out->comm), "MPI_Comm_dup"));
  SB_GO(sb_mpi_check(MPI_Comm_set_errhandler(out->comm, MPI_ERRORS_RETURN),
                     "MPI_Comm_set_errhandler"));
  SB_GO(sb_mpi_check(MPI_Comm_rank(out->comm, &out->rank), "MPI_Comm_rank"));
  SB_GO(sb_mpi_check(MPI_Comm_size(out->comm, &out->size), "MPI_Comm_size"));
  SB_GO(sb_comm_agree(out->comm, sb_alloc(&out->lockstep, 1, sizeof *out->lockstep, "node table")));
  SB_GO(split_nodes(out, ranks_per_node));
  SB_GO(fill_tables(out));
done:
  if (status != SB_OK) sb_world_release(out);
  return status;
}

void sb_world_release(sb_world *world) {
  sb_free(&world->node_of);
  sb_free(&world->node_rank_of);
  sb_free(&world->node_sizes);
  sb_free(&world->lockstep);
  if (world->node_comm != MPI_COMM_NULL) MPI_Comm_free(&world->node_comm);
  if (world->comm != MPI_COMM_NULL) MPI_Comm_free(&world->comm);
}

static sb_status ranks_per_node_from_environment(int *out) {
  const char *text = getenv("SHARDBITS_RANKS_PER_NODE");
  char *end;
  long value;
  *out = 0;
  if (!text || !*text) return SB_OK;
  errno = 0;
  value = strtol(text, &end, 10);
  if (errno || *end || value < 1 || value > INT_MAX)
    return sb_fail(
        SB_ERR_USAGE,
        "SHARDBITS_RANKS_PER_NODE=%s: expected a whole number from 1; unset it to use real nodes",
        text);
  *out = (int)value;
  return SB_OK;
}

/* Task 0 speaks for all; where the number of tasks is unknown, task 0 may have believed itself
 * alone, so each speaks for itself. */
static sb_status check_launched(const sb_launcher *launcher, int ranks, sb_world *world) {
  const sb_status status = sb_launcher_check(launcher, ranks);
  if (status != SB_OK && launcher->tasks > 1) world->rank = launcher->task;
  return status;
}

sb_status sb_world_init(int *argc, char ***argv, sb_world *out) {
  int provided, ranks_per_node;
  sb_status environment;
  *out = (sb_world){
      .comm = MPI_COMM_NULL, .node_comm = MPI_COMM_NULL, .size = 1, .node_size = 1, .nodes = 1};
  const sb_launcher launcher = sb_launcher_read();
  SB_TRY(check_launched(&launcher, 0, out));
  SB_MPI(MPI_Init_thread(argc, argv, MPI_THREAD_FUNNELED, &provided));
  environment = ranks_per_node_from_environment(&ranks_per_node);
  SB_TRY(sb_world_describe(ranks_per_node, out));
  SB_TRY(check_launched(&launcher, out->size, out));
  if (out->size == 1) out->unstarted = launcher.unstarted;
  SB_TRY(sb_world_agree(out, environment));
  if (provided < MPI_THREAD_FUNNELED)
    return sb_fail(SB_ERR_MPI,
                   "this MPI library gives thread level %d; MPI_THREAD_FUNNELED is needed",
                   provided);
  return SB_OK;
}

void sb_world_finalize(sb_world *world) {
  int started = 0, finished = 0;
  sb_world_release(world);
  MPI_Initialized(&started);
  MPI_Finalized(&finished);
  if (started && !finished) MPI_Finalize();
}

/* ---- agreement ---- */

enum { TEXT = 1700 };

/* What the lowest failing rank tells the others. */
typedef struct verdict {
  int status;
  char message[TEXT];
  char origin[SB_ORIGIN_SIZE];
  char host[256];
} verdict;

static void copy_text(char *to, size_t room, const char *from) {
  size_t length = strnlen(from, room - 1);
  memcpy(to, from, length);
  to[length] = 0;
}

void sb_world_lockstep(const sb_world *world) {
  *world->lockstep = true;
}

static void end_job(const sb_world *world) {
  char origin[SB_ORIGIN_SIZE + 4];
  fprintf(stderr, "shardbits: %s (rank %d on %s)%s\n", sb_message(), world->rank, world->host,
          sb_origin_text(origin, sizeof origin));
  sb_cleanup_now();
  MPI_Abort(world->comm, 1);
}

/* The lowest rank that failed, or INT_MAX. Most of the time that ranks wait for
 * each other passes here. */
static sb_status lowest_failure(MPI_Comm comm, int rank, sb_status mine, int *lowest) {
  SB_SPAN(SB_TRACE_WAIT, "agree", SB_TRACE_NONE);
  const int bid = mine == SB_OK ? INT_MAX : rank;
  SB_MPI(MPI_Allreduce(&bid, lowest, 1, MPI_INT, MPI_MIN, comm));
  return SB_OK;
}

/* `host`: of this rank, or NULL where it is not to be told. */
static sb_status agree(MPI_Comm comm, int rank, const char *host, sb_status mine) {
  int lowest = INT_MAX, alike, all_alike = 0;
  verdict told;
  SB_TRY(lowest_failure(comm, rank, mine, &lowest));
  if (lowest == INT_MAX) return SB_OK;

  memset(&told, 0, sizeof told);
  told.status = (int)mine;
  copy_text(told.message, sizeof told.message, sb_message());
  copy_text(told.origin, sizeof told.origin, sb_origin());
  if (host) copy_text(told.host, sizeof told.host, host);
  SB_MPI(MPI_Bcast(&told, (int)sizeof told, MPI_BYTE, lowest, comm));
  alike =
      (int)mine == told.status && strncmp(told.message, sb_message(), sizeof told.message - 1) == 0;
  SB_MPI(MPI_Allreduce(&alike, &all_alike, 1, MPI_INT, MPI_LAND, comm));
  if (all_alike) return mine;
  return sb_fail_from(told.origin, (sb_status)told.status, "%s (rank %d%s%s)", told.message, lowest,
                      host ? " on " : "", told.host);
}

sb_status sb_world_agree(const sb_world *world, sb_status mine) {
  if (world->size == 1) return mine;
  if (mine == SB_ERR_DEVICE && *world->lockstep) end_job(world);
  return agree(world->comm, world->rank, world->host, mine);
}

sb_status sb_world_rest(const sb_world *world) {
  const struct timespec nap = {0, 10 * 1000 * 1000};
  MPI_Request all_here;
  int done = 0;
  SB_MPI(MPI_Ibarrier(world->comm, &all_here));
  for (;;) {
    SB_MPI(MPI_Test(&all_here, &done, MPI_STATUS_IGNORE));
    if (done) return SB_OK;
    nanosleep(&nap, NULL);
  }
}

sb_status sb_comm_agree(MPI_Comm comm, sb_status mine) {
  int rank, size;
  SB_MPI(MPI_Comm_size(comm, &size));
  SB_MPI(MPI_Comm_rank(comm, &rank));
  return size == 1 ? mine : agree(comm, rank, NULL, mine);
}

sb_status sb_world_alloc(const sb_world *world, void *out_pointer, size_t size, const char *what) {
  const sb_status status = sb_world_agree(world, sb_alloc(out_pointer, 1, size, what));
  if (status != SB_OK) sb_free(out_pointer);
  return status;
}
