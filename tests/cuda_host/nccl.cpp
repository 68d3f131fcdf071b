/* NCCL's part by MPI, for the stand-in. A collective operation is on its way when it is queued, as
 * on GPUs, whatever its process does next: what is queued before it is done then and there, its
 * messages are posted, and whoever waits for the stream waits for them. So a process that does not
 * come leaves the others waiting for ever, as a GPU would. */
#define OMPI_SKIP_MPICXX /* the C interface alone */
#include <mpi.h>
#include <stdint.h>
#include <string.h>

#include <memory>
#include <vector>

#include "kernels/cuda/cuda_nccl.h"
#include "tests/cuda_host/cuda_host.h"

enum { JOIN_TAG = 9000 };

struct sb_host_nccl {
  MPI_Comm comm; /* MPI_COMM_NULL until all have come */
  std::vector<int> members;
  std::vector<MPI_Request> greetings;
};

static ncclResult_t get_id(ncclUniqueId *id) {
  memset(id, 0x5a, sizeof *id);
  return ncclSuccess;
}

/* Groups are runs of `size` ranks: all, or those of a node, where nodes are as
 * large as each other. */
static ncclResult_t init(ncclComm_t *out, int size, ncclUniqueId id, int rank,
                         ncclConfig_t *config) {
  int mine;
  if (id.internal[0] != 0x5a || id.internal[127] != 0x5a) return ncclInvalidArgument;
  if (config->blocking) return ncclInvalidUsage; /* a process that fails leaves the others in it */
  if (sb_cuda_host_device.join < 0) return ncclUnhandledCudaError;
  MPI_Comm_rank(MPI_COMM_WORLD, &mine);
  if (mine % size != rank) return ncclInvalidUsage;
  sb_host_nccl *group = *out = new sb_host_nccl{MPI_COMM_NULL, {}, {}};
  for (int i = 0; i < size; i++) group->members.push_back(mine / size * size + i);
  if (sb_cuda_host_device.join == 0) return ncclInProgress; /* for ever */
  for (const int other : group->members) {
    MPI_Request request;
    MPI_Isend(NULL, 0, MPI_BYTE, other, JOIN_TAG + size, MPI_COMM_WORLD, &request);
    group->greetings.push_back(request);
    MPI_Irecv(NULL, 0, MPI_BYTE, other, JOIN_TAG + size, MPI_COMM_WORLD, &request);
    group->greetings.push_back(request);
  }
  return ncclInProgress;
}

static ncclResult_t state(ncclComm_t group, ncclResult_t *out) {
  int all = 0;
  *out = group->comm == MPI_COMM_NULL ? ncclInProgress : ncclSuccess;
  if (*out == ncclSuccess || group->greetings.empty()) return ncclSuccess;
  MPI_Testall((int)group->greetings.size(), group->greetings.data(), &all, MPI_STATUSES_IGNORE);
  if (!all) return ncclSuccess;
  MPI_Group world, some;
  MPI_Comm_group(MPI_COMM_WORLD, &world);
  MPI_Group_incl(world, (int)group->members.size(), group->members.data(), &some);
  MPI_Comm_create_group(MPI_COMM_WORLD, some, JOIN_TAG, &group->comm);
  MPI_Group_free(&some);
  MPI_Group_free(&world);
  *out = ncclSuccess;
  return ncclSuccess;
}

static ncclResult_t abort_comm(ncclComm_t comm) {
  delete comm; /* the communicator ends with the process */
  return ncclSuccess;
}

/* `post` posts the messages of `mine`, read from `from`; what arrived goes to `to` when the stream
 * is waited for. */
template <typename Post>
static ncclResult_t collective(cudaStream_t stream, const void *from, size_t from_bytes, void *to,
                               size_t to_bytes, Post post) {
  for (const void *memory : {from, (const void *)to}) sb_host_expect_device(memory);
  auto mine = std::make_shared<std::vector<char>>(),
       all = std::make_shared<std::vector<char>>(to_bytes);
  auto request = std::make_shared<MPI_Request>(MPI_REQUEST_NULL);
  sb_host_queue(stream,
                [=]() { mine->assign((const char *)from, (const char *)from + from_bytes); });
  sb_host_run_queued(stream);
  if (mine->empty() && from_bytes > 0) return ncclUnhandledCudaError; /* the device is broken */
  post(mine->data(), all->data(), request.get());
  sb_host_queue(stream, [=]() {
    MPI_Wait(request.get(), MPI_STATUS_IGNORE);
    memcpy(to, all->data(), to_bytes);
    (void)mine; /* is read until here */
  });
  return ncclSuccess;
}

static ncclResult_t all_gather(const void *from, void *to, size_t count, ncclDataType_t type,
                               ncclComm_t comm, cudaStream_t stream) {
  if (type != ncclInt8) return ncclInvalidArgument;
  return collective(stream, from, count, to, count * comm->members.size(),
                    [=](const char *mine, char *all, MPI_Request *request) {
                      MPI_Iallgather(mine, (int)count, MPI_BYTE, all, (int)count, MPI_BYTE,
                                     comm->comm, request);
                    });
}

static ncclResult_t all_reduce(const void *from, void *to, size_t count, ncclDataType_t type,
                               ncclRedOp_t op, ncclComm_t comm, cudaStream_t stream) {
  if (type != ncclInt64 || op != ncclSum) return ncclInvalidArgument;
  return collective(stream, from, count * sizeof(int64_t), to, count * sizeof(int64_t),
                    [=](const char *mine, char *all, MPI_Request *request) {
                      MPI_Iallreduce(mine, all, (int)count, MPI_INT64_T, MPI_SUM, comm->comm,
                                     request);
                    });
}

static const char *error(ncclResult_t result) {
  return result == ncclUnhandledCudaError ? "unhandled cuda error" : "invalid usage";
}

sb_status sb_cuda_nccl_load(sb_cuda_nccl *nccl, const char *) {
  nccl->library = &sb_cuda_host_device;
  nccl->get_id = get_id;
  nccl->init = init;
  nccl->state = state;
  nccl->abort = abort_comm;
  nccl->all_gather = all_gather;
  nccl->all_reduce = all_reduce;
  nccl->error = error;
  return SB_OK;
}

void sb_cuda_nccl_unload(sb_cuda_nccl *nccl) {
  nccl->library = NULL;
}
