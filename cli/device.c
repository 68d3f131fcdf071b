/* --device: from a choice to a backend, the same kind on all ranks. */
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/text.h"
#include "cli/common.h"
#include "mpi/gpu_memory.h"
#include "mpi/large.h"

enum { JOIN_SECONDS = 60 }; /* NCCL takes one to ten, on thousands of GPUs */

typedef struct sharing {
  int later;    /* ranks of this node that have the GPU of an earlier one */
  int together; /* ranks of this node that have this rank's */
  bool apart;   /* every rank of the run has one of its own; the same on all ranks */
} sharing;

/* O(ranks^2) in time, 16 bytes per rank. Collective. */
static sb_status find_sharing(const sb_world *world, const sb_device_identity *mine, sharing *out) {
  enum { BYTES = sizeof mine->uuid };
  uint8_t *all = NULL;
  sb_status status = sb_alloc(&all, (size_t)world->size, BYTES, "GPUs of all ranks");
  SB_AGREE(world, status);
  SB_GO(sb_mpi_check(MPI_Allgather(mine->uuid, BYTES, MPI_BYTE, all, BYTES, MPI_BYTE, world->comm),
                     "exchange of GPUs"));
  *out = (sharing){.together = 1, .apart = true};
  for (int i = 0; i < world->size; i++) {
    const bool here = world->node_of[i] == world->node;
    bool later = false;
    out->together += i != world->rank && here && memcmp(all + i * BYTES, mine->uuid, BYTES) == 0;
    for (int j = 0; j < i; j++)
      if (memcmp(all + i * BYTES, all + j * BYTES, BYTES) == 0) {
        out->apart = false;
        later = later || world->node_of[j] == world->node_of[i];
      }
    out->later += here && later;
  }
done:
  sb_free(&all);
  return status;
}

/* Waits until the group of every rank is ready, or one has failed, or time is up. Collective. */
static sb_status wait_for_group(const sb_world *world, sb_peers kind, sb_backend *b) {
  const double begin = sb_now();
  const struct timespec pause = {.tv_nsec = 2000000};
  for (uint64_t waiting = 1; waiting;) {
    bool ready = false;
    sb_status status = b->op->peers_ready(b, kind, &ready);
    if (status == SB_OK && !ready && sb_now() - begin > JOIN_SECONDS)
      status = sb_fail(SB_ERR_DEVICE, "they did not find each other within %d s", JOIN_SECONDS);
    SB_TRY(sb_world_agree(world, status));
    waiting = !ready;
    SB_TRY(sb_mpi_max_u64(&waiting, 1, world->comm));
    if (waiting) (void)nanosleep(&pause, NULL);
  }
  return SB_OK;
}

/* The GPUs of `comm`, one per rank, become a group of that kind. Where they cannot, *joined is
 * false and sb_message says why: no failure. Collective over the world. */
static sb_status join(const sb_world *world, MPI_Comm comm, sb_peers kind, sb_backend *b,
                      bool *joined) {
  sb_peers_token token;
  int rank, size;
  *joined = false;
  SB_MPI(MPI_Comm_rank(comm, &rank));
  SB_MPI(MPI_Comm_size(comm, &size));
  /* does each of them have what it takes? */
  if (sb_world_agree(world, b->op->peers_token(b, rank == 0 ? &token : NULL)) != SB_OK)
    return SB_OK;
  SB_MPI(MPI_Bcast(&token, (int)sizeof token, MPI_BYTE, 0, comm));
  if (size == 1) {
    *joined = true;
    return SB_OK;
  }
  sb_status status = sb_world_agree(world, b->op->peers_join(b, kind, &token, rank, size));
  SB_THEN(wait_for_group(world, kind, b));
  *joined = status == SB_OK;
  if (!*joined) b->op->peers_leave(b, kind);
  return SB_OK;
}

/* Groups of GPUs where NCCL makes them: of those of a node, and of all. Else sb_message says why
 * not. Collective. */
static sb_status join_all(const sb_world *world, sb_backend *b, bool *node) {
  bool all;
  SB_TRY(join(world, world->node_comm, SB_PEERS_NODE, b, node));
  if (*node) SB_TRY(join(world, world->comm, SB_PEERS_ALL, b, &all));
  if (*node) sb_world_lockstep(world);
  return SB_OK;
}

/* How GPUs of several ranks get each other's numbers; `apart`: each rank has one
 * of its own. Collective. */
static sb_status choose_exchange(const sb_world *world, sb_exchange exchange, bool apart,
                                 sb_backend *b) {
  if (world->size == 1 || exchange == SB_EXCHANGE_HOST) return SB_OK;
  if (exchange == SB_EXCHANGE_AUTO && apart) {
    bool node;
    SB_TRY(join_all(world, b, &node));
    if (b->peers[SB_PEERS_ALL] > 1) {
      sb_log_line("device       GPUs exchange weights and sums among themselves (NCCL)");
      return SB_OK;
    }
    sb_log_line("device       GPUs do not exchange %s among themselves: %s",
                node ? "sums" : "weights or sums", sb_message());
  }
  const sb_status status = sb_mpi_takes_gpu_memory(world);
  b->in_mpi = status == SB_OK;
  if (b->in_mpi)
    sb_log_line(
        "device       sums go from GPU to GPU by MPI, which takes their memory (CUDA-aware)");
  else if (exchange == SB_EXCHANGE_MPI)
    return sb_fail(status, "--gpu-exchange mpi: %s; auto or host does without", sb_message());
  return SB_OK;
}

/* SB_ERR_ABSENT stays what it is where no rank has a GPU. Where some have one it is a failure:
 * ranks on processors would hold up the others. Collective. */
static sb_status agree_on_absence(const sb_world *world, sb_status mine) {
  uint64_t present = mine != SB_ERR_ABSENT;
  SB_TRY(sb_mpi_max_u64(&present, 1, world->comm));
  if (present && mine == SB_ERR_ABSENT)
    mine = sb_fail(SB_ERR_DEVICE, "%s, and other ranks have GPUs; all need one", sb_message());
  return sb_world_agree(world, mine);
}

/* A GPU for every rank, said in the log. Collective; *out may be there after a failure. */
static sb_status open_gpu(const sb_world *world, const sb_common *common, sharing *gpus,
                          sb_backend **out) {
  sb_device_identity identity;
  SB_TRY(agree_on_absence(world, sb_device_cuda(sb_common_compute(common), world->node_rank,
                                                world->host, out, &identity)));
  SB_TRY(find_sharing(world, &identity, gpus));
  /* what every rank of the run has at least, so that all make the same of it */
  uint64_t less = ~(uint64_t)((*out)->free_bytes / (size_t)gpus->together);
  SB_TRY(sb_mpi_max_u64(&less, 1, world->comm));
  (*out)->free_bytes = (size_t)~less;
  sb_log_debug("device", "%s, with %d rank%s on it; each rank of the run may use %.2f GiB",
               identity.name, gpus->together, sb_text_s(gpus->together),
               (double)(*out)->free_bytes * 0x1p-30);
  if (gpus->later > 0)
    sb_log_line("device       %s for rank 0; %d ranks of its node share %d GPUs", identity.name,
                world->node_size, world->node_size - gpus->later);
  else
    sb_log_line("device       %s for rank 0", identity.name);
  if (common->arithmetic == SB_ARITHMETIC_F32) /* packed has kernels of its own */
    sb_log_line("device       matrix products in f32 do not use tensor cores; --compute bf16 does");
  return SB_OK;
}

sb_status sb_common_backend(const sb_world *world, const sb_common *common, sb_backend **out) {
  const bool may_fall_back = common->device == SB_DEVICE_AUTO;
  *out = NULL;
  if (common->device == SB_DEVICE_CUDA || (may_fall_back && sb_device_has_cuda())) {
    sharing gpus;
    sb_status status = open_gpu(world, common, &gpus, out);
    const bool absent = status == SB_ERR_ABSENT;
    if (status == SB_OK) status = choose_exchange(world, common->exchange, gpus.apart, *out);
    if (status == SB_OK) return SB_OK;
    if (*out) (*out)->op->destroy(*out);
    *out = NULL;
    if (!absent || !may_fall_back) return status;
    sb_log_line("device       processors: %s", sb_message());
  }
  SB_AGREE(world, sb_backend_cpu_create(sb_common_compute(common), common->threads, out));
  sb_log_debug("device", "processors: %s, %s products, %s operands", (*out)->name,
               sb_dtype_name((*out)->act), sb_dtype_name((*out)->operand));
  return SB_OK;
}
