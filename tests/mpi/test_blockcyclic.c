/* The block-cyclic layout against its definition, element by element, and its sums and gathers
 * against plain ones. */
#include "tests/support/ranks.h"

#include "mpi/blockcyclic.h"

static const struct {
  size_t n, block;
} shapes[] = {{1, 1}, {7, 3}, {13, 4}, {40, 8}, {64, 64}, {65, 16}, {96, 33}, {5, 100}};
enum { SHAPES = sizeof shapes / sizeof *shapes };

/* Every grid that the number of ranks allows. */
#define FOR_ALL_LAYOUTS(c)                                                                         \
  for (size_t shape = 0; shape < SHAPES; shape++)                                                  \
    for (int grid_rows = 1; grid_rows <= world.size; grid_rows++)                                  \
      if (world.size % grid_rows == 0 &&                                                           \
          sb_cyclic_create(shapes[shape].n, shapes[shape].block, grid_rows, world.size,            \
                           world.rank, &c) == SB_OK)

static void test_grid(void **state) {
  (void)state;
  static const int expected[][3] = {{1, 1, 1}, {2, 1, 2},  {3, 1, 3},  {4, 2, 2},  {6, 2, 3},
                                    {7, 1, 7}, {12, 3, 4}, {64, 8, 8}, {72, 8, 9}, {128, 8, 16}};
  for (size_t k = 0; k < sizeof expected / sizeof *expected; k++) {
    int rows, cols;
    sb_cyclic_grid(expected[k][0], &rows, &cols);
    EXPECT(rows == expected[k][2] && cols == expected[k][1]);
  }
  all_ranks_passed();
}

/* The definition: walk over all elements in column-major order and give the next free place of its
 * owner to each. */
static void test_maps(void **state) {
  (void)state;
  sb_cyclic c;
  FOR_ALL_LAYOUTS(c) {
    size_t own = 0;
    EXPECT(c.grid_rows == grid_rows && c.grid_rows * c.grid_cols == world.size);
    for (size_t j = 0; j < c.n; j++)
      for (size_t i = 0; i < c.n; i++) {
        const size_t row = i / c.block % (size_t)c.grid_rows,
                     col = j / c.block % (size_t)c.grid_cols;
        EXPECT(sb_cyclic_owner(&c, i, j) == (int)(row * (size_t)c.grid_cols + col));
        if (sb_cyclic_owner(&c, i, j) != world.rank) continue;
        EXPECT(sb_cyclic_at(&c, i, j) == own);
        EXPECT(sb_cyclic_global(own % c.local_rows, c.block, c.row, c.grid_rows) == i);
        EXPECT(sb_cyclic_global(own / c.local_rows, c.block, c.col, c.grid_cols) == j);
        own++;
      }
    EXPECT(own == c.local_rows * c.local_cols);
    for (size_t count = 0; count <= c.n; count++)
      for (int place = 0; place < c.grid_rows; place++) {
        size_t counted = 0;
        for (size_t i = 0; i < count; i++)
          counted += i / c.block % (size_t)c.grid_rows == (size_t)place;
        EXPECT(sb_cyclic_share(count, c.block, place, c.grid_rows) == counted);
      }
  }
  all_ranks_passed();
}

/* Regions: the whole, empty ones, single elements, and any. */
static sb_region some_region(size_t n, uint64_t *seed, int kind) {
  if (kind == 0) return (sb_region){0, n, 0, n};
  if (kind == 1) return (sb_region){n / 2, n / 2, 0, n};
  sb_region r = {draw(seed, n), 0, draw(seed, n), 0};
  r.r1 = kind == 2 ? r.r0 + 1 : r.r0 + draw(seed, n - r.r0 + 1);
  r.c1 = kind == 2 ? r.c0 + 1 : r.c0 + draw(seed, n - r.c0 + 1);
  return r;
}

static int64_t summand(int rank, size_t i, size_t j) {
  return (int64_t)mix((uint64_t)rank << 40 ^ i << 20 ^ j); /* sums wrap, as they may */
}

static int64_t total(size_t i, size_t j) {
  uint64_t sum = 0;
  for (int r = 0; r < world.size; r++) sum += (uint64_t)summand(r, i, j);
  return (int64_t)sum;
}

static void test_add(void **state) {
  (void)state;
  sb_cyclic c;
  uint64_t seed = 5;
  FOR_ALL_LAYOUTS(c) for (int kind = 0; kind < 6; kind++) {
    const sb_region r = some_region(c.n, &seed, kind);
    const size_t height = r.r1 - r.r0;
    int64_t *local = calloc(sb_cyclic_elements(&c) + 1, sizeof *local);
    int64_t *part = malloc((height * (r.c1 - r.c0) + 1) * sizeof *part);
    for (size_t k = 0; k < sb_cyclic_elements(&c); k++) local[k] = (int64_t)k;
    for (size_t j = r.c0; j < r.c1; j++)
      for (size_t i = r.r0; i < r.r1; i++)
        part[(j - r.c0) * height + i - r.r0] = summand(world.rank, i, j);
    EXPECT_OK(sb_cyclic_add(&c, &world, local, &r, part));
    for (size_t j = 0; j < c.n; j++)
      for (size_t i = 0; i < c.n; i++) {
        if (sb_cyclic_owner(&c, i, j) != world.rank) continue;
        const bool inside = i >= r.r0 && i < r.r1 && j >= r.c0 && j < r.c1;
        const size_t at = sb_cyclic_at(&c, i, j);
        EXPECT(local[at] == (int64_t)((uint64_t)at + (inside ? (uint64_t)total(i, j) : 0)));
      }
    free(local);
    free(part);
  }
  all_ranks_passed();
}

static float value(size_t i, size_t j) {
  return (float)(i * 1000 + j);
}

static void test_gather(void **state) {
  (void)state;
  sb_cyclic c;
  uint64_t seed = 6;
  FOR_ALL_LAYOUTS(c) for (int kind = 0; kind < 6; kind++) {
    const sb_region r = some_region(c.n, &seed, kind);
    const size_t height = r.r1 - r.r0, count = height * (r.c1 - r.c0);
    float *local = calloc(sb_cyclic_elements(&c) + 1, sizeof *local);
    float *out = malloc((count + 1) * sizeof *out);
    for (size_t j = 0; j < c.n; j++)
      for (size_t i = 0; i < c.n; i++)
        if (sb_cyclic_owner(&c, i, j) == world.rank) local[sb_cyclic_at(&c, i, j)] = value(i, j);
    out[count] = -1;
    EXPECT_OK(sb_cyclic_gather(&c, &world, local, sizeof *local, &r, out));
    for (size_t j = r.c0; j < r.c1; j++)
      for (size_t i = r.r0; i < r.r1; i++)
        EXPECT(out[(j - r.c0) * height + i - r.r0] == value(i, j));
    EXPECT(out[count] == -1);
    free(local);
    free(out);
  }
  all_ranks_passed();
}

/* Sizes that ScaLAPACK's 32-bit indices cannot address are refused, on every rank,
 * with what would do. */
static void test_limits(void **state) {
  (void)state;
  sb_cyclic c;
  EXPECT(sb_cyclic_create(10, 4, world.size + 1, world.size, world.rank, &c) == SB_ERR_INTERNAL);
  EXPECT(sb_cyclic_create(46340, 64, 0, 1, 0, &c) == SB_OK);
  EXPECT(sb_cyclic_create(46341, 64, 0, 1, 0, &c) == SB_ERR_RANGE);
  EXPECT(strstr(sb_message(), "about 4") != NULL);
  EXPECT(sb_cyclic_create(46341, 64, 0, 4, 3, &c) == SB_OK);
  EXPECT(sb_cyclic_create((size_t)1 << 40, 64, 0, 4, 0, &c) == SB_ERR_RANGE);
  EXPECT(sb_cyclic_create(28672, 64, 0, 64, 63, &c) == SB_OK);
  EXPECT(c.local_rows == 3584 && c.local_cols == 3584);
  all_ranks_passed();
}

static const struct CMUnitTest tests[] = {cmocka_unit_test(test_grid), cmocka_unit_test(test_maps),
                                          cmocka_unit_test(test_add), cmocka_unit_test(test_gather),
                                          cmocka_unit_test(test_limits)};
RANKS_MAIN(tests)
