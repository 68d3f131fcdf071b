#include "mpi/window.h"

#include <stdint.h>
#include <sys/statvfs.h>

#include "base/memory.h"

static const char *const shared_folder = "/dev/shm";

enum { ALIGNMENT = 64 };

/* MPI libraries put shared windows into /dev/shm. Open MPI 4 waits for ever on the other ranks when
 * the window does not fit there, hence this look before. The margin is for MPI's own segments. */
static sb_status check_room(const sb_world *world, size_t bytes) {
  struct statvfs folder;
  size_t room, margin = (size_t)world->node_size << 20;
  if (world->node_rank != 0 || world->node_size == 1 || statvfs(shared_folder, &folder) != 0)
    return SB_OK;
  if (!sb_mul_size(folder.f_bavail, folder.f_frsize, &room) ||
      (bytes <= room && room - bytes >= margin))
    return SB_OK;
  return sb_fail(SB_ERR_MEMORY,
                 "%s has %.1f MiB free and this node's ranks need %.1f MiB there to share "
                 "parameters; make it larger "
                 "(containers: --shm-size) or run one rank a node",
                 shared_folder, (double)room / 1048576.0, (double)(bytes + margin) / 1048576.0);
}

/* The common base: rank 0 allocates all of it and says how far it lies from a multiple of 64. */
static sb_status find_base(const sb_world *world, sb_window *window) {
  MPI_Aint size;
  int unit;
  uint64_t skip;
  SB_MPI(MPI_Win_shared_query(window->win, 0, &size, &unit, &window->base));
  skip = -(uintptr_t)window->base & (ALIGNMENT - 1);
  SB_MPI(MPI_Bcast(&skip, 1, MPI_UINT64_T, 0, window->comm));
  window->base += skip;
  if ((uintptr_t)window->base % ALIGNMENT)
    return sb_fail(SB_ERR_MPI, "%s: the shared window is not page-aligned alike on all ranks",
                   world->host);
  SB_MPI(MPI_Win_lock_all(MPI_MODE_NOCHECK, window->win));
  return SB_OK;
}

sb_status sb_window_create(const sb_world *world, size_t bytes, sb_window *out) {
  sb_status status;
  size_t padded;
  char *own;
  *out = (sb_window){.win = MPI_WIN_NULL, .comm = MPI_COMM_NULL, .size = world->node_size};
  if (!sb_add_size(bytes, ALIGNMENT, &padded) ||
      padded > (size_t)PTRDIFF_MAX) /* the same on all ranks */
    return sb_fail(SB_ERR_MEMORY, "a shared window of %zu bytes is beyond the address space",
                   bytes);
  SB_AGREE(world, check_room(world, padded));
  SB_GO(sb_mpi_check(MPI_Comm_dup(world->node_comm, &out->comm), "MPI_Comm_dup"));
  status = sb_mpi_check(MPI_Win_allocate_shared(world->node_rank == 0 ? (MPI_Aint)padded : 0, 1,
                                                MPI_INFO_NULL, out->comm, &own, &out->win),
                        "MPI_Win_allocate_shared");
  SB_GO(sb_world_agree(world, status));
  SB_GO(sb_world_agree(world, find_base(world, out)));
done:
  if (status != SB_OK && out->comm != MPI_COMM_NULL) MPI_Comm_free(&out->comm);
  return status;
}

void sb_window_free(sb_window *window) {
  if (window->win != MPI_WIN_NULL) {
    MPI_Win_unlock_all(window->win);
    MPI_Win_free(&window->win);
  }
  if (window->comm != MPI_COMM_NULL) MPI_Comm_free(&window->comm);
}

sb_status sb_window_sync(sb_window *window) {
  if (window->size == 1) return SB_OK;
  SB_MPI(MPI_Win_sync(window->win));
  SB_MPI(MPI_Barrier(window->comm));
  SB_MPI(MPI_Win_sync(window->win));
  return SB_OK;
}
