// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.
#include "contacts/address.h"

#include <optional>

#include "util/ascii.h"
#include "util/utf8.h"

namespace coi::contacts {
namespace {

using std::string_view;

// Writes one part without its quotes; within them a backslash takes what follows as it
// is. Returns false where it is not one.
bool PutPart(string_view text, std::span<char>* out) noexcept {
  const size_t room = out->size();
  bool quoted = false;
  while (!text.empty()) {
    auto code = util::TakeCodePoint(&text);
    if (code == '"') {
      quoted = !quoted;
      continue;
    }
    if (code == '\\' && quoted && !text.empty()) {
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

// A second '@' is refused: what stands on which side could not be told apart.
// The dot of the root means nothing, and nor do quotes, which would hide it.
bool PutDomain(string_view text, std::span<char>* out) noexcept {
  text = text.substr(0, text.find_last_not_of(".\"") + 1);
  return text.find('@') == string_view::npos && PutPart(text, out);
}

std::optional<AddressParts> Split(string_view text) noexcept {
  const size_t at = text.rfind('@');
  if (at == string_view::npos) {
    return std::nullopt;
  }
  const AddressParts parts = {util::Trim(text.substr(0, at)), util::Trim(text.substr(at + 1))};
  return parts.local_part.empty() || parts.domain.empty() ? std::nullopt : std::optional(parts);
}

// Where there is none, it is the one before.
std::optional<AddressParts> InBrackets(string_view rest,
                                       std::optional<AddressParts> before) noexcept {
  const auto parts = Split(rest.substr(0, rest.find_first_of("<>")));
  return parts ? parts : before;
}

std::optional<AddressParts> FindLastBrackets(string_view value) noexcept {
  std::optional<AddressParts> last;
  for (size_t open = value.find('<'); open != string_view::npos; open = value.find('<', open + 1)) {
    last = InBrackets(value.substr(open + 1), last);
  }
  return last;
}

}  // namespace

size_t NormalizeAddress(string_view local_part, string_view domain, std::span<char> buf) noexcept {
  std::span<char> rest = buf;
  if (!PutPart(local_part, &rest) || !util::PutCodePoint('@', &rest) || !PutDomain(domain, &rest)) {
    return 0;
  }
  return buf.size() - rest.size();
}

std::optional<AddressParts> FindLastAddress(string_view value) noexcept {
  std::optional<AddressParts> last;
  bool brackets = false;
  bool quoted = false;
  size_t comments = 0;
  for (size_t i = 0; i < value.size(); i++) {
    switch (value[i]) {
      case '\\':
        i += quoted || comments > 0 ? 1 : 0;
        break;
      case '"':
        quoted = quoted != (comments == 0);
        break;
      case '(':
        comments += quoted ? 0 : 1;
        break;
      case ')':
        comments -= !quoted && comments > 0 ? 1 : 0;
        break;
      case '<':
        if (!quoted && comments == 0) {
          brackets = true;
          last = InBrackets(value.substr(i + 1), last);
        }
        break;
      default:
        break;
    }
  }
  if (quoted || comments > 0) {
    // It never ends, so nobody knows what is in it.
    return FindLastBrackets(value);
  }
  return brackets ? last : Split(value);
}

}  // namespace coi::contacts
