#include "kernels/cuda/cuda_nccl.h"

#include "kernels/cuda/cuda_library.h"

sb_status sb_cuda_nccl_load(sb_cuda_nccl *nccl, const char *where) {
  const sb_cuda_symbol symbols[] = {
      {"ncclGetUniqueId", &nccl->get_id},      {"ncclCommInitRankConfig", &nccl->init},
      {"ncclCommGetAsyncError", &nccl->state}, {"ncclCommAbort", &nccl->abort},
      {"ncclAllGather", &nccl->all_gather},    {"ncclAllReduce", &nccl->all_reduce},
      {"ncclGetErrorString", &nccl->error}};
  return sb_cuda_library_load(&nccl->library, "libnccl.so.2", symbols,
                              sizeof symbols / sizeof *symbols, "NCCL", where,
                              "--gpu-exchange host");
}

void sb_cuda_nccl_unload(sb_cuda_nccl *nccl) {
  sb_cuda_library_unload(&nccl->library);
}
