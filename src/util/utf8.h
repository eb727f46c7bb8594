// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.
#ifndef COI_UTIL_UTF8_H
#define COI_UTIL_UTF8_H

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

namespace coi::util {

// Takes one code point off the front of *text, which must not be empty.
// Returns nullopt, and leaves *text alone, where RFC 3629 does not allow it.
std::optional<uint32_t> TakeCodePoint(std::string_view* text) noexcept;

// Writes a code point of Unicode to the front of *out, and takes the bytes that
// it needs off there. Returns false, and leaves *out alone, where it is too
// small.
bool PutCodePoint(uint32_t code, std::span<char>* out) noexcept;

// C0, DEL and C1.
constexpr bool IsControl(uint32_t code) noexcept {
  return code < 0x20 || (code >= 0x7f && code <= 0x9f);
}

// Unicode's, as libc's C.UTF-8 knows it; ASCII's where there is no such locale.
uint32_t LowerCase(uint32_t code) noexcept;

}  // namespace coi::util

#endif  // COI_UTIL_UTF8_H
