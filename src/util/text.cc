// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.
#include "util/text.h"

#include <array>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <span>

#include "util/utf8.h"

namespace coi::util {
namespace {

constexpr int kMinutesOfDay = 24 * 60;
constexpr int64_t kSecondsOfDay = int64_t{24} * 60 * 60;
constexpr int64_t kYear0 = -62167219200;
constexpr int64_t kYear10000 = 253402300800;

}  // namespace

std::string LowerCase(std::string_view text) {
  std::string result;
  result.reserve(text.size());
  while (!text.empty()) {
    const char first = text.front();
    const auto code = TakeCodePoint(&text);
    if (!code) {
      text.remove_prefix(1);
      result.push_back(first);
      continue;
    }
    std::array<char, 4> buf = {};
    std::span<char> rest = buf;
    PutCodePoint(LowerCase(*code), &rest);
    result.append(buf.data(), buf.size() - rest.size());
  }
  return result;
}

std::string FormatRfc3339(int64_t seconds_since_1970, int minutes_east) {
  if (minutes_east <= -kMinutesOfDay || minutes_east >= kMinutesOfDay) {
    minutes_east = 0;
  }
  // Before the sum, which might be too large for its type.
  if (seconds_since_1970 < kYear0 - kSecondsOfDay ||
      seconds_since_1970 >= kYear10000 + kSecondsOfDay) {
    return {};
  }
  const int64_t local = seconds_since_1970 + int64_t{minutes_east} * 60;
  if (local < kYear0 || local >= kYear10000) {
    return {};
  }

  const std::chrono::sys_seconds time{std::chrono::seconds(local)};
  const auto day = std::chrono::floor<std::chrono::days>(time);
  const std::chrono::year_month_day date(day);
  const auto second = static_cast<int>((time - day).count());
  const int offset = std::abs(minutes_east);

  std::array<char, 64> buf = {};
  const int size =
      std::snprintf(buf.data(), buf.size(), "%04d-%02u-%02uT%02d:%02d:%02d%c%02d:%02d",
                    static_cast<int>(date.year()), static_cast<unsigned int>(date.month()),
                    static_cast<unsigned int>(date.day()), second / 3600, second / 60 % 60,
                    second % 60, minutes_east < 0 ? '-' : '+', offset / 60, offset % 60);
  return {buf.data(), static_cast<size_t>(size)};
}

}  // namespace coi::util
