/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */
#ifndef COI_TESTS_UNIT_COI_PUSH_C_TEST_H
#define COI_TESTS_UNIT_COI_PUSH_C_TEST_H

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Loads the library at `path` and uses each function of its table once.
   Returns 0 if all is well, or -1 with a text in error_r. */
int coi_push_c_test_run(const char* path, char* error_r, size_t error_size);

#ifdef __cplusplus
}
#endif

#endif /* COI_TESTS_UNIT_COI_PUSH_C_TEST_H */
