// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.
#include "adapter.h"

#include <gtest/gtest.h>

#include <memory>
#include <string>

namespace coi::glue {

Result run(const CMUnitTest& test) {
  // Google's own way to see what a C library prints; there is no public one.
  testing::internal::CaptureStdout();
  testing::internal::CaptureStderr();
  cmocka_set_message_output(CM_OUTPUT_STDOUT);
  const int failed = _cmocka_run_group_tests(test.name, &test, 1, nullptr, nullptr);
  const std::string output =
      testing::internal::GetCapturedStdout() + testing::internal::GetCapturedStderr();
  if (failed != 0) {
    return {Outcome::kFailed, output};
  }
  const bool skipped = output.find("[  SKIPPED ]") != std::string::npos;
  return {skipped ? Outcome::kSkipped : Outcome::kPassed, output};
}

namespace {

class Case : public testing::Test {
 public:
  explicit Case(const CMUnitTest& test) : test_(test) {}

  void TestBody() override {
    const Result result = run(test_);
    switch (result.outcome) {
      case Outcome::kPassed:
        break;
      case Outcome::kFailed:
        FAIL() << result.output;
      case Outcome::kSkipped:
        GTEST_SKIP() << result.output;
    }
  }

 private:
  const CMUnitTest& test_;
};

}  // namespace
}  // namespace coi::glue

void glue_tests_register(const char* suite, const CMUnitTest* tests, size_t count) {
  for (size_t i = 0; i < count; i++) {
    const CMUnitTest& test = tests[i];
    testing::RegisterTest(suite, test.name, nullptr, nullptr, __FILE__, __LINE__,
                          [&test]() -> testing::Test* { return new coi::glue::Case(test); });
  }
}
