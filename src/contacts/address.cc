// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.
#include "contacts/address.h"

#include <optional>

#include "util/utf8.h"

namespace coi::contacts {
namespace {

using std::string_view;

enum class Quoting { kPlain, kQuoted };

// Writes one part without its quotes. Returns false where it is not one.
bool PutPart(string_view text, Quoting quoting, std::span<char>* out) noexcept {
  const size_t room = out->size();
  while (!text.empty()) {
    auto code = util::TakeCodePoint(&text);
    if (code == '\\' && quoting == Quoting::kQuoted && !text.empty()) {
      code = util::TakeCodePoint(&text);
    }
    if (!code || util::IsControl(*code)) {
      return false;
    }
    if (*code != '"' && !util::PutCodePoint(util::LowerCase(*code), out)) {
      return false;
    }
  }
  return out->size() < room;
}

bool PutLocalPart(string_view text, std::span<char>* out) noexcept {
  if (text.size() >= 2 && text.starts_with('"') && text.ends_with('"')) {
    text.remove_prefix(1);
    text.remove_suffix(1);
    return PutPart(text, Quoting::kQuoted, out);
  }
  return PutPart(text, Quoting::kPlain, out);
}

// A second '@' is refused: what stands on which side could not be told apart.
bool PutDomain(string_view text, std::span<char>* out) noexcept {
  return text.find('@') == string_view::npos && PutPart(text, Quoting::kPlain, out);
}

}  // namespace

size_t NormalizeAddress(string_view local_part, string_view domain, std::span<char> buf) noexcept {
  std::span<char> rest = buf;
  if (!PutLocalPart(local_part, &rest) || !util::PutCodePoint('@', &rest) ||
      !PutDomain(domain, &rest)) {
    return 0;
  }
  return buf.size() - rest.size();
}

}  // namespace coi::contacts
