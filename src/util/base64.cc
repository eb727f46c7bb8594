// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.
#include "util/base64.h"

#include <cstddef>

namespace coi::util {
namespace {

using std::string_view;

constexpr char kUrlAlphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

// Of both alphabets; -1 for what is in neither.
constexpr int ValueOf(char c) noexcept {
  if (c >= 'A' && c <= 'Z') {
    return c - 'A';
  }
  if (c >= 'a' && c <= 'z') {
    return c - 'a' + 26;
  }
  if (c >= '0' && c <= '9') {
    return c - '0' + 52;
  }
  if (c == '+' || c == '-') {
    return 62;
  }
  return c == '/' || c == '_' ? 63 : -1;
}

// Takes the padding off. Returns false where there is some, but not what the
// length demands.
constexpr bool TakePadding(string_view* text) noexcept {
  const size_t padded_size = text->size();
  while (text->ends_with('=')) {
    text->remove_suffix(1);
  }
  const size_t padding = padded_size - text->size();
  return padding == 0 || (padding <= 2 && padded_size % 4 == 0);
}

}  // namespace

std::string EncodeBase64Url(string_view bytes) {
  std::string text;
  text.reserve((bytes.size() * 4 + 2) / 3);
  uint32_t bits = 0;
  unsigned int count = 0;
  for (const char c : bytes) {
    bits = bits << 8U | static_cast<unsigned char>(c);
    for (count += 8; count >= 6; count -= 6) {
      text.push_back(kUrlAlphabet[bits >> (count - 6) & 0x3fU]);
    }
  }
  if (count > 0) {
    text.push_back(kUrlAlphabet[bits << (6 - count) & 0x3fU]);
  }
  return text;
}

std::optional<std::string> DecodeBase64(string_view text) {
  if (!TakePadding(&text) || text.size() % 4 == 1 ||
      (text.find_first_of("+/") != string_view::npos &&
       text.find_first_of("-_") != string_view::npos)) {
    return std::nullopt;
  }
  std::string bytes;
  bytes.reserve(text.size() * 3 / 4);
  uint32_t bits = 0;
  unsigned int count = 0;
  for (const char c : text) {
    const int value = ValueOf(c);
    if (value < 0) {
      return std::nullopt;
    }
    bits = bits << 6U | static_cast<uint32_t>(value);
    count += 6;
    if (count >= 8) {
      count -= 8;
      bytes.push_back(static_cast<char>(bits >> count & 0xffU));
    }
  }
  if ((bits & ((1U << count) - 1)) != 0) {
    return std::nullopt;
  }
  return bytes;
}

}  // namespace coi::util
