#include "tests/support/ranks.h"

#include "mpi/large.h"
#include "mpi/large_pieces.h"

static const size_t pieces[] = {8, 24, 64, 1000, (size_t)1 << 26};
enum { PIECES = sizeof pieces / sizeof *pieces };

static void broadcast(void **state) {
  uint8_t *data;
  (void)state;
  EXPECT_OK(sb_alloc(&data, 3001, 1, "test"));
  for (int p = 0; p < PIECES; p++)
    for (int root = 0; root < world.size; root++)
      for (size_t bytes = 0; bytes <= 3000; bytes = bytes * 3 + 1) {
        for (size_t i = 0; i <= 3000; i++)
          data[i] = world.rank == root ? (uint8_t)mix(i + p) : 0xee;
        EXPECT_OK(sb_mpi_bcast_by(pieces[p], data, bytes, root, world.comm));
        for (size_t i = 0; i <= 3000; i++)
          EXPECT(data[i] == (i < bytes || world.rank == root ? (uint8_t)mix(i + p) : 0xee));
      }
  sb_free(&data);
  all_ranks_passed();
}

static void sums_and_maxima(void **state) {
  const uint64_t ranks = (uint64_t)world.size;
  int64_t sums[500];
  uint64_t maxima[500];
  (void)state;
  for (int p = 0; p < PIECES; p++)
    for (size_t count = 0; count <= 500; count = count * 2 + 1) {
      for (size_t i = 0; i < count; i++) {
        sums[i] = (int64_t)mix(i) / 1000 * (world.rank + 1);
        maxima[i] = mix(i * ranks + (uint64_t)world.rank);
      }
      EXPECT_OK(sb_mpi_reduce_by(pieces[p], sums, count, MPI_INT64_T, MPI_SUM, world.comm));
      EXPECT_OK(sb_mpi_reduce_by(pieces[p], maxima, count, MPI_UINT64_T, MPI_MAX, world.comm));
      for (size_t i = 0; i < count; i++) {
        uint64_t largest = 0;
        for (uint64_t r = 0; r < ranks; r++)
          largest = mix(i * ranks + r) > largest ? mix(i * ranks + r) : largest;
        EXPECT(sums[i] == (int64_t)mix(i) / 1000 * (int64_t)(ranks * (ranks + 1) / 2));
        EXPECT(maxima[i] == largest);
      }
    }
  all_ranks_passed();
}

/* The public forms, with values beyond 2^63 where the type has them. */
static void public_sums(void **state) {
  uint64_t big[2] = {world.rank == 0 ? UINT64_C(1) << 63 : 1, 2};
  int64_t negative = -1 - world.rank;
  uint64_t largest = (uint64_t)world.rank + (UINT64_C(1) << 63);
  (void)state;
  EXPECT_OK(sb_mpi_sum_u64(big, 2, world.comm));
  EXPECT(big[0] == (UINT64_C(1) << 63) + (uint64_t)world.size - 1 &&
         big[1] == 2 * (uint64_t)world.size);
  EXPECT_OK(sb_mpi_sum_i64(&negative, 1, world.comm));
  EXPECT(negative == -(int64_t)world.size * (world.size + 1) / 2);
  EXPECT_OK(sb_mpi_max_u64(&largest, 1, world.comm));
  EXPECT(largest == (UINT64_C(1) << 63) + (uint64_t)world.size - 1);
  all_ranks_passed();
}

/* Parts of random sizes, many of them empty; sometimes one rank has all. */
static void random_starts(uint64_t *seed, size_t *starts, size_t largest) {
  const int only = draw(seed, 4) == 0 ? (int)draw(seed, (uint64_t)world.size) : -1;
  starts[0] = 0;
  for (int r = 0; r < world.size; r++) {
    const size_t part = draw(seed, 3) == 0 ? 0 : draw(seed, largest + 1);
    starts[r + 1] = starts[r] + (only < 0 || only == r ? part : 0);
  }
}

static void reduce_scatter(void **state) {
  uint64_t seed = 1;
  size_t starts[65];
  int64_t *data, *out;
  const int64_t factor = (int64_t)world.size * (world.size + 1) / 2;
  (void)state;
  for (int round = 0; round < 200; round++) {
    size_t first, own;
    random_starts(&seed, starts, 90);
    first = starts[world.rank];
    own = starts[world.rank + 1] - first;
    EXPECT_OK(sb_alloc(&data, starts[world.size], sizeof *data, "test"));
    EXPECT_OK(sb_alloc(&out, own + 1, sizeof *out, "test"));
    for (size_t i = 0; i < starts[world.size]; i++)
      data[i] = (int64_t)mix(i) / 1000 * (world.rank + 1);
    out[own] = 77;
    if (round % 5 == 0)
      EXPECT_OK(sb_mpi_reduce_scatter_i64(out, data, starts, world.comm));
    else
      EXPECT_OK(sb_mpi_reduce_scatter_by(pieces[round % PIECES], out, data, starts, world.comm));
    for (size_t i = 0; i < own; i++) EXPECT(out[i] == (int64_t)mix(first + i) / 1000 * factor);
    EXPECT(out[own] == 77);
    sb_free(&data);
    sb_free(&out);
  }
  all_ranks_passed();
}

static void allgather(void **state) {
  uint64_t seed = 2;
  size_t starts[65];
  uint8_t *all, *mine;
  (void)state;
  for (int round = 0; round < 200; round++) {
    size_t first, own;
    const bool in_place = draw(&seed, 2) == 0;
    random_starts(&seed, starts, 300);
    first = starts[world.rank];
    own = starts[world.rank + 1] - first;
    EXPECT_OK(sb_alloc(&all, starts[world.size] + 1, 1, "test"));
    EXPECT_OK(sb_alloc(&mine, own, 1, "test"));
    for (size_t i = 0; i < own; i++) (in_place ? all + first : mine)[i] = (uint8_t)mix(first + i);
    if (round % 5 == 0)
      EXPECT_OK(sb_mpi_allgather_bytes(all, in_place ? all + first : mine, starts, world.comm));
    else
      EXPECT_OK(sb_mpi_allgather_by(pieces[round % PIECES], all, in_place ? all + first : mine,
                                    starts, world.comm));
    for (size_t i = 0; i < starts[world.size]; i++) EXPECT(all[i] == (uint8_t)mix(i));
    EXPECT(all[starts[world.size]] == 0);
    sb_free(&all);
    sb_free(&mine);
  }
  all_ranks_passed();
}

/* A ring: everyone sends to its successor (itself, when alone) two messages of the same tag. */
static void point_to_point(void **state) {
  const int to = (world.rank + 1) % world.size, from = (world.rank + world.size - 1) % world.size;
  (void)state;
  for (int p = 0; p < PIECES; p++)
    for (size_t bytes = 0; bytes < 20000; bytes = bytes * 7 + 3) {
      const size_t n = sb_mpi_pieces_by(pieces[p], bytes);
      MPI_Request *requests;
      uint8_t *out, *in;
      size_t posted = 0;
      EXPECT(n == (bytes + pieces[p] - 1) / pieces[p]);
      EXPECT_OK(sb_alloc(&requests, 4 * n, sizeof *requests, "test"));
      EXPECT_OK(sb_alloc(&out, 2 * bytes, 1, "test"));
      EXPECT_OK(sb_alloc(&in, 2 * bytes, 1, "test"));
      for (size_t i = 0; i < 2 * bytes; i++) out[i] = (uint8_t)mix(i + (size_t)world.rank * 100000);
      for (int m = 0; m < 2; m++)
        EXPECT_OK(sb_mpi_irecv_by(pieces[p], in + m * bytes, bytes, from, 5, world.comm, requests,
                                  &posted));
      for (int m = 0; m < 2; m++)
        EXPECT_OK(sb_mpi_isend_by(pieces[p], out + m * bytes, bytes, to, 5, world.comm, requests,
                                  &posted));
      EXPECT(posted == 4 * n);
      EXPECT(MPI_Waitall((int)posted, requests, MPI_STATUSES_IGNORE) == MPI_SUCCESS);
      for (size_t i = 0; i < 2 * bytes; i++)
        EXPECT(in[i] == (uint8_t)mix(i + (size_t)from * 100000));
      sb_free(&requests);
      sb_free(&out);
      sb_free(&in);
    }
  EXPECT(sb_mpi_pieces(0) == 0 && sb_mpi_pieces(1) == 1);
  EXPECT(sb_mpi_pieces((size_t)5 << 30) == 5 && sb_mpi_pieces(((size_t)5 << 30) + 1) == 6);
  all_ranks_passed();
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(broadcast),   cmocka_unit_test(sums_and_maxima),
    cmocka_unit_test(public_sums), cmocka_unit_test(reduce_scatter),
    cmocka_unit_test(allgather),   cmocka_unit_test(point_to_point),
};
RANKS_MAIN(tests)
