// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.
#ifndef COI_TESTS_FUZZ_FUZZ_UTIL_H
#define COI_TESTS_FUZZ_FUZZ_UTIL_H

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>

#include "../unit/core_util.h"
#include "coi.h"

// Unlike assert(), this is there in every build type.
#define FUZZ_CHECK(expr)                                                        \
  do {                                                                          \
    if (!(expr)) {                                                              \
      std::fprintf(stderr, "%s:%d: not true: %s\n", __FILE__, __LINE__, #expr); \
      std::abort();                                                             \
    }                                                                           \
  } while (false)

namespace coi::fuzz {

using test::Bytes;
using test::Core;

inline void AppendUtf8(uint32_t code, std::string* text) {
  const auto append = [text](uint32_t byte) { text->push_back(static_cast<char>(byte)); };
  if (code < 0x80) {
    append(code);
  } else if (code < 0x800) {
    append(0xc0 | code >> 6);
    append(0x80 | (code & 0x3f));
  } else if (code < 0x10000) {
    append(0xe0 | code >> 12);
    append(0x80 | (code >> 6 & 0x3f));
    append(0x80 | (code & 0x3f));
  } else {
    append(0xf0 | code >> 18);
    append(0x80 | (code >> 12 & 0x3f));
    append(0x80 | (code >> 6 & 0x3f));
    append(0x80 | (code & 0x3f));
  }
}

// Decodes whatever looks like a sequence and encodes it again: only what is
// the shortest form survives that unchanged.
inline bool IsValidUtf8(std::string_view text) {
  std::string again;
  for (size_t i = 0; i < text.size();) {
    const auto lead = static_cast<unsigned char>(text[i++]);
    const int more = lead < 0xc0 ? 0 : (lead < 0xe0 ? 1 : (lead < 0xf0 ? 2 : 3));
    uint32_t code = more == 0 ? lead : lead & (0x3fU >> more);
    if (lead >= 0xf8 || (lead >= 0x80 && lead < 0xc0)) {
      return false;
    }
    for (int n = 0; n < more && i < text.size(); ++n) {
      code = code << 6 | (static_cast<unsigned char>(text[i++]) & 0x3f);
    }
    if (code > 0x10ffff || (code >= 0xd800 && code <= 0xdfff)) {
      return false;
    }
    AppendUtf8(code, &again);
  }
  return again == text;
}

}  // namespace coi::fuzz

#endif  // COI_TESTS_FUZZ_FUZZ_UTIL_H
