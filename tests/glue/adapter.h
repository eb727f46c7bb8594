/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */
#ifndef COI_GLUE_ADAPTER_H
#define COI_GLUE_ADAPTER_H

#include <string>

#include "glue-tests.h"

namespace coi::glue {

enum class Outcome { kPassed, kFailed, kSkipped };

struct Result {
  Outcome outcome;
  // What CMocka and the test printed.
  std::string output;
};

// Runs one test the way CMocka runs a group of one, with its fixtures.
Result run(const CMUnitTest& test);

}  // namespace coi::glue

#endif  // COI_GLUE_ADAPTER_H
