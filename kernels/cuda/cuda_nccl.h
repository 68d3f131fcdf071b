/* The functions of NCCL that the backend uses, looked up on first use (cuda_library.h). */
#ifndef SB_KERNELS_CUDA_CUDA_NCCL_H
#define SB_KERNELS_CUDA_CUDA_NCCL_H

#include <nccl.h>

extern "C" {
#include "base/status.h"
#include "kernels/backend.h"
}

typedef struct sb_cuda_nccl {
  void *library;
  ncclComm_t comm[SB_PEER_GROUPS]; /* NULL for groups that were not joined */
  int size[SB_PEER_GROUPS], rank[SB_PEER_GROUPS];
  ncclResult_t (*get_id)(ncclUniqueId *);
  ncclResult_t (*init)(ncclComm_t *, int size, ncclUniqueId, int rank, ncclConfig_t *);
  ncclResult_t (*state)(ncclComm_t, ncclResult_t *); /* of calls that do not block */
  ncclResult_t (*abort)(ncclComm_t);                 /* does not wait for the others */
  ncclResult_t (*all_gather)(const void *from, void *to, size_t count, ncclDataType_t, ncclComm_t,
                             cudaStream_t);
  ncclResult_t (*all_reduce)(const void *from, void *to, size_t count, ncclDataType_t, ncclRedOp_t,
                             ncclComm_t, cudaStream_t);
  const char *(*error)(ncclResult_t);
} sb_cuda_nccl;

/* Finds the library and its functions. SB_ERR_UNSUPPORTED if the library is missing; the message
 * begins with `where` and names the file. Local. */
sb_status sb_cuda_nccl_load(sb_cuda_nccl *nccl, const char *where);
/* Unloads the library; does nothing if it was not loaded. */
void sb_cuda_nccl_unload(sb_cuda_nccl *nccl);

#endif
