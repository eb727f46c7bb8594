// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.
#ifndef COI_TESTS_FUZZ_FUZZ_UTIL_H
#define COI_TESTS_FUZZ_FUZZ_UTIL_H

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <optional>
#include <string_view>

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

// A copy of exactly the text's size, so that a read beyond its end is found
// even where the fuzzer's own buffer goes on. nullopt stands for "absent".
class Bytes {
 public:
  explicit Bytes(const std::optional<std::string_view>& text)
      : size_(text ? text->size() : 0), data_(text ? new char[size_] : nullptr) {
    if (text) {
      std::copy(text->begin(), text->end(), data_.get());
    }
  }

  struct coi_bytes get() const {
    return {.data = data_.get(), .size = size_};
  }

  bool Holds(const struct coi_bytes& part) const {
    return data_ != nullptr && part.data >= data_.get() &&
           part.data + part.size <= data_.get() + size_;
  }

 private:
  size_t size_;
  std::unique_ptr<char[]> data_;
};

inline const struct coi_core& Core() {
  return *coi_core(COI_CORE_VERSION);
}

}  // namespace coi::fuzz

#endif  // COI_TESTS_FUZZ_FUZZ_UTIL_H
