// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

// Clocks that are set, forward or back, while the service runs or does not.

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <string>

#include "relay_util.h"
#include "util/base64.h"

namespace coi::test {
namespace {

using std::string;

constexpr int64_t kDays = int64_t{2} * 86400 * 1000000;

// The clock was set, and before the service had anything to do, it was stopped. The next
// one took that for time in which nobody sent, and dropped what waited.
class RelayClock : public OpenRelayTest, public testing::WithParamInterface<int64_t> {};

TEST_P(RelayClock, MSG_10_was_set_before_a_stop) {
  Ask(MakeHandoff("alice"));
  sender_->AnswerHttp(503);
  Run();
  clock_.wall += GetParam();
  relay_->Close();
  relay_.reset();
  Reopen();
  EXPECT_EQ(Status().queued, 1U) << AllLogs();
  clock_.Advance(10);
  Run();
  EXPECT_EQ(AnswerAll(201), 1);
}

INSTANTIATE_TEST_SUITE_P(Both, RelayClock, testing::Values(kDays, -kDays));

struct ClockCase {
  const char* name;
  int64_t step_hours;
  bool opened_before;  // and not running, when it was set
  bool opened_after;
};

class RelayClockSet : public OpenRelayTest, public testing::WithParamInterface<ClockCase> {};

// What was acknowledged was dropped, or wasn't tried again for hours.
TEST_P(RelayClockSet, MSG_9_a_clock_that_was_set) {
  const int64_t step = GetParam().step_hours * 3600 * 1000000;
  // Files have real times.
  clock_.wall -= std::max<int64_t>(step, 0);
  Reopen();
  Ask(MakeHandoff("alice"));
  sender_->AnswerUnreachable();
  Run();
  clock_.wall += step;
  if (GetParam().opened_before) {
    Reopen();
  }
  Run();
  if (GetParam().opened_after) {
    Reopen();
  }
  int minutes = 0;
  for (; sender_->requests.empty() && minutes < 10; ++minutes) {
    clock_.Advance(60);
    Run();
  }
  ASSERT_LT(minutes, 10);
  EXPECT_EQ(AnswerAll(201), 1);
  // And so it goes on.
  PutIntoSpool(MakeHandoff("alice"));
  for (int i = 0; i < 40; ++i) {
    clock_.Advance(2);
    Run();
  }
  EXPECT_EQ(AnswerAll(201), 1);
  EXPECT_EQ(Ask(MakeHandoff("alice")), "+\tqueued\n");
  EXPECT_EQ(AnswerAll(201), 1);
  EXPECT_EQ(Status().dropped, 0U);
  EXPECT_EQ(Status().queued, 0U);
}

// One that was set forward while nobody looked is taken for time that has passed.
constexpr ClockCase kClocks[] = {
    {"from_1970", 56 * 365 * 24, false, false},
    {"from_1970_and_opened", 56 * 365 * 24, false, true},
    {"two_days_on", 48, false, false},
    {"two_days_on_and_opened", 48, false, true},
    {"two_hours_back", -2, false, false},
    {"two_hours_back_and_opened", -2, false, true},
    {"two_hours_back_while_it_did_not_run", -2, true, false},
    {"a_month_back", -720, false, false},
    {"a_month_back_and_opened", -720, false, true},
    {"a_month_back_while_it_did_not_run", -720, true, true},
};
INSTANTIATE_TEST_SUITE_P(Table, RelayClockSet, testing::ValuesIn(kClocks),
                         [](const auto& test) { return test.param.name; });

class RelayTimes : public OpenRelayTest {};

TEST_F(RelayTimes, MSG_10_a_clock_set_back_stopped_the_spool) {
  PutIntoSpool(MakeHandoff("alice"));
  Run();
  EXPECT_EQ(AnswerAll(201), 1);
  clock_.wall -= int64_t{7200} * 1000000;
  PutIntoSpool(MakeHandoff("alice"));
  Run();
  EXPECT_EQ(AnswerAll(201), 1);
}

TEST_F(RelayTimes, END_5_a_clock_set_back_locked_for_a_month) {
  settings_.register_limit = 1000;
  Reopen();
  clock_.wall += int64_t{86400} * 30 * 1000000;
  for (int i = 0; i < 5; ++i) {
    EXPECT_EQ(Ask(MakeRegistration("alice", "https://127.0.0.1/")), "-\tnot-allowed\n");
  }
  clock_.wall -= int64_t{86400} * 30 * 1000000;
  EXPECT_EQ(Ask(MakeRegistration("alice", "https://127.0.0.1/")), "-\tbusy\n");
  clock_.Advance(301);
  EXPECT_EQ(Ask(MakeRegistration("alice", "https://127.0.0.1/")), "-\tnot-allowed\n");
}

TEST_F(RelayTimes, MSG_9_a_push_expires_by_the_time_that_has_passed) {
  settings_.ttl_chat_secs = settings_.ttl_mail_secs = 3600;
  Reopen();
  Ask(MakeHandoff("alice"));
  sender_->AnswerUnreachable();
  Run();
  clock_.wall -= int64_t{86400} * 1000000;
  for (int i = 0; i < 65; ++i) {
    clock_.Advance(60);
    Run();
    while (!sender_->requests.empty()) {
      sender_->AnswerUnreachable();
      Run();
    }
  }
  EXPECT_EQ(Status().queued, 0U);
  EXPECT_EQ(Status().dropped, 1U);
}

// It is signed for others' clocks.
TEST_F(RelayTimes, MSG_8_tokens_are_of_the_time_of_day) {
  const auto expires = [&] {
    Ask(MakeHandoff("alice"));
    const string token = sender_->requests.front().authorization;
    AnswerAll(201);
    const size_t begin = token.find('.') + 1;
    const string claims =
        util::DecodeBase64(token.substr(begin, token.find('.', begin) - begin)).value_or("");
    return std::stoll(claims.substr(claims.find("\"exp\":") + 6));
  };
  for (const int64_t days : {0, 300, -600}) {
    clock_.wall += days * 86400 * 1000000;
    const int64_t left = expires() - clock_.wall / 1000000;
    EXPECT_GT(left, 0);
    EXPECT_LE(left, 86400);
  }
}

}  // namespace
}  // namespace coi::test
