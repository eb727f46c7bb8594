// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

// When a push is tried again: what a service had said by Retry-After was forgotten, or
// counted for more than it should.

#include <gtest/gtest.h>

#include "relay/retry.h"
#include "relay_util.h"

namespace coi::test {
namespace {

class RelayRetryAfter : public OpenRelayTest {};

class GatewayRetryAfter : public GatewayRelayTest {};

TEST_F(RelayRetryAfter, MSG_9_another_failure_overrode_Retry_After) {
  Ask(MakeHandoff("alice"));
  Ask(MakeHandoff("alice"));
  ASSERT_EQ(sender_->requests.size(), 2U);
  sender_->AnswerHttp(429, 3600);
  Run();
  sender_->AnswerUnreachable();
  Run();
  clock_.Advance(3500);
  Run();
  EXPECT_EQ(sender_->requests.size(), 0U);
  clock_.Advance(500);
  Run();
  EXPECT_EQ(AnswerAll(201), 2);
}

TEST(RetryAfter, MSG_9_Retry_After_1_switched_the_back_off_off) {
  EXPECT_EQ(relay::RetryDelay(1, 1, 0), 1000);
  EXPECT_EQ(relay::RetryDelay(4, 1, 0), 8000);
  EXPECT_EQ(relay::RetryDelay(40, 1, 0), 300000);
  EXPECT_EQ(relay::RetryDelay(40, 3600, 0), 3600000);
  EXPECT_EQ(relay::RetryDelay(4000000000U, 1, 0), 300000);
}

TEST_F(RelayRetryAfter, MSG_9_refused_pushes_slept_as_long_as_another_had_to_wait) {
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(Ask(MakeHandoff("alice")), kQueued);
  }
  AnswerAll(403);
  settings_.in_flight_origin_limit = 1;
  Reopen();
  clock_.Advance(4 * 3600);
  Run();
  ASSERT_EQ(sender_->requests.size(), 1U);
  sender_->AnswerHttp(429, 6 * 3600);
  Run();
  EXPECT_EQ(AnswerAll(201), 2);
}

TEST_F(GatewayRetryAfter, MSG_9_Retry_After_ended_with_the_push_that_was_answered) {
  Ask(MakeHandoff("alice"));
  sender_->AnswerUnreachable();
  Run();
  relay_.reset();
  clock_.Advance(86400 - 30);
  Reopen();
  Ask(MakeHandoff("alice"));
  for (; !sender_->requests.empty(); Run()) {
    sender_->AnswerHttp(429, 3600);
  }
  clock_.Advance(3500);
  Run();
  EXPECT_EQ(sender_->requests.size(), 0U);
  EXPECT_EQ(Status().dropped, 1U);
  clock_.Advance(500);
  Run();
  EXPECT_EQ(AnswerAll(201), 1);
}

// It was to be tried when it would have expired; now that isn't its end any more.
TEST_F(GatewayRetryAfter, MSG_9_CLI_4_Retry_After_ended_where_a_device_token_had_another_mail) {
  settings_.ttl_chat_secs = settings_.ttl_mail_secs = 600;
  Reopen();
  Ask(MakeTokens("alice", {"alice"}));
  sender_->AnswerHttp(429, 900);
  Run();
  for (int i = 0; i < 2; ++i) {
    clock_.Advance(400);
    EXPECT_EQ(Ask(MakeTokens("alice", {"alice"})), "+\tqueued\n");
    EXPECT_EQ(sender_->requests.size(), 0U);
  }
  clock_.Advance(200);
  Run();
  EXPECT_EQ(AnswerAll(200), 1);
  EXPECT_EQ(Status().queued, 0U);
}

}  // namespace
}  // namespace coi::test
