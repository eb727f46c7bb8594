// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.
#include "relay/log.h"

#include "util/utf8.h"

namespace coi::relay {
namespace {

constexpr size_t kLinesMax = 4096;

}  // namespace

std::string Printable(std::string_view text, size_t limit) {
  std::string result;
  while (!text.empty()) {
    const char* at = text.data();
    const auto code = util::TakeCodePoint(&text);
    std::string_view piece = "?";
    if (!code) {
      text.remove_prefix(1);
    } else if (!util::IsControl(*code)) {
      piece = std::string_view(at, static_cast<size_t>(text.data() - at));
    }
    if (result.size() + piece.size() > limit) {
      result += "...";
      break;
    }
    result += piece;
  }
  return result;
}

bool LogLimit::Allows(const std::string& name, int64_t now_msecs, int64_t interval_msecs,
                      uint64_t* left_out) {
  *left_out = 0;
  const auto found = lines_.find(name);
  if (found == lines_.end()) {
    // Names hold origins, of which users can make up as many as they like.
    if (lines_.size() >= kLinesMax) {
      lines_.clear();
    }
    lines_.emplace(name, Line{now_msecs, 0});
    return true;
  }
  Line& line = found->second;
  if (now_msecs >= line.last && now_msecs < line.last + interval_msecs) {
    ++line.left_out;
    return false;
  }
  *left_out = line.left_out;
  line = Line{now_msecs, 0};
  return true;
}

}  // namespace coi::relay
