// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.
// The format is in docs/contacts-index.md.

#include "contacts/index.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <string_view>
#include <tuple>
#include <type_traits>

namespace coi::contacts {
namespace {

using std::string_view;

constexpr string_view kMagic = "COIC";
constexpr uint32_t kVersion = 3;
constexpr size_t kHeadSize = 48;
constexpr size_t kRecordSize = COI_CONTACT_HASH_SIZE + 16;
constexpr size_t kCountMax = size_t{1} << 24U;
constexpr uint32_t kFlagBlocked = 0x1;

// Writes and reads numbers with the least byte first, on any machine.
class Writer {
 public:
  explicit Writer(char* to) noexcept : to_(to) {}

  void PutBytes(const void* bytes, size_t size) noexcept {
    std::memcpy(to_, bytes, size);
    to_ += size;
  }

  template <typename Number>
  void PutNumber(Number number) noexcept {
    const auto bits = static_cast<std::make_unsigned_t<Number>>(number);
    for (size_t i = 0; i < sizeof(bits); ++i) {
      *to_++ = static_cast<char>(bits >> (8 * i) & 0xffU);
    }
  }

 private:
  char* to_;
};

// The bytes must be at least as many as are taken.
class Reader {
 public:
  explicit Reader(string_view from) noexcept : from_(from) {}

  string_view TakeBytes(size_t size) noexcept {
    const string_view bytes(from_.data(), size);
    from_.remove_prefix(size);
    return bytes;
  }

  template <typename Number>
  Number TakeNumber() noexcept {
    std::make_unsigned_t<Number> bits = 0;
    for (size_t i = 0; i < sizeof(bits); ++i) {
      bits |= static_cast<decltype(bits)>(static_cast<unsigned char>(from_[i])) << (8 * i);
    }
    from_.remove_prefix(sizeof(bits));
    return static_cast<Number>(bits);
  }

 private:
  string_view from_;
};

// Newest last (BLK-4). The rest makes the order total.
bool IsBefore(const struct coi_contact& a, const struct coi_contact& b) noexcept {
  const int order = std::memcmp(a.hash, b.hash, sizeof(a.hash));
  if (order != 0) {
    return order < 0;
  }
  return std::tie(a.date, a.uid, a.blocked) < std::tie(b.date, b.uid, b.blocked);
}

}  // namespace

size_t IndexSize(size_t count) noexcept {
  return count > kCountMax ? 0 : kHeadSize + kRecordSize * count;
}

void WriteIndex(const struct coi_contacts_state& state, std::span<struct coi_contact> contacts,
                char* buf) noexcept {
  std::sort(contacts.begin(), contacts.end(), IsBefore);

  Writer writer(buf);
  writer.PutBytes(kMagic.data(), kMagic.size());
  writer.PutNumber(kVersion);
  writer.PutNumber(state.uidvalidity);
  writer.PutNumber(state.uidnext);
  writer.PutNumber(state.messages);
  writer.PutNumber(state.log_inode);
  writer.PutNumber(state.log_size);
  writer.PutNumber(state.log_changed);
  writer.PutNumber(static_cast<uint32_t>(contacts.size()));
  for (const struct coi_contact& contact : contacts) {
    writer.PutBytes(contact.hash, sizeof(contact.hash));
    writer.PutNumber(contact.date);
    writer.PutNumber(contact.uid);
    writer.PutNumber(contact.blocked ? kFlagBlocked : uint32_t{0});
  }
}

std::optional<Index> Index::Read(const struct coi_contacts_source& source) noexcept {
  std::array<char, kHeadSize> bytes = {};
  if (source.size < bytes.size() || !source.read(source.context, 0, bytes.data(), bytes.size())) {
    return std::nullopt;
  }
  Reader head({bytes.data(), bytes.size()});
  if (head.TakeBytes(kMagic.size()) != kMagic || head.TakeNumber<uint32_t>() != kVersion) {
    return std::nullopt;
  }
  struct coi_contacts_state state = {};
  state.uidvalidity = head.TakeNumber<uint32_t>();
  state.uidnext = head.TakeNumber<uint32_t>();
  state.messages = head.TakeNumber<uint32_t>();
  state.log_inode = head.TakeNumber<uint64_t>();
  state.log_size = head.TakeNumber<uint64_t>();
  state.log_changed = head.TakeNumber<int64_t>();
  // Too high a count has the size 0, which is none.
  if (source.size != IndexSize(head.TakeNumber<uint32_t>())) {
    return std::nullopt;
  }
  return Index(state, source);
}

size_t Index::count() const noexcept {
  return (source_->size - kHeadSize) / kRecordSize;
}

std::optional<struct coi_contact> Index::Get(size_t n) const noexcept {
  std::array<char, kRecordSize> bytes = {};
  if (!source_->read(source_->context, kHeadSize + n * kRecordSize, bytes.data(), bytes.size())) {
    return std::nullopt;
  }
  Reader record({bytes.data(), bytes.size()});
  struct coi_contact contact = {};
  std::memcpy(contact.hash, record.TakeBytes(sizeof(contact.hash)).data(), sizeof(contact.hash));
  contact.date = record.TakeNumber<int64_t>();
  contact.uid = record.TakeNumber<uint32_t>();
  contact.blocked = (record.TakeNumber<uint32_t>() & kFlagBlocked) != 0;
  return contact;
}

bool Index::IsBlocked(std::span<const unsigned char, COI_CONTACT_HASH_SIZE> hash) const noexcept {
  // All before `low` are at most the hash, all from `high` on are above it.
  size_t low = 0;
  size_t high = count();
  bool is_blocked = false;
  while (low < high) {
    const size_t middle = low + (high - low) / 2;
    const auto contact = Get(middle);
    if (!contact) {
      return false;
    }
    const int order = std::memcmp(contact->hash, hash.data(), hash.size());
    if (order > 0) {
      high = middle;
    } else {
      low = middle + 1;
      // The last one that is at most the hash is the last one that we get here.
      is_blocked = order == 0 && contact->blocked;
    }
  }
  return is_blocked;
}

}  // namespace coi::contacts
