// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

// What waits for a device token stands for all mails that came since: it was kept for too
// short a time, or more than once.

#include <gtest/gtest.h>

#include <string>

#include "push/handoff.h"
#include "push/subscription.h"
#include "relay_util.h"

namespace coi::test {
namespace {

class GatewayDeviceTokens : public GatewayRelayTest {};

// What waits for a device token stands for all mails that came since.
TEST_F(GatewayDeviceTokens, CLI_4_what_stood_for_the_newest_mail_was_dropped_as_the_oldest) {
  settings_.queue_user_limit = 5;
  Reopen();
  for (int i = 0; i < 5; ++i) {
    push::Handoff handoff = MakeTokens("alice", {"alice"});
    handoff.subscriptions.emplace_back(
        "subscription-9", push::WriteStored(MakeSubscription("https://dead.example/a")));
    EXPECT_EQ(Ask(handoff), "+\tqueued\n");
    FailAll();
  }
  EXPECT_EQ(Status().queued, 5U);
  EXPECT_EQ(Status().dropped, 1U);
  int woken = 0;
  for (int i = 0; i < 7200; ++i) {
    clock_.Advance(1);
    Run();
    woken += AnswerSome([](const auto& request) { return !request.is_device_token; }, 0, 0);
  }
  EXPECT_EQ(woken, 1);
}

TEST_F(GatewayDeviceTokens, CLI_4_one_that_was_about_to_be_sent_kept_its_old_end) {
  settings_.ttl_chat_secs = settings_.ttl_mail_secs = 60;
  settings_.in_flight_limit = 8;
  Reopen();
  for (int i = 0; i < 8; ++i) {
    Ask(MakeHandoff("user" + std::to_string(i),
                    {"https://push" + std::to_string(i) + ".example/"}));
  }
  const size_t under_way = sender_->requests.size();
  Ask(MakeTokens("alice", {"alice"}));
  ASSERT_EQ(sender_->requests.size(), under_way);
  clock_.Advance(50);
  Run();
  EXPECT_EQ(Ask(MakeTokens("alice", {"alice"})), "+\tqueued\n");
  clock_.Advance(15);
  Run();
  EXPECT_EQ(AnswerSome([](const auto& request) { return !request.is_device_token; }, 0, 0), 1);
}

TEST_F(GatewayDeviceTokens, CLI_4_refused_pushes_of_a_device_token_piled_up) {
  for (int i = 0; i < 20; ++i) {
    Ask(MakeTokens("alice", {"alice"}));
    for (; !sender_->requests.empty(); Run()) {
      sender_->AnswerHttp(403);
    }
  }
  EXPECT_LE(Status().queued, 2U);
  // It is tried again while it waits for nothing else.
  clock_.Advance(900);
  Run();
  EXPECT_GE(AnswerAll(200), 1);
  EXPECT_EQ(Status().queued, 0U);
}

}  // namespace
}  // namespace coi::test
