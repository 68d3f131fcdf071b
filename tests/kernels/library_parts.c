/* Two libraries: the outer one needs the inner one. */
int sb_test_inner(void);
int sb_test_outer(void);

#ifdef PART_INNER
int sb_test_inner(void) {
  return 41;
}
#else
int sb_test_outer(void) {
  return sb_test_inner() + 1;
}
#endif
