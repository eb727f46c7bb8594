// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

// The adapter must be able to fail: a failing CMocka test is a failing case.

#include "adapter.h"

#include <gtest/gtest.h>

#include <csignal>
#include <string>

namespace coi::glue {
namespace {

void passing(void** /*state*/) {
  assert_int_equal(1, 1);
}

void failing(void** /*state*/) {
  assert_int_equal(41, 42);
}

void skipping(void** /*state*/) {
  skip();
}

void crashing(void** /*state*/) {
  raise(SIGSEGV);
}

int refuse(void** /*state*/) {
  return -1;
}

int give(void** state) {
  static int given = 42;
  *state = &given;
  return 0;
}

void taking(void** state) {
  assert_int_equal(*static_cast<int*>(*state), 42);
}

TEST(GlueAdapter, PassingTestPasses) {
  EXPECT_EQ(run(cmocka_unit_test(passing)).outcome, Outcome::kPassed);
}

TEST(GlueAdapter, FailingAssertionFailsAndIsShown) {
  const Result result = run(cmocka_unit_test(failing));
  EXPECT_EQ(result.outcome, Outcome::kFailed);
  // Newer versions of CMocka tell it in decimal.
  EXPECT_TRUE(result.output.find("0x29 != 0x2a") != std::string::npos ||
              result.output.find("41 != 42") != std::string::npos)
      << result.output;
}

TEST(GlueAdapter, SkippedTestIsSkipped) {
  EXPECT_EQ(run(cmocka_unit_test(skipping)).outcome, Outcome::kSkipped);
}

TEST(GlueAdapter, FailingSetupFails) {
  EXPECT_EQ(run(cmocka_unit_test_setup(passing, refuse)).outcome, Outcome::kFailed);
}

TEST(GlueAdapter, FixtureReachesTheTest) {
  EXPECT_EQ(run(cmocka_unit_test_setup(taking, give)).outcome, Outcome::kPassed);
}

TEST(GlueAdapter, CrashFailsAndTheNextTestRuns) {
  EXPECT_EQ(run(cmocka_unit_test(crashing)).outcome, Outcome::kFailed);
  EXPECT_EQ(run(cmocka_unit_test(passing)).outcome, Outcome::kPassed);
}

}  // namespace
}  // namespace coi::glue
