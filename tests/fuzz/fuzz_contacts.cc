// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.
// Input: anything. It is read as an address (split at the last '@'), as the
// value of a COI-From-Hash, as an index, and as the records of one.

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <tuple>
#include <vector>

#include "coi.h"
#include "fuzz_util.h"

namespace coi::fuzz {
namespace {

using std::string;
using std::string_view;
using Contacts = std::vector<struct coi_contact>;
using Hash = std::array<unsigned char, COI_CONTACT_HASH_SIZE>;

constexpr size_t kHeadSize = 48;
constexpr size_t kRecordSize = 48;

// Empty where there is no address.
string Normalize(string_view local_part, string_view domain, size_t buf_size) {
  const Bytes local_part_bytes(local_part);
  const Bytes domain_bytes(domain);
  const auto buf = std::make_unique<char[]>(buf_size);
  const size_t size =
      Core().address_normalize(local_part_bytes.get(), domain_bytes.get(), buf.get(), buf_size);
  FUZZ_CHECK(size <= buf_size);
  return {buf.get(), size};
}

// The parts are pieces of the text, and there is none without an '@'.
void CheckLastAddress(string_view text) {
  const Bytes bytes(text);
  struct coi_bytes local_part {};
  struct coi_bytes domain {};
  if (!Core().address_find_last(bytes.get(), &local_part, &domain)) {
    return;
  }
  const auto is_piece = [&](const struct coi_bytes& part) {
    return part.size > 0 && part.data >= bytes.get().data &&
           part.data + part.size <= bytes.get().data + bytes.get().size;
  };
  FUZZ_CHECK(is_piece(local_part) && is_piece(domain));
  FUZZ_CHECK(local_part.data + local_part.size < domain.data);
  FUZZ_CHECK(string_view(domain.data, domain.size).find('@') == string_view::npos);
}

void CheckAddress(string_view text) {
  CheckLastAddress(text);
  const size_t at = text.rfind('@');
  const string_view local_part = text.substr(0, at);
  const string_view domain = at == string_view::npos ? string_view() : text.substr(at + 1);

  // Lower case needs at most three bytes for two.
  const string address = Normalize(local_part, domain, text.size() * 2);
  if (address.empty()) {
    return;
  }
  FUZZ_CHECK(IsValidUtf8(text) && IsValidUtf8(address));
  for (const char c : address) {
    const auto byte = static_cast<unsigned char>(c);
    FUZZ_CHECK(byte >= 0x20 && byte != 0x7f && c != '"' && !(c >= 'A' && c <= 'Z'));
  }
  const size_t end = address.rfind('@');
  FUZZ_CHECK(end != string::npos && end > 0 && end + 1 < address.size());
  FUZZ_CHECK(Normalize(address.substr(0, end), address.substr(end + 1), address.size()) == address);
  FUZZ_CHECK(Normalize(local_part, domain, address.size()) == address);
  FUZZ_CHECK(Normalize(local_part, domain, address.size() - 1).empty());
  FUZZ_CHECK(Normalize(local_part, domain, address.size() / 2).empty());
}

void CheckHash(string_view text) {
  const Bytes bytes(text);
  Hash hash = {};
  if (!Core().contact_hash_parse(bytes.get(), hash.data())) {
    FUZZ_CHECK(hash == Hash{});
    return;
  }
  string digits;
  for (const unsigned char byte : hash) {
    digits += "0123456789abcdef"[byte >> 4];
    digits += "0123456789abcdef"[byte & 0xf];
  }
  string wanted;
  for (const char c : text) {
    if (string_view(" \t\r\n").find(c) == string_view::npos) {
      wanted += c >= 'A' && c <= 'F' ? static_cast<char>(c + 0x20) : c;
    }
  }
  FUZZ_CHECK(digits == wanted);
}

auto Tied(const struct coi_contact& c) {
  return std::make_tuple(string_view(reinterpret_cast<const char*>(c.hash), sizeof(c.hash)), c.date,
                         c.uid, c.blocked);
}

auto Tied(const struct coi_contacts_state& s) {
  return std::tie(s.uidvalidity, s.uidnext, s.messages, s.log_inode, s.log_size, s.log_changed);
}

bool IsBefore(const struct coi_contact& a, const struct coi_contact& b) {
  return Tied(a) < Tied(b);
}

bool NaiveIsBlocked(const Contacts& contacts, const unsigned char* hash) {
  const struct coi_contact* newest = nullptr;
  for (const auto& c : contacts) {
    if (std::memcmp(c.hash, hash, sizeof(c.hash)) == 0 &&
        (newest == nullptr || IsBefore(*newest, c))) {
      newest = &c;
    }
  }
  return newest != nullptr && newest->blocked;
}

// The contacts of an index, with the answers checked as far as its records are
// in order. nullopt where it is refused.
std::optional<Contacts> CheckIndex(string_view text, struct coi_contacts_state* state) {
  const test::IndexSource source(text);
  size_t count = 0;
  if (!Core().contacts_index_read(source.get(), state, &count)) {
    FUZZ_CHECK(!source.went_beyond());
    return std::nullopt;
  }
  FUZZ_CHECK(text.size() == kHeadSize + kRecordSize * count);
  FUZZ_CHECK(text.size() == Core().contacts_index_size(count));

  Contacts contacts(count);
  for (size_t n = 0; n < count; ++n) {
    FUZZ_CHECK(Core().contacts_index_get(source.get(), n, &contacts[n]));
  }
  const bool is_sorted = std::is_sorted(contacts.begin(), contacts.end(), IsBefore);
  const auto check = [&](const unsigned char* hash) {
    const bool is_blocked = Core().contacts_index_is_blocked(source.get(), hash);
    FUZZ_CHECK(!is_sorted || is_blocked == NaiveIsBlocked(contacts, hash));
  };
  for (const auto& c : contacts) {
    check(c.hash);
    Hash next = {};
    std::copy_n(c.hash, next.size(), next.begin());
    ++next.back();
    check(next.data());
  }
  Hash none = {};
  check(none.data());
  none.fill(0xff);
  check(none.data());
  FUZZ_CHECK(!source.went_beyond());
  return contacts;
}

string WriteIndex(const struct coi_contacts_state& state, Contacts contacts) {
  const size_t size = Core().contacts_index_size(contacts.size());
  const auto buf = std::make_unique<char[]>(size);
  Core().contacts_index_write(&state, contacts.data(), contacts.size(), buf.get());
  return {buf.get(), size};
}

// Written again, it is in order, whatever it was before.
void CheckRewritten(const struct coi_contacts_state& state, Contacts contacts) {
  const string index = WriteIndex(state, contacts);
  struct coi_contacts_state state_again = {};
  const auto again = CheckIndex(index, &state_again);
  FUZZ_CHECK(again);
  FUZZ_CHECK(Tied(state_again) == Tied(state));

  std::sort(contacts.begin(), contacts.end(), IsBefore);
  FUZZ_CHECK(std::equal(contacts.begin(), contacts.end(), again->begin(), again->end(),
                        [](const auto& a, const auto& b) { return Tied(a) == Tied(b); }));
  std::reverse(contacts.begin(), contacts.end());
  FUZZ_CHECK(WriteIndex(state, contacts) == index);
}

void CheckIndexes(string_view text) {
  struct coi_contacts_state state = {};
  if (const auto contacts = CheckIndex(text, &state)) {
    CheckRewritten(state, *contacts);
  }

  // The head is hard to guess, so here is one.
  const size_t count = text.size() / kRecordSize;
  string index = WriteIndex({}, Contacts(count)).substr(0, kHeadSize);
  index += text.substr(0, count * kRecordSize);
  const auto contacts = CheckIndex(index, &state);
  FUZZ_CHECK(contacts);
  CheckRewritten(state, *contacts);
}

}  // namespace
}  // namespace coi::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  coi::fuzz::CheckAddress(input);
  coi::fuzz::CheckHash(input);
  coi::fuzz::CheckIndexes(input);
  return 0;
}
