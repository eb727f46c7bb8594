// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.
// What the built library looks like from outside.

#include <gtest/gtest.h>

#include <array>
#include <cstdio>
#include <memory>
#include <string>

#include "coi.h"
#include "coi_c_test.h"

namespace {

TEST(Core, Version) {
  ASSERT_NE(coi_core(COI_CORE_VERSION), nullptr);
  EXPECT_EQ(coi_core(COI_CORE_VERSION)->version, unsigned{COI_CORE_VERSION});
  EXPECT_EQ(coi_core(0), nullptr);
  EXPECT_EQ(coi_core(COI_CORE_VERSION + 1), nullptr);
  EXPECT_EQ(coi_core(~0U), nullptr);
}

TEST(Core, LoadedFromC) {
  std::array<char, 512> error = {};
  EXPECT_EQ(coi_c_test_run(COI_CORE_PATH, error.data(), error.size()), 0) << error.data();
}

TEST(Core, LoadErrorFromC) {
  std::array<char, 512> error = {};
  EXPECT_EQ(coi_c_test_run(COI_CORE_PATH ".absent", error.data(), error.size()), -1);
  EXPECT_STRNE(error.data(), "");
}

TEST(Core, ExportsOneSymbol) {
#ifdef COI_SANITIZED
  GTEST_SKIP() << "a sanitizer exports symbols of its own";
#endif
  const auto close = [](FILE* file) { EXPECT_EQ(pclose(file), 0); };
  const std::unique_ptr<FILE, decltype(close)> nm(
      popen("'" COI_NM "' -D --defined-only --format=posix '" COI_CORE_PATH "'", "r"), close);
  ASSERT_NE(nm, nullptr);

  std::string symbols;
  std::array<char, 512> line = {};
  while (fgets(line.data(), line.size(), nm.get()) != nullptr) {
    const std::string text = line.data();
    symbols += text.substr(0, text.find(' ')) + "\n";
  }
  EXPECT_EQ(symbols, COI_CORE_SYMBOL "\n");
}

}  // namespace
