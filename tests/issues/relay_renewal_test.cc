// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

// A late 404 or 410 to a push of before ended a subscription that had been
// renewed meanwhile, with the same id and endpoint.

#include <gtest/gtest.h>

#include <string>
#include <utility>

#include "relay_util.h"

namespace coi::test {
namespace {

using push::Handoff;
using std::string;

class RelayRenewal : public OpenRelayTest, public testing::WithParamInterface<int> {
 protected:
  // A push is under way; then the subscription is registered, before that is answered.
  void RenewMeanwhile(bool removed) {
    Ask(MakeHandoff("alice"));
    ASSERT_EQ(sender_->requests.size(), 1U);
    if (removed) {
      Handoff forget = MakeHandoff("alice");
      forget.kind = push::HandoffKind::kForget;
      forget.mail = {};
      Ask(forget);
    }
    const int fd = Connect(push::WriteHandoff(MakeRegistration("alice")) + "\n");
    Run();
    ASSERT_EQ(sender_->requests.size(), 2U);
    std::swap(sender_->requests[0], sender_->requests[1]);
    EXPECT_EQ(sender_->AnswerHttp(201).validation, "true");
    Run();
    EXPECT_EQ(Receive(fd).substr(0, 11), "+\taccepted\t");
    EXPECT_EQ(sender_->AnswerHttp(GetParam()).validation, "");
    Run();
  }
};

TEST_P(RelayRenewal, MSG_9_a_late_answer_ended_it) {
  RenewMeanwhile(false);
  // It is sent again, now to the one that is there.
  EXPECT_EQ(Status().queued, 1U);
  EXPECT_EQ(Ask(MakeHandoff("alice")), "+\tqueued\n");
  clock_.Advance(3600);
  Run();
  EXPECT_EQ(AnswerAll(201), 2);
  EXPECT_EQ(Status().queued, 0U);
}

TEST_P(RelayRenewal, MSG_9_a_late_answer_ended_it_after_a_removal) {
  RenewMeanwhile(true);
  EXPECT_EQ(Status().queued, 0U);
  EXPECT_EQ(Ask(MakeHandoff("alice")), "+\tqueued\n");
  EXPECT_EQ(AnswerAll(201), 1);
}

TEST_P(RelayRenewal, MSG_9_an_answer_to_a_later_push_still_counts) {
  RenewMeanwhile(false);
  clock_.Advance(3600);
  Run();
  ASSERT_EQ(sender_->requests.size(), 1U);
  sender_->AnswerHttp(GetParam());
  Run();
  EXPECT_EQ(Ask(MakeHandoff("alice")), "+\tqueued\tgone=subscription-0\n");
}

TEST_P(RelayRenewal, MSG_9_another_node_has_registered_it_again) {
  Ask(MakeHandoff("alice"));
  EXPECT_EQ(AnswerAll(GetParam()), 1);
  Handoff asked = MakeHandoff("alice");
  asked.kind = push::HandoffKind::kGone;
  asked.mail = {};
  const auto ask = [&](int64_t made) {
    created_ = made;
    asked.subscriptions = MakeHandoff("alice").subscriptions;
    return Ask(asked);
  };
  const int64_t now = clock_.wall / 1000000;
  EXPECT_EQ(ask(now), "+\tok\tgone=subscription-0\n");
  EXPECT_EQ(ask(now + 5), "+\tok\n");
  // of a clock that was wrong: it would never end
  EXPECT_EQ(ask(now + 86400), "+\tok\tgone=subscription-0\n");

  // Also where this node's clock is set meanwhile.
  clock_.wall -= int64_t{7200} * 1000000;
  Run();
  EXPECT_EQ(ask(now - 7200), "+\tok\tgone=subscription-0\n");
  EXPECT_EQ(ask(now - 7200 + 5), "+\tok\n");
  EXPECT_EQ(Ask(MakeHandoff("alice")), "+\tqueued\n");
  EXPECT_EQ(AnswerAll(GetParam()), 1);
  EXPECT_EQ(ask(now - 7200), "+\tok\tgone=subscription-0\n");
  Reopen();
  EXPECT_EQ(ask(now - 7200 + 5), "+\tok\n");
}

INSTANTIATE_TEST_SUITE_P(Answers, RelayRenewal, testing::Values(404, 410));

}  // namespace
}  // namespace coi::test
