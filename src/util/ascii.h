// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.
#ifndef COI_UTIL_ASCII_H
#define COI_UTIL_ASCII_H

#include <algorithm>
#include <string_view>

// Whatever the locale.
namespace coi::util {

// Where a header may be folded, and a list of settings taken apart.
constexpr std::string_view kWhiteSpace = " \t\r\n";

constexpr bool IsWhiteSpace(char c) noexcept {
  return kWhiteSpace.find(c) != std::string_view::npos;
}

constexpr std::string_view Trim(std::string_view text) noexcept {
  text.remove_prefix(std::min(text.find_first_not_of(kWhiteSpace), text.size()));
  return text.substr(0, text.find_last_not_of(kWhiteSpace) + 1);
}

// Takes the first word, and what is white before it, off the front. "" where there is none.
constexpr std::string_view TakeWord(std::string_view* text) noexcept {
  text->remove_prefix(std::min(text->find_first_not_of(kWhiteSpace), text->size()));
  const std::string_view word = text->substr(0, text->find_first_of(kWhiteSpace));
  text->remove_prefix(word.size());
  return word;
}

constexpr char AsciiLower(char c) noexcept {
  return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
}

constexpr bool EqualsIgnoringCase(std::string_view a, std::string_view b) noexcept {
  return std::ranges::equal(a, b, {}, AsciiLower, AsciiLower);
}

constexpr bool IsDigit(char c) noexcept {
  return c >= '0' && c <= '9';
}

}  // namespace coi::util

#endif  // COI_UTIL_ASCII_H
