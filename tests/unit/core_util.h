// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.
#ifndef COI_TESTS_UNIT_CORE_UTIL_H
#define COI_TESTS_UNIT_CORE_UTIL_H

// What the unit tests and the fuzz targets call the core with.

#include <algorithm>
#include <cstddef>
#include <memory>
#include <optional>
#include <string_view>

#include "coi.h"

namespace coi::test {

// A copy on the heap of exactly the text's size, so that AddressSanitizer sees
// a read beyond its end. nullopt is a coi_bytes that says "absent".
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

  // Whether `part` lies within these bytes.
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

}  // namespace coi::test

#endif  // COI_TESTS_UNIT_CORE_UTIL_H
