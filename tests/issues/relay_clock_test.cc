// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

// The clock was set, and before the service had anything to do, it was stopped. The next
// one took that for time in which nobody sent, and dropped what waited.

#include <gtest/gtest.h>

#include <cstdint>

#include "relay_util.h"

namespace coi::test {
namespace {

constexpr int64_t kDays = int64_t{2} * 86400 * 1000000;

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

}  // namespace
}  // namespace coi::test
