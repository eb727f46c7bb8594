// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.
#ifndef COI_TESTS_UNIT_TEST_UTIL_H
#define COI_TESTS_UNIT_TEST_UTIL_H

#include <gtest/gtest.h>

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

#include "coi.h"
#include "core_util.h"

namespace coi::test {

using OptionalText = std::optional<std::string_view>;

inline std::string Repeat(std::string_view text, size_t times) {
  std::string result;
  result.reserve(text.size() * times);
  for (size_t i = 0; i < times; ++i) {
    result += text;
  }
  return result;
}

// For INSTANTIATE_TEST_SUITE_P: the case's own name.
inline constexpr auto CaseName = [](const auto& info) { return std::string(info.param.name); };

}  // namespace coi::test

#endif  // COI_TESTS_UNIT_TEST_UTIL_H
