// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.
#ifndef COI_TESTS_UNIT_CORE_UTIL_H
#define COI_TESTS_UNIT_CORE_UTIL_H

// What the unit tests and the fuzz targets call the core with.

#include <algorithm>
#include <cstddef>
#include <cstring>
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

// The source of an index in memory. Remembers whether more was asked for than
// there is.
class IndexSource {
 public:
  explicit IndexSource(const std::optional<std::string_view>& index)
      : bytes_(index), source_{.read = Read, .context = this, .size = bytes_.get().size} {}
  IndexSource(const IndexSource&) = delete;
  IndexSource& operator=(const IndexSource&) = delete;
  ~IndexSource() = default;

  const struct coi_contacts_source* get() const {
    return &source_;
  }

  // From then on nothing can be read.
  void BreakAfter(size_t reads) {
    reads_left_ = reads;
  }

  bool went_beyond() const {
    return went_beyond_;
  }

 private:
  static bool Read(void* context, size_t offset, void* buf, size_t size) {
    const auto* self = static_cast<const IndexSource*>(context);
    const struct coi_bytes bytes = self->bytes_.get();
    if (offset > bytes.size || size > bytes.size - offset) {
      self->went_beyond_ = true;
      return false;
    }
    if (self->reads_left_ == 0) {
      return false;
    }
    --self->reads_left_;
    std::memcpy(buf, bytes.data + offset, size);
    return true;
  }

  Bytes bytes_;
  struct coi_contacts_source source_;
  mutable size_t reads_left_ = static_cast<size_t>(-1);
  mutable bool went_beyond_ = false;
};

inline const struct coi_core& Core() {
  return *coi_core(COI_CORE_VERSION);
}

}  // namespace coi::test

#endif  // COI_TESTS_UNIT_CORE_UTIL_H
