// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.
#include "push/handoff.h"

#include <gtest/gtest.h>

#include <limits>
#include <ostream>
#include <string>
#include <string_view>
#include <vector>

#include "coi-push.h"
#include "push_util.h"

namespace coi::test {
namespace {

using push::Handoff;
using push::HandoffKind;
using std::string;
using std::string_view;
using namespace std::string_literals;
using namespace std::string_view_literals;

constexpr string_view kId = "0123456789abcdef0123456789abcdef";

Handoff Parsed(string_view line) {
  Handoff handoff;
  const char* error = "";
  const string copy(line);
  EXPECT_TRUE(push::ParseHandoff(copy, &handoff, &error)) << error << ": " << line;
  EXPECT_EQ(error, nullptr);
  return handoff;
}

string Problem(string_view line) {
  Handoff handoff;
  const char* error = nullptr;
  const string copy(line);
  EXPECT_FALSE(push::ParseHandoff(copy, &handoff, &error)) << line;
  return error == nullptr ? "" : error;
}

// The mail processes' C writes these lines, so they don't change by chance.
constexpr string_view kDeliver =
    "1\tdeliver\tid=0123456789abcdef0123456789abcdef\tuser=jane@example.org"
    "\tsub.phone-0123={\"a\":1}\tsub.tablet_4567={\"b\":\"\\t=\"}"
    "\tchat=1\tuid=42\tuidvalidity=4294967295\tfolder=COI/Chats\tfrom-email=Bob@example.org"
    "\tfrom-name=B\xc3\xb6"
    "b\tsubject=a\x01t\x01n\x01r\x01"
    "0\x01"
    "1=\tdate=1571242457 -90\tmsg-id=<chat$1@x>\tgroup-id=abcdefghijkl"
    "\tcontent-type=text/plain; charset=utf-8\tcontent-encoding=quoted-printable"
    "\tbody=Hello=2C\x01nworld\x01n";
constexpr string_view kRegister = "1\tregister\tuser=jane\tsub.phone-0123={}";
constexpr string_view kGone = "1\tgone\tuser=jane\tsub.phone-0123={}\tsub.tablet_4567={}";
constexpr string_view kVapid = "1\tvapid";

Handoff Golden() {
  Handoff handoff;
  handoff.id = kId;
  handoff.user = "jane@example.org";
  handoff.subscriptions = {{"phone-0123", R"({"a":1})"}, {"tablet_4567", R"({"b":"\t="})"}};
  handoff.chat = true;
  handoff.mail.uid = 42;
  handoff.mail.uidvalidity = 4294967295;
  handoff.mail.folder = "COI/Chats";
  handoff.mail.from_email = "Bob@example.org";
  handoff.mail.from_name =
      "B\xc3\xb6"
      "b";
  handoff.mail.subject = "a\t\n\r\0\1="s;
  handoff.mail.date = 1571242457;
  handoff.mail.date_offset = -90;
  handoff.mail.msg_id = "<chat$1@x>";
  handoff.mail.group_id = "abcdefghijkl";
  handoff.mail.content_type = "text/plain; charset=utf-8";
  handoff.mail.content_encoding = "quoted-printable";
  handoff.mail.body = "Hello=2C\nworld\n";
  return handoff;
}

TEST(Handoff, MSG_1_golden_deliver) {
  EXPECT_EQ(push::WriteHandoff(Golden()), kDeliver);
  EXPECT_EQ(Parsed(kDeliver), Golden());
}

TEST(Handoff, SUB_6_golden_register) {
  const Handoff handoff = Parsed(kRegister);
  EXPECT_EQ(handoff.kind, HandoffKind::kRegister);
  EXPECT_EQ(handoff.user, "jane");
  ASSERT_EQ(handoff.subscriptions.size(), 1U);
  EXPECT_EQ(handoff.subscriptions[0].first, "phone-0123");
  EXPECT_EQ(handoff.subscriptions[0].second, "{}");
  EXPECT_EQ(push::WriteHandoff(handoff), kRegister);
}

TEST(Handoff, MSG_9_golden_gone) {
  const Handoff handoff = Parsed(kGone);
  EXPECT_EQ(handoff.kind, HandoffKind::kGone);
  EXPECT_EQ(handoff.subscriptions.size(), 2U);
  EXPECT_EQ(push::WriteHandoff(handoff), kGone);
}

TEST(Handoff, SUB_2_golden_forget) {
  constexpr string_view kForget = "1\tforget\tuser=jane\tsub.phone-0123={}";
  const Handoff handoff = Parsed(kForget);
  EXPECT_EQ(handoff.kind, HandoffKind::kForget);
  EXPECT_EQ(handoff.subscriptions.size(), 1U);
  EXPECT_EQ(push::WriteHandoff(handoff), kForget);
}

TEST(Handoff, SUB_1_golden_vapid) {
  EXPECT_EQ(Parsed(kVapid).kind, HandoffKind::kVapid);
  EXPECT_EQ(push::WriteHandoff(Parsed(kVapid)), kVapid);
}

TEST(Handoff, golden_status) {
  constexpr string_view kStatus = "1\tstatus";
  EXPECT_EQ(Parsed(kStatus).kind, HandoffKind::kStatus);
  EXPECT_EQ(push::WriteHandoff(Parsed(kStatus)), kStatus);
  EXPECT_EQ(Parsed("1\tstatus\tid=x\tuser="), Parsed(kStatus));
}

string Deliver(string_view fields) {
  return "1\tdeliver\tid="s + string(kId) + "\tuser=u\tsub.phone-0123={}" + string(fields);
}

TEST(Handoff, MSG_1_the_least) {
  const Handoff handoff = Parsed(Deliver(""));
  EXPECT_EQ(handoff.mail, push::MailInfo());
  EXPECT_FALSE(handoff.chat);
  EXPECT_EQ(push::WriteHandoff(handoff), Deliver(""));
}

TEST(Handoff, MSG_1_unknown_fields_are_ignored) {
  EXPECT_EQ(Parsed(Deliver("\tlater=1\tlater=2\t=\tSUBJECT=x\tsubs.x=y")), Parsed(Deliver("")));
  // What belongs to another kind isn't known either.
  EXPECT_EQ(Parsed(string(kRegister) + "\tuid=x\tbody=y\tbody=z"), Parsed(kRegister));
  EXPECT_EQ(Parsed("1\tvapid\tid=x\tuser=\tsub.x=y"), Parsed(kVapid));
}

TEST(Handoff, MSG_1_in_any_order) {
  EXPECT_EQ(Parsed("1\tdeliver\tsub.phone-0123={}\tchat=1\tuser=u\tid="s + string(kId)),
            Parsed(Deliver("\tchat=1")));
}

TEST(Handoff, MSG_1_empty_texts_are_as_if_left_out) {
  EXPECT_EQ(Parsed(Deliver("\tsubject=\tfrom-name=\tfolder=\tmsg-id=")), Parsed(Deliver("")));
  const Handoff handoff = Parsed(Deliver("\tbody="));
  EXPECT_EQ(handoff.mail.body, "");
  EXPECT_EQ(push::WriteHandoff(handoff), Deliver("\tbody="));
}

TEST(Handoff, MSG_1_every_octet) {
  Handoff handoff = Golden();
  string octets;
  for (int i = 0; i < 256; ++i) {
    octets += static_cast<char>(i);
  }
  for (string* text : {&handoff.user, &handoff.subscriptions[0].second, &handoff.mail.folder,
                       &handoff.mail.from_email, &handoff.mail.from_name, &handoff.mail.subject,
                       &handoff.mail.msg_id, &handoff.mail.group_id, &handoff.mail.content_type,
                       &handoff.mail.content_encoding}) {
    *text = octets;
  }
  handoff.mail.body = octets;
  const string line = push::WriteHandoff(handoff);
  EXPECT_EQ(line.find_first_of("\r\n\0"sv), string::npos);
  EXPECT_EQ(Parsed(line), handoff);
}

TEST(Handoff, MSG_1_numbers) {
  const Handoff handoff =
      Parsed(Deliver("\tuid=4294967295\tuidvalidity=1\tdate=-9223372036854775808 -2147483648"));
  EXPECT_EQ(handoff.mail.uid, 4294967295U);
  EXPECT_EQ(handoff.mail.uidvalidity, 1U);
  EXPECT_EQ(handoff.mail.date, std::numeric_limits<int64_t>::min());
  EXPECT_EQ(handoff.mail.date_offset, std::numeric_limits<int>::min());
  EXPECT_EQ(Parsed(push::WriteHandoff(handoff)), handoff);
}

TEST(Handoff, MSG_1_at_most_100_subscriptions) {
  string subscriptions;
  for (int n = 1; n < 100; ++n) {
    subscriptions += "\tsub.phone-" + std::to_string(1000 + n) + "={}";
  }
  EXPECT_EQ(Parsed(Deliver(subscriptions)).subscriptions.size(), 100U);
  EXPECT_EQ(Problem(Deliver(subscriptions + "\tsub.one-too-many={}")), "a field's value is bad");
}

TEST(Handoff, MSG_1_at_most_262144_octets) {
  const size_t room = push::kMaxHandoffSize - 1 - Deliver("\tlater=").size();
  Parsed(Deliver("\tlater=" + string(room, 'x')));
  EXPECT_EQ(Problem(Deliver("\tlater=" + string(room + 1, 'x'))), "it is too long");
}

TEST(Handoff, MSG_1_cut_off_anywhere) {
  // Where a field ends it is one again, but for those that must be there.
  const size_t least = kDeliver.find("\tsub.tablet");
  for (size_t size = 0; size < least; ++size) {
    Handoff handoff;
    const char* error = nullptr;
    const bool is_one = push::ParseHandoff(string(kDeliver.substr(0, size)), &handoff, &error);
    // Nor can a cut stored object be told from a whole one here.
    ASSERT_TRUE(!is_one || size > kDeliver.find("\tsub.phone")) << size;
  }
}

struct BadCase {
  string_view name;
  string line;
  string_view problem;
};

void PrintTo(const BadCase& c, std::ostream* os) {
  *os << c.name;
}

class HandoffBad : public testing::TestWithParam<BadCase> {};

TEST_P(HandoffBad, Check) {
  EXPECT_EQ(Problem(GetParam().line), GetParam().problem);
}

const BadCase kBadCases[] = {
    {"empty", "", "its version is not known"},
    {"version_other", With(kVapid, "1", "2"), "its version is not known"},
    {"version_longer", With(kVapid, "1", "1.0"), "its version is not known"},
    {"version_empty", With(kVapid, "1", ""), "its version is not known"},
    {"http", "POST / HTTP/1.1\r", "its version is not known"},
    {"kind_none", "1", "its kind is not known"},
    {"kind_empty", "1\t", "its kind is not known"},
    {"kind_upper_case", "1\tVAPID", "its kind is not known"},
    {"kind_longer", "1\tvapids", "its kind is not known"},
    {"kind_carriage_return", "1\tvapid\r", "its kind is not known"},
    {"field_none", "1\tvapid\t", "a field has no value"},
    {"field_empty", Deliver("\t\tchat=1"), "a field has no value"},
    {"field_last_empty", Deliver("\tchat=1\t"), "a field has no value"},
    {"field_no_value", Deliver("\tchat"), "a field has no value"},
    {"escape_cut_off", Deliver("\tsubject=x\x01"), "a value is not escaped"},
    {"escape_other", Deliver("\tsubject=\x01x"), "a value is not escaped"},
    {"escape_escaped", Deliver("\tsubject=\x01\x01"), "a value is not escaped"},
    {"escape_in_unknown", Deliver("\tlater=\x01"), "a value is not escaped"},
    {"raw_carriage_return", Deliver("\tsubject=x\r"), "a value is not escaped"},
    {"raw_newline", Deliver("\tsubject=x\ny"), "a value is not escaped"},
    {"raw_nul", Deliver("\tsubject=x\0"sv), "a value is not escaped"},
    {"raw_newline_in_unknown", Deliver("\tla\nter=x"), "a value is not escaped"},
    {"twice_text", Deliver("\tsubject=x\tsubject=x"), "a field is there twice"},
    {"twice_body", Deliver("\tbody=\tbody="), "a field is there twice"},
    {"twice_user", Deliver("\tuser=u"), "a field is there twice"},
    {"twice_subscription", Deliver("\tsub.phone-0123={}"), "a field is there twice"},
    {"id_none", With(Deliver(""), "\tid=", "\tix="), "it has no id"},
    {"id_short", With(Deliver(""), "id=0", "id="), "a field's value is bad"},
    {"id_long", With(Deliver(""), "id=0", "id=00"), "a field's value is bad"},
    {"id_upper_case", With(Deliver(""), "abc", "ABC"), "a field's value is bad"},
    {"id_no_digit", With(Deliver(""), "abc", "xbc"), "a field's value is bad"},
    {"id_bad_in_register", string(kRegister) + "\tid=0", "a field's value is bad"},
    {"user_none", With(Deliver(""), "user", "User"), "it has no user"},
    {"user_empty", With(Deliver(""), "user=u", "user="), "a field's value is bad"},
    {"user_long", With(Deliver(""), "user=u", "user=" + string(1025, 'u')),
     "a field's value is bad"},
    {"sub_none", With(Deliver(""), "sub.", "sub"), "it has no subscription"},
    {"sub_id_short", With(Deliver(""), "phone-0123", "phone-012"), "a field's value is bad"},
    {"sub_id_slash", With(Deliver(""), "phone-", "phone/"), "a field's value is bad"},
    {"sub_id_empty", With(Deliver(""), "phone-0123", ""), "a field's value is bad"},
    {"sub_empty", With(Deliver(""), "{}", ""), "a field's value is bad"},
    {"sub_large", With(Deliver(""), "{}", string(COI_SUBSCRIPTION_MAX_SIZE, 'x')),
     "a field's value is bad"},
    {"sub_two_in_register", string(kRegister) + "\tsub.tablet_4567={}",
     "it has more than one subscription"},
    {"sub_none_in_register", "1\tregister\tuser=u", "it has no subscription"},
    {"sub_none_in_gone", "1\tgone\tuser=u", "it has no subscription"},
    {"user_none_in_gone", "1\tgone\tsub.phone-0123={}", "it has no user"},
    {"chat_0", Deliver("\tchat=0"), "a field's value is bad"},
    {"chat_empty", Deliver("\tchat="), "a field's value is bad"},
    {"uid_empty", Deliver("\tuid="), "a field's value is bad"},
    {"uid_negative", Deliver("\tuid=-1"), "a field's value is bad"},
    {"uid_plus", Deliver("\tuid=+1"), "a field's value is bad"},
    {"uid_large", Deliver("\tuid=4294967296"), "a field's value is bad"},
    {"uid_hexadecimal", Deliver("\tuid=0x1"), "a field's value is bad"},
    {"uid_blank", Deliver("\tuid= 1"), "a field's value is bad"},
    {"uid_more", Deliver("\tuid=1 "), "a field's value is bad"},
    {"uidvalidity_text", Deliver("\tuidvalidity=x"), "a field's value is bad"},
    {"date_empty", Deliver("\tdate="), "a field's value is bad"},
    {"date_no_offset", Deliver("\tdate=1"), "a field's value is bad"},
    {"date_offset_empty", Deliver("\tdate=1 "), "a field's value is bad"},
    {"date_two_blanks", Deliver("\tdate=1  1"), "a field's value is bad"},
    {"date_more", Deliver("\tdate=1 1 1"), "a field's value is bad"},
    {"date_large", Deliver("\tdate=9223372036854775808 0"), "a field's value is bad"},
    {"date_offset_large", Deliver("\tdate=1 2147483648"), "a field's value is bad"},
};
INSTANTIATE_TEST_SUITE_P(Handoff, HandoffBad, testing::ValuesIn(kBadCases), CaseName);

TEST(HandoffReply, MSG_10_golden) {
  EXPECT_EQ(push::WriteReply(true, {"queued"}), "+\tqueued\n");
  EXPECT_EQ(push::WriteReply(true, {"queued", "gone=phone-0123", "gone=tablet_4567"}),
            "+\tqueued\tgone=phone-0123\tgone=tablet_4567\n");
  EXPECT_EQ(push::WriteReply(false, {"bad-request"}), "-\tbad-request\n");
  EXPECT_EQ(push::WriteReply(true, {"ok", "key=a\nb\r\t\1\0"s}),
            "+\tok\tkey=a\1nb\1r\1t\1"
            "1\1"
            "0\n");
  EXPECT_EQ(push::WriteReply(true, {}), "+\n");
}

}  // namespace
}  // namespace coi::test
