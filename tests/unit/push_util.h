// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.
#ifndef COI_TESTS_UNIT_PUSH_UTIL_H
#define COI_TESTS_UNIT_PUSH_UTIL_H

#include <cstddef>
#include <string>
#include <string_view>

#include "test_util.h"

namespace coi::test {

// The user agent's keys of RFC 8291, Appendix A.
constexpr std::string_view kP256dh =
    "BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4";
constexpr std::string_view kAuth = "BTBZMqHH6r4Tts7J_aSIgg";

// What a client sets.
constexpr std::string_view kSubscription =
    R"({"client":"App","device":"Phone","msgtype":"chat","resource":{)"
    R"("endpoint":"https://push.example.org/x","keys":{)"
    R"("p256dh":"BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkN)"
    R"(toIAiw4","auth":"BTBZMqHH6r4Tts7J_aSIgg"}}})";

// The text with the first `from` replaced, which must be there.
inline std::string With(std::string_view text, std::string_view from, std::string_view to) {
  std::string result(text);
  const size_t at = result.find(from);
  EXPECT_NE(at, std::string::npos) << from;
  return at == std::string::npos ? result : result.replace(at, from.size(), to);
}

}  // namespace coi::test

#endif  // COI_TESTS_UNIT_PUSH_UTIL_H
