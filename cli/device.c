/* --device: from a choice to a backend, the same kind on all ranks. */
#include <string.h>

#include "base/log.h"
#include "base/memory.h"
#include "cli/common.h"

/* *later = the ranks of this node that have the GPU of an earlier one, *together = those that have this rank's. */
static sb_status count_sharers(const sb_world *world, const sb_device_identity *mine, int *later,
                               int *together) {
  enum { BYTES = sizeof mine->uuid };
  uint8_t *all = NULL;
  sb_status status = sb_alloc(&all, (size_t)world->node_size, BYTES, "GPUs of the node");
  SB_AGREE(world, status);
  SB_GO(sb_mpi_check(MPI_Allgather(mine->uuid, BYTES, MPI_BYTE, all, BYTES, MPI_BYTE, world->node_comm),
                     "exchange of GPUs"));
  *later = *together = 0;
  for (int i = 0; i < world->node_size; i++) {
    *together += memcmp(all + i * BYTES, mine->uuid, BYTES) == 0;
    for (int j = 0; j < i; j++)
      if (memcmp(all + i * BYTES, all + j * BYTES, BYTES) == 0) {
        (*later)++;
        break;
      }
  }
done:
  sb_free(&all);
  return status;
}

static sb_status announce(const sb_world *world, const sb_common *common, const sb_device_identity *identity,
                          sb_backend *backend) {
  int sharers, together;
  SB_TRY(count_sharers(world, identity, &sharers, &together));
  backend->free_bytes /= (size_t)together;
  if (sharers > 0)
    sb_log_line("device       %s for rank 0; %d ranks of its node share %d GPUs", identity->name,
                world->node_size, world->node_size - sharers);
  else
    sb_log_line("device       %s for rank 0", identity->name);
  if (common->compute == SB_COMPUTE_F32) /* packed has kernels of its own */
    sb_log_line("device       matrix products in f32 do not use tensor cores; --compute bf16 does");
  return SB_OK;
}

sb_status sb_common_backend(const sb_world *world, const sb_common *common, sb_backend **out) {
  const bool may_fall_back = common->device == SB_DEVICE_AUTO;
  *out = NULL;
  if (common->device == SB_DEVICE_CUDA || (may_fall_back && sb_device_has_cuda())) {
    sb_device_identity identity;
    sb_status status = sb_world_agree(
        world, sb_device_cuda(sb_common_compute(common), world->node_rank, world->host, out, &identity));
    if (status == SB_OK) status = announce(world, common, &identity, *out);
    if (status == SB_OK) return SB_OK;
    if (*out) (*out)->op->destroy(*out);
    *out = NULL;
    if (!may_fall_back) return status;
    sb_log_line("device       processors: %s", sb_message());
  }
  return sb_world_agree(world, sb_backend_cpu_create(sb_common_compute(common), common->threads, out));
}
