/* Runs of a report (report/report.h).
 *
 * Input: one file, as --json or --events of some command wrote it; an eval stands beside it. What
 * is accepted becomes a page whose tags close as they opened, with nothing of the file among them.
 */
#include <string.h>

#include "report/report.h"
#include "tests/fuzz/target.h"

enum { MOST = 4096, DEPTH = 64, NAME = 16 };

#define HEAD "{\"program\":\"shardbits\",\"version\":\"1\",\"ranks\":2,\"command\":"

static const char eval[] = HEAD "\"eval\",\"model\":\"o\",\"perplexity\":9,\"mean_kl\":0.1}";
static const char *const texts[] = {
    HEAD
    "\"quantize\",\"model\":\"m\",\"out\":\"o\",\"method\":\"scale<b>its\",\"reorder\":\"fused\","
    "\"block\":\"16x16\",\"bits\":3,\"effective_bits\":2.9,\"file_bytes\":99,\"weights\":200,"
    "\"layer_weights\":150,\"seconds\":3,\"layer_errors\":[0.1,null,0.2],"
    "\"search_loss\":\"loss\",\"search\":[{\"step\":0,\"kind\":\"path\",\"loss\":2,\"raised\":1,"
    "\"cut\":2,\"accepted\":true,\"seconds\":1},{\"step\":1,\"kind\":\"trade\",\"loss\":3,"
    "\"accepted\":false}],\"tune\":{\"steps\":3,\"divergence_before\":2,"
    "\"divergence_after\":1},\"widths\":{\"roles\":[\"q\",\"k\"],\"mean\":[[2,3],[4,null]],"
    "\"noise\":[0.1,0.2],\"weights_by_bits\":{\"q\":[0,1,2,3,4,5,6,7],\"k\":[8]},"
    "\"picture\":{\"matrix\":\"x\",\"shape\":[4,4],\"stored\":[\"2 3\",\"4 5\"],"
    "\"source\":[\"2 2.5\",\"4 1\"]}},\"phases\":[{\"name\":\"load\",\"seconds\":1,"
    "\"peak_bytes\":5,\"ranks\":{\"seconds\":[1,2],\"peak_bytes\":[3,4]}}]}",
    HEAD
    "\"quantize\",\"model\":\"m\",\"method\":\"rtn\",\"effective_bits\":3,\"codes\":\"trellis\","
    "\"search\":[{\"kind\":\"a\",\"loss\":2},{\"kind\":\"b\",\"loss\":1}]}",
    HEAD
    "\"reorder\",\"map_layer\":0,\"top_tenth\":{\"none\":{\"all\":0.2},\"fused\":{\"all\":0.5}},"
    "\"maps\":{\"none\":{\"q\":[[1,0.5],[0,2]]},\"fused\":{\"q\":[[2,1],[0.5,0]]}}}",
    HEAD "\"train\",\"precision\":\"bf16\",\"loss\":2,\"phases\":[]}",
    "{\"event\":\"step\",\"step\":1,\"loss\":4}\n{\"event\":\"eval\",\"step\":1,\"loss\":3}\n",
    "{\"format\":\"shardbits-profile\",\"precisions\":[\"nvfp4\"],\"linears\":[{\"name\":"
    "\"model.layers.1.mlp.up\",\"layer\":1,\"precisions\":{\"nvfp4\":{\"rel_error\":0.1,"
    "\"exact\":{\"all\":{\"weight\":1}},\"truth\":{\"weight\":2}}}}]}"};

static void seeds(fuzz_take take, void *context) {
  for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
    take(context, texts[i], strlen(texts[i]));
}

/* The name of a tag at `at`, behind "<" or "</". */
static size_t name_of(const char *at, char name[NAME]) {
  size_t n = 0;
  while (n + 1 < NAME && ((at[n] >= 'a' && at[n] <= 'z') || (at[n] >= '0' && at[n] <= '9'))) n++;
  memcpy(name, at, n);
  name[n] = 0;
  return n;
}

static void check_tags(const char *page) {
  static char open[DEPTH][NAME];
  size_t depth = 0;
  for (const char *at = strchr(page + 1, '<'); at; at = strchr(at + 1, '<')) {
    char name[NAME];
    const char *end = strchr(at, '>');
    const bool closes = at[1] == '/';
    fuzz_require(end && name_of(at + 1 + closes, name) > 0);
    fuzz_require(memchr(at + 1, '<', (size_t)(end - at) - 1) == NULL);
    if (closes)
      fuzz_require(depth > 0 && strcmp(open[--depth], name) == 0);
    else if (end[-1] != '/') {
      fuzz_require(depth < DEPTH);
      strcpy(open[depth++], name);
    }
  }
  fuzz_require(depth == 0);
}

static void run(const uint8_t *data, size_t size) {
  const char *paths[] = {fuzz_put("run.json", data, size, 0),
                         fuzz_put("eval.json", eval, sizeof eval - 1, 0)};
  for (size_t count = 1; count <= 2; count++) {
    sb_page page = {0};
    if (fuzz_settle(sb_report_make(paths, count, &page))) {
      fuzz_require(page.bytes == strlen(page.text));
      for (const char *c = page.text; *c; c++) fuzz_require((*c & 0xe0) != 0 || *c == '\n');
      check_tags(page.text);
    }
    sb_page_free(&page);
  }
}

const fuzz_target fuzz_report = {"report", MOST, NULL, seeds, NULL, run};
