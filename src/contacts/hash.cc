// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.
#include "contacts/hash.h"

#include <cstddef>

#include "util/ascii.h"

namespace coi::contacts {
namespace {

using std::string_view;

// Returns 16 for anything else.
constexpr unsigned int DigitValue(char c) noexcept {
  const size_t value = string_view("0123456789abcdef").find(util::AsciiLower(c));
  return value == string_view::npos ? 16 : static_cast<unsigned int>(value);
}

}  // namespace

std::optional<Hash> ParseHash(string_view value) noexcept {
  const string_view digits = util::Trim(value);
  Hash hash = {};
  if (digits.size() != 2 * hash.size()) {
    return std::nullopt;
  }
  for (size_t i = 0; i < hash.size(); ++i) {
    const unsigned int high = DigitValue(digits[2 * i]);
    const unsigned int low = DigitValue(digits[2 * i + 1]);
    if (high > 15 || low > 15) {
      return std::nullopt;
    }
    hash[i] = static_cast<unsigned char>(high << 4U | low);
  }
  return hash;
}

}  // namespace coi::contacts
